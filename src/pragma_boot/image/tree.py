"""The folders of one ext file system as far as they were looked at, and the walk through them.

Symbolic links are resolved here, inside the image: what a link says is a text of the image, never a host's path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import GuestError
from pragma_boot.image.extread import ROOT_INODE, Inode, Reader
from pragma_boot.model import shorten

_LINKS = 40
_NAME_LIMIT = 255


@dataclass(slots=True)
class Node:
    """A file or folder; changes while edits are planned.

    inode: what is on the disk; None for what the plan has made itself.
    entries: what is in a folder, inode numbers for what was not looked at; None when they were not read yet.
    mode: permission bits that the plan has set.
    """

    is_dir: bool
    inode: Inode | None = None
    entries: dict[str, Node | int] | None = None
    link: str | None = None
    mode: int | None = None

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.link is not None or (self.inode is not None and self.inode.is_link)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: the *folders* from the root to the parent, its *names*, and the *node* there, if any.

    names has one name for each folder (the child's); missing parents have no folder, so it may be longer. The
    root itself has neither.
    """

    folders: tuple[Node, ...]
    names: tuple[str, ...]
    node: Node | None

    @property
    def path(self) -> str:
        """The path without links, ``.`` and ``..``."""
        return "/" + "/".join(self.names)


def parts_of(path: str) -> list[str]:
    """The names in an absolute guest path.

    Raises GuestError for a relative one, one with ``..``, and for a name that no file system takes.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        raise GuestError(f"{path!r} is no absolute path in an image")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    # A character has four bytes at most: most names need no closer look.
    if any(len(part) > _NAME_LIMIT // 4 and len(part.encode(errors="surrogateescape")) > _NAME_LIMIT for part in parts):
        raise GuestError(f"{shorten(path)!r} has a name of more than {_NAME_LIMIT} bytes")
    return parts


class Tree:
    """A lazily read model of the file system that *reader* reads; what is planned happens in it first."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.root = Node(True, reader.inode(ROOT_INODE))

    def names(self, folder: Node) -> list[str]:
        """The sorted names in a folder."""
        return sorted(self._entries(folder))

    def child(self, folder: Node, name: str) -> Node | None:
        """What is in a folder under that name."""
        entries = self._entries(folder)
        found = entries.get(name)
        if isinstance(found, int):
            inode = self._reader.inode(found)
            entries[name] = found = Node(inode.is_dir, inode)
        return found

    def put(self, folder: Node, name: str, node: Node) -> None:
        """Plan: *node* is in the folder from now on."""
        self._entries(folder)[name] = node

    def drop(self, folder: Node, name: str) -> None:
        """Plan: the name is not in the folder any more."""
        del self._entries(folder)[name]

    def link_target(self, node: Node) -> str:
        """What a symbolic link says."""
        if node.link is None:
            assert node.inode is not None
            node.link = self._reader.link_target(node.inode)
        return node.link

    def content(self, inode: Inode) -> bytes:
        """A regular file's content."""
        return self._reader.content(inode)

    def copy(self, inode: Inode, target: Path) -> None:
        """Copy a regular file's content out to *target* on the host."""
        self._reader.copy(inode, target)

    def _entries(self, folder: Node) -> dict[str, Node | int]:
        if folder.entries is None:
            folder.entries = dict(self._reader.listing(folder.inode)) if folder.inode else {}
        return folder.entries

    def walk(self, path: str, *, follow: bool = True) -> Place:
        """Go to *path*; links in folders are followed, the last name only with *follow*.

        Raises GuestError for a chain of more than 40 links. A file where a folder is needed ends the walk: node is
        None then, as for what is not there.
        """
        todo, links = parts_of(path)[::-1], 0
        folders: list[Node] = []
        names: list[str] = []
        node: Node | None = self.root
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                node = folders.pop() if folders and len(folders) == len(names) else node
                del names[-1:]
                continue
            if node and node.is_dir:
                folders.append(node)
            child = self.child(node, name) if node and node.is_dir else None
            if child and child.is_link and (todo or follow):
                links += 1
                if links > _LINKS:
                    raise GuestError(f"too many symbolic links on the way to {path}", resolution="mend the image")
                target = self.link_target(child)
                todo += target.split("/")[::-1]
                node = folders.pop()
                if target.startswith("/"):
                    node, folders, names = self.root, [], []
                continue
            names.append(name)
            node = child
        return Place(tuple(folders), tuple(names), node)
