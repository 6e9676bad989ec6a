"""A guest's root file system in memory: files, folders and links with their modes, edited as the contract says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pragma_boot.errors import GuestError
from pragma_boot.image.base import READ_LIMIT, Edit, MakeFolder, Move, Remove, Symlink, Write
from pragma_boot.model import Disk, DiskFormat, LocalDisk


@dataclass(slots=True)
class Entry:
    """One file (data), link (target) or folder (neither)."""

    mode: int = 0o755
    data: bytes | None = None
    target: str | None = None
    group: int = 0

    @property
    def is_folder(self) -> bool:
        return self.data is None and self.target is None


def _disk() -> LocalDisk:
    return LocalDisk(Path("/images/fake.raw"), DiskFormat.RAW, 1 << 30)


@dataclass(slots=True)
class FakeGuest:
    """Implements `Guest`; *entries* are keyed by absolute path, parents included."""

    entries: dict[str, Entry] = field(default_factory=lambda: {"/": Entry()})
    disk: Disk | LocalDisk = field(default_factory=_disk)
    edits: list[Edit] = field(default_factory=list)

    @classmethod
    def of(cls, files: Mapping[str, str | bytes | None]) -> FakeGuest:
        """Text or bytes make files, None a folder, ``-> target`` a symbolic link."""
        guest = cls()
        for path, content in files.items():
            if content is None:
                guest._make(MakeFolder(path))
            elif isinstance(content, str) and content.startswith("-> "):
                guest._make(Symlink(path, content[3:]))
            else:
                guest._make(Write(path, content.encode() if isinstance(content, str) else content))
        return guest

    # --- reading

    def exists(self, path: str) -> bool:
        return self._follow(path) in self.entries

    def is_dir(self, path: str) -> bool:
        entry = self.entries.get(self._follow(path))
        return entry is not None and entry.is_folder

    def listdir(self, path: str) -> tuple[str, ...]:
        folder = self._follow(path)
        if folder not in self.entries or not self.entries[folder].is_folder:
            return ()
        return tuple(sorted(PurePosixPath(p).name for p in self.entries if p != "/" and _parent(p) == folder))

    def read(self, path: str) -> bytes:
        entry = self.entries.get(self._follow(path))
        if entry is None or entry.data is None:
            raise GuestError(f"{path} is no readable file")
        if len(entry.data) > READ_LIMIT:
            raise GuestError(f"{path} is too large")
        return entry.data

    def readlink(self, path: str) -> str | None:
        entry = self.entries.get(self._in_folder(path))
        return entry.target if entry else None

    def export(self, path: str, target: Path) -> None:
        target.write_bytes(self.read(path))

    # --- changing

    def apply(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self.edits.append(edit)
            self._make(edit)

    def tree(self) -> dict[str, tuple[int, bytes | str | None]]:
        """Everything in it, comparable: mode and content, link target or None by path."""
        return {
            path: (entry.mode, entry.data if entry.data is not None else entry.target)
            for path, entry in sorted(self.entries.items())
        }

    def _make(self, edit: Edit) -> None:
        path = self._in_folder(edit.path)
        match edit:
            case Write(data=data, mode=mode, group=group):
                self._drop(path)
                self._parents(path, 0o755)
                self.entries[path] = Entry(mode, data, group=group)
            case Symlink(target=target):
                self._drop(path)
                self._parents(path, 0o755)
                self.entries[path] = Entry(0o777, target=target)
            case MakeFolder(mode=mode):
                self._parents(path, 0o755)
                self.entries[path] = Entry(mode)
            case Remove():
                self._drop(path)
            case Move(target=target):
                self._move(path, self._in_folder(target))

    def _move(self, path: str, target: str) -> None:
        if path not in self.entries:
            return
        self._drop(target)
        self._parents(target, 0o700)
        for name in [p for p in self.entries if p == path or p.startswith(f"{path}/")]:
            self.entries[target + name[len(path) :]] = self.entries.pop(name)

    def _drop(self, path: str) -> None:
        for name in [p for p in self.entries if p == path or p.startswith(f"{path}/")]:
            del self.entries[name]

    def _parents(self, path: str, mode: int) -> None:
        folder = _parent(path)
        if folder not in self.entries:
            self._parents(folder, mode)
            self.entries[folder] = Entry(mode)
        assert self.entries[folder].is_folder, f"{folder} is no folder"

    def _in_folder(self, path: str) -> str:
        """*path* with the links in its folders resolved, its last part left alone."""
        assert path.startswith("/") and ".." not in PurePosixPath(path).parts, path
        return path if path == "/" else str(PurePosixPath(self._follow(_parent(path))) / PurePosixPath(path).name)

    def _follow(self, path: str, depth: int = 0) -> str:
        assert depth < 20, "too many links"
        here = "/"
        for part in PurePosixPath(path).parts[1:]:
            here = _parent(here) if part == ".." else str(PurePosixPath(here) / part)
            entry = self.entries.get(here)
            if entry and entry.target is not None:
                here = self._follow(str(PurePosixPath(_parent(here)) / entry.target), depth + 1)
        return here


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)
