"""Several of our modules as one file for an old Python: `bundle`.

The modules keep their names and stay apart: each is a text in the file that a small loader runs as a module. On the
way in they lose what old Pythons do not know (annotations, newer standard modules) and what nobody needs: only what
can be reached from the entry is kept. Cuts are made in the source's text, at places that the parser tells, so the
result does not depend on the Python that makes it, and comments and layout stay.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pragma_boot.errors import PragmaError

_PACKAGE = "pragma_boot"
COMPAT = "pragma_boot.agent.compat"
_REPLACED = {"dataclasses": COMPAT, "enum": COMPAT, "importlib": COMPAT}
"""Modules whose newer names (`StrEnum`, `resources`) come from `COMPAT`."""
_COMPATIBLE = ("dataclass", "field", "replace", "StrEnum", "resources")


@dataclass(slots=True)
class Module:
    """One module's source, and which of its top-level statements are wanted."""

    name: str
    is_package: bool
    text: str
    tree: ast.Module
    defines: dict[str, list[int]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)


class Bundler:
    """Collects modules below *source* (the folder that `pragma_boot` is in), beginning at an entry."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.modules: dict[str, Module] = {}
        self._todo: list[tuple[str, str]] = []
        self.resources: dict[str, str] = {}

    def collect(self, module: str, name: str) -> None:
        """Take the definition *name* of *module* and all that it needs. Raises PragmaError for what is not there."""
        self._todo.append((module, name))
        while self._todo:
            self._take(*self._todo.pop())

    def _load(self, name: str) -> Module | None:
        if name not in self.modules:
            path = self._source / Path(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if not file.exists():
                return None
            text = file.read_text()
            module = Module(name, path.is_dir(), text, ast.parse(text))
            self.modules[name] = module
            _index(module)
            for number in _effects(module):
                self._want(module, number)
        return self.modules[name]

    def _take(self, module_name: str, name: str) -> None:
        module = self._load(module_name)
        if module is None:
            raise PragmaError(f"{module_name} is no module of ours")
        if name in module.defines:
            for number in module.defines[name]:
                self._want(module, number)
        elif name in module.imports:
            module.used.add(name)
            self._follow(*module.imports[name])
        elif self._load(f"{module_name}.{name}") is None:
            raise PragmaError(f"{module_name} has no {name}", resolution="bundled modules define names at top level")

    def _follow(self, origin: str, name: str) -> None:
        """Something imported: *name* of the module *origin*, or the module itself."""
        if not origin.startswith(_PACKAGE):
            return
        if name and self._load(f"{origin}.{name}") is None:
            self._todo.append((origin, name))

    def _want(self, module: Module, number: int) -> None:
        if number in module.wanted:
            return
        module.wanted.add(number)
        for node in _walk(module.tree.body[number]):
            if isinstance(node, ast.Name):
                self._use(module, node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                self._use_attribute(module, node.value.id, node.attr)
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE):
                for alias in node.names:
                    self._follow(node.module, alias.name)
            elif isinstance(node, ast.Call):
                self._use_resources(node)

    def _use(self, module: Module, name: str) -> None:
        if name in module.defines or name in module.imports:
            self._todo.append((module.name, name))

    def _use_attribute(self, module: Module, name: str, attribute: str) -> None:
        origin, imported = module.imports.get(name, ("", ""))
        if origin.startswith(_PACKAGE) and imported and self._load(f"{origin}.{imported}"):
            module.used.add(name)
            self._todo.append((f"{origin}.{imported}", attribute))

    def _use_resources(self, call: ast.Call) -> None:
        """``resources.files("package")``: take all its files that are no modules."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "files" and call.args:
            package = ast.literal_eval(call.args[0])
            for path in sorted((self._source / Path(*package.split("."))).glob("*.sh")):
                self.resources[f"{package}/{path.name}"] = path.read_text()


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def _index(module: Module) -> None:
    for number, statement in enumerate(module.tree.body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                origin, name = _origin(statement.module or "", alias.name)
                module.imports[alias.asname or alias.name] = (origin, name)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                module.imports[(alias.asname or alias.name).partition(".")[0]] = (alias.name, "")
        else:
            for name in _defined(statement):
                module.defines.setdefault(name, []).append(number)


def _origin(module: str, name: str) -> tuple[str, str]:
    return (_REPLACED[module], name) if module in _REPLACED and name in _COMPATIBLE else (module, name)


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value:
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _effects(module: Module) -> Iterator[int]:
    """Statements that nothing names but that do something; none of ours may, at top level of what is bundled."""
    for number, statement in enumerate(module.tree.body):
        text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        guard = isinstance(statement, ast.If)  # TYPE_CHECKING, __main__
        if not (text or guard or _defined(statement) or isinstance(statement, ast.Import | ast.ImportFrom)):
            if isinstance(statement, ast.AnnAssign):
                continue
            yield number


# ------------------------------------------------------------------------------------------------------- the text


def rendered(module: Module) -> str:
    """The module's text with what is wanted of it only, for an old Python."""
    source = module.text.splitlines(keepends=True)
    parts = ["".join(source[: module.tree.body[0].end_lineno])]  # every module of ours begins with its docstring
    imports = [line for statement in module.tree.body for line in _imports(statement, _names(module))]
    parts += ["\n", *imports] if imports else []
    for number, statement in enumerate(module.tree.body):
        if number in module.wanted:
            first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
            while first > 1 and source[first - 2].startswith("#") and not source[first - 2].startswith("# ---"):
                first -= 1
            last = statement.end_lineno or first
            following = module.tree.body[number + 1 : number + 2]
            if isinstance(statement, ast.Assign | ast.AnnAssign) and following and _is_text(following[0]):
                last = following[0].end_lineno or last
            text = "".join(source[first - 1 : last])
            gap = "\n\n" if isinstance(statement, ast.FunctionDef | ast.ClassDef) else ""
            parts.append(gap + _without_annotations(text, statement, first))
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _names(module: Module) -> set[str]:
    """All names that what is wanted of a module uses."""
    nodes = (node for number in module.wanted for node in _walk(module.tree.body[number]))
    return module.used | {node.id for node in nodes if isinstance(node, ast.Name)}


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _imports(statement: ast.stmt, used: set[str]) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if (alias.asname or alias.name).partition(".")[0] in used:
                yield f"import {alias.name}{f' as {alias.asname}' if alias.asname else ''}\n"
    elif isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
        by_origin: dict[str, list[str]] = {}
        for alias in statement.names:
            if (alias.asname or alias.name) in used:
                origin, name = _origin(statement.module or "", alias.name)
                by_origin.setdefault(origin, []).append(f"{name}{f' as {alias.asname}' if alias.asname else ''}")
        for origin, names in by_origin.items():
            yield f"from {origin} import {', '.join(names)}\n"


@dataclass(frozen=True, slots=True, order=True)
class _Cut:
    """Put *text* in the place of what stands between two places (line, column in bytes), both 1- and 0-based."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


def _without_annotations(text: str, statement: ast.stmt, first: int) -> str:
    """The statement's *text* (which begins on line *first*) without annotations."""
    cuts = sorted(_cuts(statement, text, first, in_class=False), reverse=True)
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for cut in cuts:
        (row, column), (end_row, end_column) = cut.start, cut.end
        row, end_row = row - first, end_row - first
        joined = lines[row][:column] + cut.text.encode() + lines[end_row][end_column:]
        lines[row : end_row + 1] = [joined]
    return b"".join(lines).decode()


def _cuts(node: ast.AST, text: str, first: int, *, in_class: bool) -> Iterator[_Cut]:
    if isinstance(node, ast.arg) and node.annotation:
        start = (node.lineno, node.col_offset + len(node.arg.encode()))
        yield _Cut(start, _end(node.annotation), "")
    elif isinstance(node, ast.AnnAssign):
        start, end = _end(node.target), _end(node.annotation)
        if in_class:
            yield _Cut(start, end, ": object")
        elif node.value:
            yield _Cut(start, end, "")
        else:
            yield _Cut((node.lineno, node.col_offset), end, "pass")
    elif isinstance(node, ast.FunctionDef) and node.returns:
        yield _Cut(_arrow(text, first, node), _end(node.returns), "")
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _cuts(child, text, first, in_class=isinstance(node, ast.ClassDef))


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _arrow(text: str, first: int, node: ast.FunctionDef) -> tuple[int, int]:
    """Where the blank before the ``->`` of a function stands."""
    assert node.returns
    before, place = (node.returns.lineno, node.returns.col_offset), (node.lineno, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start[0] + first - 1, token.start[1]
        if token.string == "->" and place <= (row, column) < before:
            place = (row, len(token.line[:column].rstrip().encode()))
    return place


# ------------------------------------------------------------------------------------------------------- the file

_LOADER = '''
import sys
from types import ModuleType

_TEXTS = {}


def _load():
    """Make all modules, then run their texts: each comes after those that it needs."""
    for name in sorted(_TEXTS):
        module = sys.modules[name] = ModuleType(name)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    for name, text in _TEXTS.items():
        exec(compile(text, f"<{name}>", "exec"), sys.modules[name].__dict__)


'''


def bundle(bundler: Bundler, head: str, entry: str, call: str) -> str:
    """The whole file: *head* (its first lines), all modules, and at the end *call* on the module *entry*."""
    parents = {name.rpartition(".")[0] for name in bundler.modules}
    parts = [head, _LOADER]
    for name in [*sorted(parents - set(bundler.modules)), *_order(bundler)]:
        module = bundler.modules.get(name)
        parts.append(f'_TEXTS["{name}"] = {_quoted(rendered(module) if module else "")}\n')
    parts.append("\n_load()\n")
    for path, text in bundler.resources.items():
        parts.append(f'sys.modules["{COMPAT}"].RESOURCES["{path}"] = {_quoted(text)}\n')
    parts.append(f'\nif __name__ == "__main__":\n    sys.exit(sys.modules["{entry}"].{call})\n')
    return "".join(parts)


def _quoted(text: str) -> str:
    if "'''" in text or text.endswith(("'", "\\")):
        raise PragmaError("a bundled text has three single quotes, or ends in a quote", resolution="write it otherwise")
    return f"r'''{text}'''"


def _order(bundler: Bundler) -> list[str]:
    """All modules, each after those that it imports at top level."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order or name in under_way:
            return
        under_way.add(name)
        module = bundler.modules.get(name)
        for needed in _needs(module, bundler.modules) if module else ():
            visit(needed)
        order[name] = None

    under_way: set[str] = set()
    for name in sorted(bundler.modules):
        visit(name)
    return list(order)


def _needs(module: Module, all_modules: Mapping[str, Module]) -> Iterable[str]:
    for name in sorted(_names(module)):
        origin, imported = module.imports.get(name, ("", ""))
        yield from (each for each in (f"{origin}.{imported}", origin) if each in all_modules)
