"""Parsers of plain values: each takes what the file says and gives what the program works with.

A parser is a function of one value; those that need limits are made by a function. Every parser raises
`WrongValueError`, and nothing else, for a value that it does not take.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Parser = Callable[[object], Any]
"""Takes the value as read from the file; returns the validated one or raises WrongValueError."""

_TRUE = frozenset({"yes", "true", "on", "y", "t", "1"})
_FALSE = frozenset({"no", "false", "off", "n", "f", "0"})
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_NETWORK = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class WrongValueError(ValueError):
    """A value that its key does not take: *what* is wrong with it, and the *mend*."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that *word* was probably meant to be; None when nothing is near."""
    import difflib  # noqa: PLC0415 - only a fault needs it, and it takes its time

    names = list(known)
    return next(iter(difflib.get_close_matches(word, names, 1)), None)


def text(value: object) -> str:
    """Printable text on one line, not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise WrongValueError("is no text", 'write text in quotes on one line: "text"')
    return value


def optional_text(value: object) -> str:
    """Printable text, or ``""`` (also for None)."""
    return "" if value in ("", None) else text(value)


def path(value: object) -> Path:
    """An absolute path."""
    found = Path(text(value))
    if not found.is_absolute():
        raise WrongValueError("is no absolute path", 'begin it with a slash: "/path"')
    return found


def optional_path(value: object) -> Path | None:
    """An absolute path; None for ``""`` or None."""
    return None if value in ("", None) else path(value)


def words(value: object) -> tuple[str, ...]:
    """A list of texts, or one text with commas or blanks between its words (None and ``""`` are empty)."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split())
    if isinstance(value, list | tuple):
        return tuple(text(item) for item in value)
    raise WrongValueError("is no list of texts", 'write ["one", "two"], or "one two"')


def whole(low: int, high: int) -> Parser:
    """Make a parser of whole numbers from *low* to *high*, both included; a text of digits is taken, too."""

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise WrongValueError("is no whole number in range", f"write a number from {low} to {high}")
        return value

    return parse


def seconds(low: float, high: float) -> Parser:
    """Make a parser of times in seconds from *low* to *high*, both included."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise WrongValueError("is no number of seconds", f"write a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise WrongValueError("is no number of seconds in range", f"write a number from {low:g} to {high:g}")
        return float(value)

    return parse


def wait(value: object) -> float:
    """Seconds to wait for nodes, at most a day; 0.0 for False, None and ``"no"``: do not wait."""
    if value is False or value is None or (isinstance(value, str) and value.strip().lower() in _FALSE):
        return 0.0
    try:
        limit: float = seconds(0, 86400)(value)
    except WrongValueError as error:
        raise WrongValueError(error.what, "write seconds, 86400 at most, or False for no waiting") from None
    return limit


def boolean(value: object) -> bool:
    """True or False; the words yes, no, true, false, on, off are taken, too."""
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, bool):
        return word
    if isinstance(word, str) and word in _TRUE | _FALSE:
        return word in _TRUE
    raise WrongValueError("is neither True nor False", "write True or False")


def choice(*names: str) -> Parser:
    """Make a parser of one of *names*; another word is answered with the nearest of them."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        near = nearest(value.lower(), names) if isinstance(value, str) else None
        what = "is not known" + (f": did you mean {str(near)!r}?" if near else "")
        raise WrongValueError(what, "write one of " + ", ".join(repr(str(name)) for name in names))

    return parse


def domain(value: object) -> str:
    """A DNS domain name in lower case, without the dot at its end."""
    name = text(value).strip(".").lower()
    if len(name) > 190 or not _DOMAIN.fullmatch(name):
        raise WrongValueError("is no domain name", 'write a name like "cluster.example.org"')
    return name


def url(value: object) -> str:
    """A URL with its scheme, or a bare id (clonezilla's Google Drive folders have one); ``""`` for none."""
    name = optional_text(value)
    if " " in name:
        raise WrongValueError("has blanks in it", "write blanks in a URL as %20")
    return name


def web_url(value: object) -> str:
    """An http(s) URL."""
    name = text(value)
    if not re.fullmatch(r"https?://[^/\s]\S*", name):
        raise WrongValueError("is no http or https URL", 'begin it with "https://"')
    return name


def uris(value: object) -> tuple[str, ...]:
    """One or several libvirt connection URIs, without repetition."""
    names = words(value)
    if not names:
        raise WrongValueError("names no host", 'write ["qemu:///system"]')
    for name in names:
        if not _URI.fullmatch(name):
            raise WrongValueError(f"{name!r} is no libvirt URI", 'write one like "qemu:///system"')
    if len(set(names)) < len(names):
        raise WrongValueError("names a host twice", "write each host once")
    return names


def command(value: object) -> tuple[str, ...]:
    """A program with the arguments that go before ours: a list of words, or one text quoted as for a shell."""
    try:
        parts = tuple(shlex.split(value)) if isinstance(value, str) else words(value)
    except ValueError as error:
        raise WrongValueError(f"has unmatched quotes ({error})", 'write a list: ["ssh", "host"]') from None
    if not parts or not parts[0]:
        raise WrongValueError("names no program", "write the program's path")
    return parts


def patterns(value: object) -> tuple[str, ...]:
    """One regular expression or a list of them; ``""`` and None are none."""
    items = [value] if isinstance(value, str) and value else value or []
    if not isinstance(items, list | tuple):
        raise WrongValueError("is no pattern", 'write a regular expression in quotes: "rocks-.*"')
    for item in items:
        try:
            re.compile(text(item))
        except (re.error, OverflowError, RecursionError) as error:
            raise WrongValueError(f"{item!r} is no regular expression: {error}", "mend the pattern") from None
    return tuple(items)


def text_map(value: object) -> Mapping[str, str]:
    """A dictionary of texts."""
    if not isinstance(value, dict):
        raise WrongValueError("is no dictionary", 'write {"name": "value"}')
    return {text(name): text(content) for name, content in value.items()}


def ports(value: object) -> tuple[int, ...]:
    """One TCP port or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    parse = whole(1, 65535)
    return tuple(dict.fromkeys(parse(item) for item in items))


def entry(value: Mapping[object, object], parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Parse an inner dictionary by one parser per name; a wrong or unknown name is named with the nearest."""
    result = {}
    for name, content in value.items():
        if not isinstance(name, str) or name not in parsers:
            near = nearest(name, parsers) if isinstance(name, str) else None
            what = f"has the unknown name {name!r}" + (f": did you mean {near!r}?" if near else "")
            raise WrongValueError(what, "use " + ", ".join(parsers))
        try:
            result[name] = parsers[name](content)
        except WrongValueError as error:
            raise WrongValueError(f"{name} {error.what}", error.mend) from None
    return result


def network_tag(value: object) -> str:
    """The name of a further site network; `private` and `public` are every cluster's own."""
    name = text(value)
    if not _NETWORK.fullmatch(name) or name in ("private", "public"):
        raise WrongValueError(
            f"{name!r} cannot name a further network", "use letters, digits, '_' and '-'; not private or public"
        )
    return name
