"""From edits to debugfs commands: pure planning on a model of the file system; nothing is changed here.

debugfs cannot rename. A file moves by a second link and the removal of the first; a folder by making it anew and
moving what is in it. So no folder's inner ``..`` is ever touched, and folders with an index stay in order.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pragma_boot.errors import GuestError
from pragma_boot.image.base import Edit, MakeFolder, Move, Remove, Symlink, Write
from pragma_boot.image.debugfs import quote
from pragma_boot.image.extread import Inode
from pragma_boot.image.tree import Node, Place, Tree

_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be at a path afterwards: type and permission bits; of files and links size, owner root, and group."""

    mode: int
    size: int | None = None
    group: int = 0

    def matches(self, found: Inode | None) -> bool:
        """Whether *found* is as expected."""
        if found is None or found.mode != self.mode:
            return False
        return self.size is None or (found.size, found.uid, found.gid) == (self.size, 0, self.group)


@dataclass(slots=True)
class Plan:
    """The *commands* in order, and what must be there afterwards, by path (None: nothing)."""

    commands: list[str] = field(default_factory=list)
    expected: dict[str, Expected | None] = field(default_factory=dict)


class Planner:
    """Plans the edits of one disk. *files*: an empty private folder for the contents that debugfs reads."""

    def __init__(self, tree: Tree, files: Path) -> None:
        self._tree = tree
        self._files = files
        self._plan = Plan()
        self._cwd = ""

    def plan(self, edits: Sequence[Edit]) -> Plan:
        """The plan for *edits*, in order. Raises GuestError for what cannot be done (a folder replaced by a file)."""
        for edit in edits:
            match edit:
                case Write():
                    self._write(edit)
                case Move():
                    self._move(edit)
                case Remove():
                    place = self._tree.walk(edit.path, follow=False)
                    if place.node:
                        self._remove(place)
                case Symlink():
                    place = self._vacant(edit.path)
                    self._do("symlink", place.path, words=[edit.target])
                    self._put(place, Node(False, link=edit.target))
                    self._forget_below(place.path)
                    self._expect(place.path, stat.S_IFLNK | 0o777, len(edit.target.encode(errors="surrogateescape")))
                case MakeFolder():
                    self._make_folder(edit)
        return self._plan

    def _write(self, edit: Write) -> None:
        place = self._vacant(edit.path)
        source = self._files / str(len(self._plan.commands))
        descriptor = os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(edit.data)
            os.fchmod(file.fileno(), edit.mode)  # debugfs takes the permission bits from its source
        parent, _, name = place.path.rpartition("/")
        if self._cwd != parent:
            self._do("cd", parent or "/")
            self._cwd = parent
        self._do("write", words=[str(source), name])
        if edit.group:
            self._do("sif", place.path, words=["gid", str(edit.group)])
        self._put(place, Node(False))
        self._expect(place.path, stat.S_IFREG | edit.mode, len(edit.data), edit.group)

    def _make_folder(self, edit: MakeFolder) -> None:
        place = self._tree.walk(edit.path)
        if place.node and not place.node.is_dir:
            raise GuestError(
                f"{edit.path} in the image is a file where a folder is needed", resolution="mend the image"
            )
        if not place.node:
            self._mkdir(place, edit.mode)
        else:
            self._chmod(place, edit.mode)

    def _move(self, edit: Move) -> None:
        source = self._tree.walk(edit.path, follow=False)
        if not source.node:
            return
        if f"{edit.target}/".startswith(f"{edit.path}/"):
            raise GuestError(f"{edit.path} cannot be moved into itself")
        old = self._tree.walk(edit.target, follow=False)
        if old.node:
            self._remove(old)
        target = self._parents(edit.target, 0o700)
        self._relocate(source, target)

    def _relocate(self, source: Place, target: Place) -> None:
        node = source.node
        assert node is not None
        if node.is_dir:
            inode = node.inode
            mode = node.mode if node.mode is not None else stat.S_IMODE(inode.mode) if inode else 0o755
            self._mkdir(target, mode)
            for key, value in (("uid", inode.uid), ("gid", inode.gid)) if inode else ():
                if value:
                    self._do("sif", target.path, words=[key, str(value)])
            made = self._child(target)
            for name in self._tree.names(node):
                child = self._tree.child(node, name)
                self._relocate(self._inside(source, node, name, child), self._inside(target, made, name, None))
            self._do("rmdir", source.path)
        else:
            # `ln` and `unlink` leave the count of links alone: together they are a rename.
            self._do("ln", source.path, target.path)
            self._do("unlink", source.path)
            self._put(target, node)
        self._drop(source)

    def _remove(self, place: Place) -> None:
        node = place.node
        assert node is not None
        if not place.names:
            raise GuestError("the root folder of an image cannot be removed")
        if node.is_dir:
            for name in self._tree.names(node):
                self._remove(self._inside(place, node, name, self._tree.child(node, name)))
        self._do("rmdir" if node.is_dir else "rm", place.path)
        self._drop(place)

    def _vacant(self, path: str) -> Place:
        """The place of *path* with all its parents, where nothing is any more."""
        place = self._tree.walk(path, follow=False)
        if place.node and place.node.is_dir:
            raise GuestError(f"{path} in the image is a folder where a file is needed", resolution="mend the image")
        if place.node:
            self._remove(place)
        return self._parents(path, 0o755)

    def _parents(self, path: str, mode: int) -> Place:
        """The place of *path*, whose parents are made where they are missing."""
        place = self._tree.walk(path, follow=False)
        for depth in range(len(place.folders), len(place.names)):
            folder = self._tree.walk("/" + "/".join(place.names[:depth]), follow=False)
            if folder.node:
                raise GuestError(f"{folder.path} in the image is no folder", resolution="mend the image")
            self._mkdir(folder, mode)
        return self._tree.walk(place.path, follow=False)

    def _mkdir(self, place: Place, mode: int) -> None:
        place = self._parents(place.path, 0o755)
        self._do("mkdir", place.path)
        self._put(place, Node(True, entries={}))
        self._expect(place.path, stat.S_IFDIR | 0o755)
        if mode != 0o755:
            self._chmod(place, mode)

    def _chmod(self, place: Place, mode: int) -> None:
        self._do("sif", place.path, words=["mode", f"0{stat.S_IFDIR | mode:o}"])
        self._expect(place.path, stat.S_IFDIR | mode)
        (self._child(place) if place.names else self._tree.root).mode = mode

    def _do(self, command: str, *paths: str, words: Sequence[str] = ()) -> None:
        # debugfs takes the part before the last slash for the folder, and none at all for its current folder.
        spelt = [f"/.{path}" if path.count("/") == 1 else path for path in paths]
        self._plan.commands.append(" ".join([command, *map(quote, spelt), *map(quote, words)]))
        if len(self._plan.commands) > _ENTRIES:
            raise GuestError("too many files to move or remove in an image", resolution="mend the image")

    def _expect(self, path: str, mode: int, size: int | None = None, group: int = 0) -> None:
        self._plan.expected[path] = Expected(mode, size, group)

    def _forget_below(self, link: str) -> None:
        """What was removed below a folder is no more looked for when a link stands in the folder's place."""
        for path in [path for path in self._plan.expected if path.startswith(f"{link}/")]:
            del self._plan.expected[path]

    def _inside(self, place: Place, folder: Node, name: str, child: Node | None) -> Place:
        return Place((*place.folders, folder), (*place.names, name), child)

    def _child(self, place: Place) -> Node:
        child = self._tree.child(place.folders[-1], place.names[-1])
        assert child is not None
        return child

    def _put(self, place: Place, node: Node) -> None:
        self._tree.put(place.folders[-1], place.names[-1], node)

    def _drop(self, place: Place) -> None:
        self._tree.drop(place.folders[-1], place.names[-1])
        self._plan.expected[place.path] = None
        if f"{place.path}/".startswith(f"{self._cwd}/"):
            self._cwd = ""
