"""Read a configuration file: Python in syntax, data in effect. Nothing in it is ever executed.

Understood are assignments ``name = value`` where a value is made of literals (text, numbers, True, False, None,
lists, tuples, dictionaries), ``range(…)``, names defined above, ``+`` and unary ``-``. Everything else is a fault.
The work is bounded whatever the file says: its bytes, its nesting, and all that its names and sums unfold to.
"""

from __future__ import annotations

import ast
import math
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pragma_boot.errors import Fault

FILE_LIMIT = 1024 * 1024
"""Largest file that is read, bytes."""
RANGE_LIMIT = 100_000
"""Most numbers in one `range()`."""
DEPTH_LIMIT = 20
"""Deepest nesting of a value."""
SUM_LIMIT = 1000
"""Most terms in one chain of ``+``."""
WORK_LIMIT = 2 * 1024 * 1024
"""Elements and characters that one file may unfold to, through names, sums and ranges."""
_INT_LIMIT = 2**63
_ONLY = "a configuration file holds only lines like key = value"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one file says.

    values: what was understood, by name. lines: where, by path: ``("gw",)``, ``("repository_settings", "cziso")``.
    broken: names whose assignment has a fault (already told). used: names that other assignments are made of.
    complete: False when the file as a whole could not be read, so that nothing may be called missing.
    """

    path: Path
    values: Mapping[str, object] = field(default_factory=dict)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    broken: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    complete: bool = True

    def where(self, *keys: str) -> str:
        """``FILE:LINE key`` for messages; without the line where the file does not have the key."""
        line = self.lines.get(keys) or self.lines.get(keys[:1])
        return f"{self.path}{f':{line}' if line else ''} {'.'.join(keys)}".rstrip()


def load_file(path: Path) -> Loaded:
    """Read and parse *path*; never raises: whatever is wrong is in `Loaded.faults`."""
    try:
        # Asked before it is opened: a FIFO would make us wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return _unreadable(path, "is not a regular file", "put a file there")
        with path.open("rb") as file:
            source = file.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return _unreadable(path, "is not there", f"copy {path.name}.template to it and edit it, or run 'pragma init'")
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror}", "make it readable for the user that runs pragma")
    return parse(source, path)


def parse(source: bytes, path: Path) -> Loaded:
    """Parse the content of a file; *path* is for messages only. Never raises and never executes."""
    if len(source) > FILE_LIMIT:
        return _unreadable(path, f"is larger than {FILE_LIMIT} bytes", _ONLY)
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        return _unreadable(path, "is not in UTF-8", "save it in the encoding UTF-8", line)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except SyntaxError as error:
        mend = "mend the line; texts and addresses stand in quotes, lists in [ ]"
        return _unreadable(path, f"is not Python syntax: {error.msg}", mend, error.lineno)
    except (ValueError, RecursionError, MemoryError):
        return _unreadable(path, "is no text, or nested too deeply", _ONLY)
    return _Reader(path).read(module)


def _unreadable(path: Path, what: str, mend: str, line: int | None = None) -> Loaded:
    where = f"{path}:{line}" if line else str(path)
    return Loaded(path, faults=(Fault(where, what, mend),), complete=False)


class _RefusedError(Exception):
    """An expression that is not data."""

    def __init__(self, node: ast.expr, what: str, mend: str) -> None:
        super().__init__(what)
        self.line, self.what, self.mend = node.lineno, what, mend


class _BrokenNameError(Exception):
    """A name whose own assignment has been reported."""


class _ExhaustedError(Exception):
    """The file unfolds to more than `WORK_LIMIT`."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """A value, how much it unfolds to, and how deep it is nested."""

    value: object
    weight: int = 1
    depth: int = 0


class _Reader:
    """Evaluates the statements of one file, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, _Sized] = {}
        self.lines: dict[str, dict[tuple[str, ...], int]] = {}
        self.faults: list[Fault] = []
        self.broken: set[str] = set()
        self.used: set[str] = set()
        self.left = WORK_LIMIT

    def read(self, module: ast.Module) -> Loaded:
        complete = True
        for statement in module.body:
            try:
                self._statement(statement)
            except _ExhaustedError:
                complete = False
                mend = "write the values out, with fewer repetitions"
                self._fault(statement.lineno, "", "the file unfolds to far too much data", mend)
                break
        return Loaded(
            self.path,
            MappingProxyType({name: sized.value for name, sized in self.names.items()}),
            MappingProxyType({path: line for lines in self.lines.values() for path, line in lines.items()}),
            tuple(self.faults),
            frozenset(self.broken),
            frozenset(self.used),
            complete,
        )

    def _fault(self, line: int, key: str, what: str, mend: str) -> None:
        self.faults.append(Fault(f"{self.path}:{line} {key}".rstrip(), what, mend))

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value) if all(isinstance(target, ast.Name) for target in targets):
                self._assign([target.id for target in targets if isinstance(target, ast.Name)], value)
            case ast.Expr(value=ast.Constant(value=str())):
                pass  # a text alone is a comment
            case ast.AugAssign(target=ast.Name(id=name)):
                self.broken.add(name)
                self._fault(node.lineno, name, "'+=' and its like are not read", f"write {name} = {name} + …")
            case _:
                what = f"{_STATEMENTS.get(type(node), 'this statement')} is not read: the file is never executed"
                self._fault(node.lineno, "", what, f"remove it: {_ONLY}")

    def _assign(self, names: list[str], value: ast.expr) -> None:
        for name in names:  # the last assignment counts, as in Python
            self.broken.discard(name)
            self.lines[name] = {(name,): value.lineno}
        try:
            sized = self._evaluate(value)
        except _RefusedError as error:
            self.broken.update(names)
            self._fault(error.line, names[-1], error.what, error.mend)
        except _BrokenNameError:
            self.broken.update(names)
        else:
            for name in names:
                self.names[name] = sized
                self._note_lines(name, value)

    def _note_lines(self, name: str, value: ast.expr) -> None:
        for key in value.keys if isinstance(value, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                self.lines[name][name, key.value] = key.lineno

    def _evaluate(self, node: ast.expr, level: int = 0) -> _Sized:  # noqa: PLR0911 - one per kind of expression
        if level > DEPTH_LIMIT:
            raise _RefusedError(node, "is nested too deeply", f"use at most {DEPTH_LIMIT} levels")
        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.List(elts=items):
                return self._several(node, [self._evaluate(item, level + 1) for item in items], list)
            case ast.Tuple(elts=items):
                return self._several(node, [self._evaluate(item, level + 1) for item in items], tuple)
            case ast.Dict():
                return self._dictionary(node, level)
            case ast.BinOp(op=ast.Add()):
                return self._sum(node, level)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._minus(node, self._evaluate(operand, level + 1))
            case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]):
                return self._range(node, [self._evaluate(argument, level + 1).value for argument in arguments])
            case _:
                what, mend = _EXPRESSIONS.get(type(node), ("this expression is not data", "write the value itself"))
                raise _RefusedError(node, what, mend)

    def _spend(self, sized: _Sized) -> _Sized:
        self.left -= sized.weight
        if self.left < 0:
            raise _ExhaustedError
        return sized

    def _constant(self, node: ast.expr, value: object) -> _Sized:
        if isinstance(value, str):
            if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
                raise _RefusedError(node, "the text has characters that are none", "write plain text")
            return self._spend(_Sized(value, 1 + len(value)))
        if isinstance(value, bool | None):
            return self._spend(_Sized(value))
        if isinstance(value, int | float):
            return self._spend(_Sized(_bounded(node, value)))
        raise _RefusedError(node, f"a value of type {type(value).__name__} is not read", "write text or a number")

    def _name(self, node: ast.expr, name: str) -> _Sized:
        self.used.add(name)
        if name in self.broken:
            raise _BrokenNameError
        if name not in self.names:
            mend = f'put quotes around it if it is text: "{name}"; or define {name} above this line'
            raise _RefusedError(node, f"the name {name} is not defined above", mend)
        return self.names[name]

    def _several(
        self, node: ast.expr, items: list[_Sized], kind: type[list[object]] | type[tuple[object, ...]]
    ) -> _Sized:
        value = kind(item.value for item in items)
        return self._spend(self._nested(node, value, items))

    def _nested(self, node: ast.expr, value: object, items: list[_Sized]) -> _Sized:
        depth = 1 + max((item.depth for item in items), default=0)
        if depth > DEPTH_LIMIT:
            raise _RefusedError(node, "is nested too deeply", f"use at most {DEPTH_LIMIT} levels")
        return _Sized(value, 1 + sum(item.weight for item in items), depth)

    def _dictionary(self, node: ast.Dict, level: int) -> _Sized:
        items: list[_Sized] = []
        value: dict[object, object] = {}
        for key, content in zip(node.keys, node.values, strict=True):
            if key is None:
                raise _RefusedError(content, "'**' is not read", "write the entries out")
            left, right = self._evaluate(key, level + 1), self._evaluate(content, level + 1)
            try:
                value[left.value] = right.value
            except TypeError:
                raise _RefusedError(key, "a list or dictionary cannot be a key", "use a text as the key") from None
            items += (left, right)
        return self._spend(self._nested(node, value, items))

    def _sum(self, node: ast.expr, level: int) -> _Sized:
        """``a + b + c`` is nested to the left, as deep as it is long: unfolded without recursion."""
        terms: list[ast.expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            terms.append(node.right)
            node = node.left
        if len(terms) > SUM_LIMIT:
            raise _RefusedError(node, "has too many terms", f"add at most {SUM_LIMIT}")
        total = self._evaluate(node, level + 1)
        for term in reversed(terms):
            total = self._spend(self._add(term, total, self._evaluate(term, level + 1)))
        return total

    def _add(self, node: ast.expr, left: _Sized, right: _Sized) -> _Sized:
        weight, depth = left.weight + right.weight, max(left.depth, right.depth)
        match left.value, right.value:
            case str() as a, str() as b:
                return _Sized(a + b, weight, depth)
            case list() as a, list() as b:
                return _Sized([*a, *b], weight, depth)
            case tuple() as a, tuple() as b:
                return _Sized((*a, *b), weight, depth)
            case (int() | float()) as a, (int() | float()) as b if not isinstance(a, bool) and not isinstance(b, bool):
                return _Sized(_bounded(node, a + b))
            case a, b:
                what = f"{type(a).__name__} + {type(b).__name__} has no meaning"
                raise _RefusedError(node, what, "add text to text, lists to lists, numbers to numbers")

    def _minus(self, node: ast.expr, sized: _Sized) -> _Sized:
        if isinstance(sized.value, bool) or not isinstance(sized.value, int | float):
            raise _RefusedError(node, "'-' stands before something that is no number", "write a number after it")
        return _Sized(-sized.value)

    def _range(self, node: ast.expr, arguments: list[object]) -> _Sized:
        numbers = [number for number in arguments if isinstance(number, int) and not isinstance(number, bool)]
        if numbers != arguments or not 1 <= len(numbers) <= 3 or numbers[2:] == [0]:
            raise _RefusedError(node, "range() needs one to three whole numbers", "write range(FIRST, LAST + 1)")
        span = range(*numbers)
        # len() itself overflows on what it cannot count, so bounds are looked at first.
        if abs(span.stop - span.start) // abs(span.step) > RANGE_LIMIT:
            raise _RefusedError(node, "range() has too many numbers", f"use at most {RANGE_LIMIT}")
        return self._spend(_Sized(list(span), 1 + len(span), 1))


def _bounded(node: ast.expr, value: float) -> float:
    """Refuse what cannot even be printed: integers of thousands of digits, and infinity."""
    if abs(value) >= _INT_LIMIT if isinstance(value, int) else not math.isfinite(value):
        raise _RefusedError(node, "the number is too large", "use a smaller number")
    return value


_STATEMENTS: dict[type[ast.stmt], str] = {
    ast.Import: "'import'",
    ast.ImportFrom: "'import'",
    ast.If: "'if'",
    ast.For: "'for'",
    ast.While: "'while'",
    ast.With: "'with'",
    ast.Try: "'try'",
    ast.FunctionDef: "a function",
    ast.ClassDef: "a class",
    ast.Expr: "an expression without a key",
    ast.Assign: "an assignment to anything but a name",
    ast.AnnAssign: "an assignment with a type",
    ast.Delete: "'del'",
}

_EXPRESSIONS: dict[type[ast.expr], tuple[str, str]] = {
    ast.Call: ("a function call is not read, except range()", "write the value itself"),
    ast.Attribute: ("an attribute (name.name) is not read", "write the value itself; texts stand in quotes"),
    ast.JoinedStr: ("a text with f before its quotes is not read", 'join the pieces with +: "text" + name'),
    ast.Subscript: ("an index (name[…]) is not read", "write the value itself"),
    ast.BinOp: ("of the operators only + is read", "write the result itself"),
    ast.UnaryOp: ("of the signs only - is read", "write the value itself"),
    ast.Set: ("a set {…} is not read", "write a list: […]"),
    ast.Starred: ("'*' is not read", "join lists with +"),
    ast.ListComp: ("a comprehension is not read", "write the list out, or use range()"),
    ast.GeneratorExp: ("a comprehension is not read", "write the list out, or use range()"),
    ast.IfExp: ("'if' is not read: the file is never executed", "write the value itself"),
    ast.Lambda: ("a function is not read", "write the value itself"),
}
