"""Small questions to a guest's files. Everything read is bounded: images are untrusted."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from pragma_boot.errors import GuestError
from pragma_boot.image.base import Files

_MANY = 1000
_TEXT = 256 * 1024
_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")


def text(guest: Files, path: str) -> str:
    """A file's first 256 KiB as text, undecodable bytes replaced; empty when it is not there or no file."""
    try:
        return guest.read(path)[:_TEXT].decode("utf-8", "replace") if guest.exists(path) else ""
    except GuestError:
        return ""


def names(guest: Files, folder: str, pattern: str = "*") -> list[str]:
    """The first thousand names in *folder* that fit a shell pattern; none when it is not there."""
    return fnmatch.filter(guest.listdir(folder)[:_MANY], pattern)


def paths(guest: Files, folder: str, *patterns: str) -> list[str]:
    """The paths in *folder* whose names fit one of the patterns, sorted."""
    found = guest.listdir(folder)[:_MANY]
    return [f"{folder}/{name}" for name in found if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def first(guest: Files, *candidates: str) -> str | None:
    """The first of some paths that exists."""
    return next((path for path in candidates if guest.exists(path)), None)


def program(guest: Files, *wanted: str) -> bool:
    """Whether one of some programs is installed."""
    return any(guest.exists(f"{folder}/{name}") for name in wanted for folder in _PROGRAM_FOLDERS)


def assignments(content: str) -> dict[str, str]:
    """The ``KEY=value`` lines of a shell-like file (os-release, ifcfg), keys in upper case, quotes removed."""
    found = {}
    for line in content.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key.strip().upper()] = value.strip().strip("\"'")
    return found


def sections(content: str) -> list[tuple[str, str, str]]:
    """The ``key=value`` lines of an INI-like file as (section, key, value), the first two in lower case."""
    found, section = [], ""
    for raw in content.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].lower()
        elif "=" in line and line[:1] not in "#;":
            key, _, value = line.partition("=")
            found.append((section, key.strip().lower(), value.strip()))
    return found


def enabled_units(guest: Files, *, systemd: bool) -> frozenset[str]:
    """The services that start at boot: links in ``*.wants``, or of runlevels (S10name) and OpenRC, as ``NAME.service``.

    A unit that is masked (a link to /dev/null) is left out.
    """
    found = set(_wanted(guest) if systemd else _runlevels(guest))
    own = found.intersection(guest.listdir("/etc/systemd/system"))
    return frozenset(found - {name for name in own if guest.readlink(f"/etc/systemd/system/{name}") == "/dev/null"})


def _wanted(guest: Files) -> Iterator[str]:
    for base in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"):
        if base.startswith("/lib") and guest.readlink("/lib") is not None:
            continue
        for folder in (*names(guest, base, "*.wants"), *names(guest, base, "*.requires")):
            yield from guest.listdir(f"{base}/{folder}")[:_MANY]


def _runlevels(guest: Files) -> Iterator[str]:
    for level in ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d", "/etc/rc.d/rc3.d"):
        for name in names(guest, level, "S[0-9][0-9]*"):
            yield f"{name[3:]}.service"
    for name in names(guest, "/etc/runlevels/default"):
        yield f"{name}.service"
