"""Whether QEMU's own user can reach a file: libvirt runs machines as a user who may search few folders."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

_READ, _SEARCH = 4, 1


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the host, with all groups."""

    name: str
    uid: int
    gids: frozenset[int]


def person(label: str) -> Person | None:
    """The user of a DAC label ``+64055:+107`` (libvirt's capabilities); None when it is none."""
    user, _, group = label.partition(":")
    try:
        uid, gid = int(user), int(group)
    except ValueError:
        return None
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return Person(str(uid), uid, frozenset({gid}))
    groups = set(os.getgrouplist(name, gid))
    with contextlib.suppress(KeyError):
        groups.add(grp.getgrnam("kvm").gr_gid)
    return Person(name, uid, frozenset(groups))


def closed_folder(path: Path, who: Person) -> Path | None:
    """The first folder on the way to *path* (itself, if it is one) that *who* may not search; None when all are open.

    Folders that do not exist yet count as open. Access lists are believed to be there for a reason: they count, too.
    """
    folders = [*reversed(path.parents), path]
    for folder in folders:
        try:
            if not folder.is_dir():
                return None
            if not _may(folder, who, _SEARCH):
                return folder
        except PermissionError:
            return None  # we cannot look either; libvirt will tell
    return None


def unreadable(path: Path, who: Person) -> bool:
    """Whether *who* may not read the file *path*, as its mode says."""
    return path.is_file() and not _may(path, who, _READ)


def _may(path: Path, who: Person, bit: int) -> bool:
    status = path.stat()
    if who.uid == 0:
        return True
    with contextlib.suppress(OSError):
        if "system.posix_acl_access" in os.listxattr(path):
            return True
    if status.st_uid == who.uid:
        return bool(status.st_mode >> 6 & bit)
    if status.st_gid in who.gids:
        return bool(status.st_mode >> 3 & bit)
    return bool(status.st_mode & bit)
