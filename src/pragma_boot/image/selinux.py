"""Which SELinux label a new file gets: the rules of the image's own policy (selabel_file(5)).

A file without a label, or with its folder's, is often worse than none: sshd may not read root's keys then.
"""

from __future__ import annotations

import re
import stat
from functools import lru_cache

from pragma_boot.image.base import Guest

_CONFIG = "/etc/selinux/config"
_FILES = ("file_contexts", "file_contexts.homedirs", "file_contexts.local")
_SUBSTITUTIONS = ("file_contexts.subs", "file_contexts.subs_dist")
_KINDS = {"--": stat.S_IFREG, "-d": stat.S_IFDIR, "-l": stat.S_IFLNK}
_META = "\\.^$?*+|[]({"
_SETTING = re.compile(rb"^\s*(SELINUX|SELINUXTYPE)\s*=\s*([A-Za-z0-9_-]+)", re.MULTILINE)

_Rule = tuple[str, str, int, str]  # literal beginning, pattern, kind of file (0: any), label


class Labels:
    """The labels of one image's policy."""

    def __init__(self, rules: bytes, substitutions: bytes) -> None:
        self._rules = _parse(rules)
        lines = (line.split() for line in substitutions.decode(errors="replace").splitlines())
        self._substitutions = [
            (words[0], words[1]) for words in lines if len(words) == 2 and not words[0].startswith("#")
        ]

    @classmethod
    def of(cls, guest: Guest) -> Labels | None:
        """The policy that *guest* enforces or watches over; None when it has SELinux switched off or not at all."""
        if not guest.exists(_CONFIG):
            return None
        settings = dict(_SETTING.findall(guest.read(_CONFIG)))
        if settings.get(b"SELINUX", b"disabled").lower() not in (b"enforcing", b"permissive"):
            return None
        folder = f"/etc/selinux/{settings.get(b'SELINUXTYPE', b'targeted').decode()}/contexts/files"
        rules, substitutions = (
            b"\n".join(guest.read(f"{folder}/{name}") for name in names if guest.exists(f"{folder}/{name}"))
            for names in (_FILES, _SUBSTITUTIONS)
        )
        return cls(rules, substitutions)

    @property
    def known(self) -> bool:
        """Whether the image has rules at all; without them only a relabel at its boot helps."""
        return bool(self._rules)

    def find(self, path: str, mode: int) -> str | None:
        """The label for a file of that type (``st_mode``) at *path*; None when the policy gives it none."""
        for old, new in self._substitutions:
            if path == old or path.startswith(f"{old}/"):
                path = new + path[len(old) :]
                break
        kind = stat.S_IFMT(mode)
        for literal, pattern, wanted, label in self._rules:
            if path.startswith(literal) and wanted in (0, kind) and _fits(pattern, path):
                return None if label == "<<none>>" else label
        return None


@lru_cache(maxsize=8)
def _parse(text: bytes) -> tuple[_Rule, ...]:
    """The rules in order of precedence: exact paths first, and the later before the earlier."""
    rules: list[_Rule] = []
    exacts: list[_Rule] = []
    for line in text.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) not in (2, 3) or words[0].startswith("#") or (len(words) == 3 and words[1] not in _KINDS):
            continue
        pattern = words[0]
        literal, exact = _literal(pattern)
        rule = (literal, pattern, _KINDS[words[1]] if len(words) == 3 else 0, words[-1])
        (exacts if exact else rules).append(rule)
    return (*reversed(exacts), *reversed(rules))


def _literal(pattern: str) -> tuple[str, bool]:
    """The characters that every path of a pattern begins with, and whether they are all of it."""
    letters: list[str] = []
    index = 0
    while index < len(pattern):
        letter = pattern[index]
        if letter == "\\" and index + 1 < len(pattern) and not pattern[index + 1].isalnum():
            index += 1
            letter = pattern[index]
        elif letter in _META:
            if letter in "?*{":
                letters = letters[:-1]  # the letter before may be missing
            return ("" if letter == "|" else "".join(letters)), False
        letters.append(letter)
        index += 1
    return "".join(letters), True


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _fits(pattern: str, path: str) -> bool:
    compiled = _compiled(pattern)
    return bool(compiled and compiled.fullmatch(path))
