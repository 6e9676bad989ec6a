"""Reads and writes the text in which LVM describes a volume group (``vgcfgbackup``): keys, lists and sections."""

from __future__ import annotations

import re

Value = str | int | list["str | int"]
Section = dict[str, "Value | Section"]

TEXT_LIMIT = 1024 * 1024
_DEPTH = 16
_TOKEN = re.compile(r'\s*(?:#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<sign>[{}\[\]=,])|(?P<word>[^\s{}\[\]=,"#]+))')
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


def parse(text: str) -> Section:
    """The whole text as nested sections. Raises ValueError when it is no such text."""
    tokens = [match for match in _TOKEN.finditer(text.rstrip()) if match.lastgroup]
    if "".join(text.split()) != "".join("".join(match[0] for match in _TOKEN.finditer(text.rstrip())).split()):
        raise ValueError("stray characters")
    section, at = _section([match[match.lastgroup or 0] for match in tokens], 0, 0)
    if at != len(tokens):
        raise ValueError("a section ends that never began")
    return section


def render(section: Section, depth: int = 0) -> str:
    """The text of sections, as LVM reads it."""
    lines, tab = [], "\t" * depth
    for key, value in section.items():
        if isinstance(value, dict):
            lines.append(f"{tab}{key} {{\n{render(value, depth + 1)}{tab}}}\n")
        elif isinstance(value, list):
            lines.append(f"{tab}{key} = [{', '.join(map(_quoted, value))}]\n")
        else:
            lines.append(f"{tab}{key} = {_quoted(value)}\n")
    return "".join(lines)


def _section(tokens: list[str], at: int, depth: int) -> tuple[Section, int]:
    if depth > _DEPTH:
        raise ValueError("sections are nested too deep")
    found: Section = {}
    while at < len(tokens) and tokens[at] != "}":
        name, sign = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:20]!r} is no name")
        if sign == "{":
            found[name], at = _section(tokens, at + 2, depth + 1)
            if at >= len(tokens):
                raise ValueError("a section does not end")
            at += 1
        elif sign == "=":
            found[name], at = _value(tokens, at + 2)
        else:
            raise ValueError(f"{name[:20]!r} has no value")
    return found, at


def _value(tokens: list[str], at: int) -> tuple[Value, int]:
    if at < len(tokens) and tokens[at] == "[":
        end = tokens.index("]", at)
        return [_scalar(word) for word in tokens[at + 1 : end] if word != ","], end + 1
    if at >= len(tokens):
        raise ValueError("the end is missing")
    return _scalar(tokens[at]), at + 1


def _scalar(word: str) -> str | int:
    if word.startswith('"'):
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    if not re.fullmatch(r"-?\d{1,19}", word):
        raise ValueError(f"{word[:20]!r} is no value")
    return int(word)


def _quoted(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
