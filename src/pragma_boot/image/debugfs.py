"""debugfs, the ext file system editor of e2fsprogs: scripts in, listings out.

It exits with 0 whatever happens, so its standard error decides: anything there but its banner is a failure. Names
in an image are untrusted: they are quoted, and those that a line of a script cannot carry are refused.
"""

from __future__ import annotations

import re
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import CommandError, GuestError
from pragma_boot.run import run

ROOT_INODE = 2
_LINE_LIMIT = 8000  # debugfs cuts longer lines of a script in two
_BANNER = re.compile(r"debugfs \d+\.\S+ \(.*\)")
_ENTRY = re.compile(r"/(\d+)/([0-7]{6})/(\d+)/(\d+)/([^/]*)/(\d*)/")
_FAST_LINK = re.compile(r'^Fast link dest: "(.*)"$', re.MULTILINE | re.DOTALL)
_ABSENT = ("File not found by ext2_lookup ", "Ext2 inode is not a directory ")
_MEND = "repair the image's file system with 'e2fsck -f', or build the image anew"


@dataclass(frozen=True, slots=True)
class Inode:
    """What a listing tells of a file: number, type and permission bits, owner, group, size (0 for folders)."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


Listing = dict[str, Inode]
"""A folder's entries by name, "." (itself) included."""


def quote(word: str) -> str:
    """One word of a script's line. Raises GuestError for a name with a control character in it."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in word):
        raise GuestError(f"odd file name {word!r}", resolution="remove or rename this file in the image")
    return '"' + word.replace('"', '""') + '"'


class Debugfs:
    """debugfs on one file system: in *device*, *offset* bytes from its beginning.

    folder: private; scripts and outputs live in a folder of our own in it, so that threads do not meet there.
    """

    def __init__(self, device: Path, offset: int, folder: Path) -> None:
        self.device = device
        self.offset = offset
        self.folder = Path(tempfile.mkdtemp(dir=folder))

    @property
    def target(self) -> str:
        """The file system as e2fsprogs' programs name it."""
        return f"{self.device}?offset={self.offset}"

    def listings(self, folders: Sequence[str]) -> dict[int, Listing]:
        """The listings of many folders in one go, by their inode numbers.

        folders: paths or ``<INODE>``; what is no folder is left out. Raises GuestError for odd names.
        """
        commands = [f"ls -p {quote(folder)}" for folder in folders]
        output, errors = self._script(commands, writable=False)
        if any(not line.endswith(_ABSENT) for line in errors.splitlines()):
            raise GuestError("a folder in an image cannot be read", details=errors, resolution=_MEND)
        found = (_listing(part) for part in _parts(output, commands))
        return {entries["."].number: entries for entries in found if "." in entries}

    def content(self, inode: Inode) -> bytes:
        """A regular file's content. Raises GuestError when it cannot be read in full."""
        output, errors = self._request(f"cat <{inode.number}>")
        if errors or len(output) != inode.size:
            raise GuestError(f"a file in {self.device} cannot be read", details=errors, resolution=_MEND)
        return output

    def link_target(self, inode: Inode) -> str:
        """What a symbolic link says. Raises GuestError when it cannot be read."""
        output, errors = self._request(f"stat <{inode.number}>")
        if found := _FAST_LINK.search(output.decode(errors="surrogateescape")):
            return found.group(1)
        if errors or inode.size > 4096:
            raise GuestError(f"a link in {self.device} cannot be read", details=errors, resolution=_MEND)
        return self.content(inode).decode(errors="surrogateescape")

    def dump(self, inode: Inode, target: Path) -> None:
        """Copy a regular file's content to *target* on the host. Raises GuestError when it is not there in full."""
        _, errors = self._request(f"dump <{inode.number}> {quote(str(target))}")
        if errors or not target.is_file() or target.stat().st_size != inode.size:
            raise GuestError(f"a file in {self.device} cannot be copied out", details=errors, resolution=_MEND)

    def write(self, commands: Sequence[str]) -> None:
        """Run a script that changes the file system. Raises GuestError when any command complains."""
        _, errors = self._script(commands, writable=True)
        if errors:
            full = "o space left" in errors or "allocate" in errors
            raise GuestError(
                "a node's disk cannot be edited",
                details=errors,
                resolution="make room: the image's file system, or the host's where the disks are, is full"
                if full
                else _MEND,
            )

    def _script(self, commands: Sequence[str], *, writable: bool) -> tuple[bytes, str]:
        for command in commands:
            if len(command.encode(errors="surrogateescape")) > _LINE_LIMIT:
                raise GuestError("a path in the image is too long to be edited", details=command[:200])
        script = self.folder / "script"
        script.write_bytes("\n".join([*commands, ""]).encode(errors="surrogateescape"))
        return self._run("-w" if writable else "-c", "-f", str(script))

    def _request(self, command: str) -> tuple[bytes, str]:
        return self._run("-c", "-R", command)

    def _run(self, *options: str) -> tuple[bytes, str]:
        done = run(
            ["debugfs", *options, self.target],
            check=False,
            timeout=600,
            resolution=_MEND,
            output=self.folder / "output",
        )
        lines = done.stderr.decode(errors="replace").splitlines()
        errors = "\n".join(line for line in lines if line and not _BANNER.fullmatch(line))
        if done.status != 0:
            raise CommandError(f"debugfs failed with status {done.status}", details=errors, resolution=_MEND)
        return done.stdout, errors


def _parts(output: bytes, commands: Sequence[str]) -> list[str]:
    """A script's output, cut at the commands that debugfs repeats before what each of them prints."""
    text = output.decode(errors="surrogateescape")
    pieces = re.split(r"^debugfs: ", text, flags=re.MULTILINE)[1:]
    if len(pieces) != len(commands):
        raise GuestError("odd file name in the image", details="a name holds a line break", resolution=_MEND)
    return [piece.removeprefix(command + "\n") for piece, command in zip(pieces, commands, strict=True)]


def _listing(text: str) -> Listing:
    entries: Listing = {}
    for line in text.split("\n"):
        if not line:
            continue
        found = _ENTRY.fullmatch(line)
        if not found:
            raise GuestError(f"odd file name {line!r}", resolution="remove or rename this file in the image")
        number, mode, uid, gid, name, size = found.groups()
        if name and name != "..":
            entries[name] = Inode(int(number), int(mode, 8), int(uid), int(gid), int(size or 0))
    return entries
