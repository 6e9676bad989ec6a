"""A folder that becomes a root file system, and what both flavours do to one."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from pragma_boot.errors import PragmaError


def add_files(flavour: str, root: Path) -> None:
    """Put the files that we ship for *flavour* into *root*, owned by root; scripts (`#!`) become executable."""
    with resources.as_file(resources.files("pragma_boot.build") / "files" / flavour) as folder:
        for source in sorted(folder.rglob("*")):
            if source.is_file():
                write(root / source.relative_to(folder), source.read_bytes())


def write(path: Path, data: bytes | str) -> None:
    """Write a file of an image: parents are made, a link in its place is replaced, mode 0644 (0755 for scripts)."""
    content = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if content.startswith(b"#!") else 0o644)


def copy(root: Path, name: str, target: Path) -> None:
    """Copy the file *name* of one tree into another, at the same place; links are followed, modes kept."""
    source = inside(root, name)
    place = target / name.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, place)


def inside(root: Path, name: str) -> Path:
    """Where *name* of the tree at *root* really is: absolute links in the tree start at its own root.

    Raises PragmaError when it is not there, or links go round in circles.
    """
    place, rest = root, [part for part in reversed(name.split("/")) if part]
    for _ in range(256):
        if not rest:
            break
        part = rest.pop()
        step = place.parent if part == ".." and place != root else place / part if part != ".." else root
        if step.is_symlink():
            text = str(step.readlink())
            place = root if text.startswith("/") else place
            rest += [piece for piece in reversed(text.split("/")) if piece]
        else:
            place = step
    if rest or not place.exists():
        raise PragmaError(f"{name} is not among the packages' files", resolution="try another release=")
    return place


def newest(root: Path, pattern: str) -> str:
    """The one file that matches *pattern* in *root* (a kernel, say), as an absolute name; the last of several.

    Raises PragmaError when there is none.
    """
    found = sorted(root.glob(pattern))
    if not found:
        raise PragmaError(f"no {pattern} among the packages' files", resolution="try another release=")
    return f"/{found[-1].relative_to(root)}"


def initramfs(files: Mapping[str, bytes], folders: Iterable[str] = ()) -> bytes:
    """A gzip-packed cpio archive ("newc") for the kernel: *files* (mode 0755) and *folders*, all owned by root."""
    archive = io.BytesIO()
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    entries += [(name, stat.S_IFREG | 0o755, data) for name, data in files.items()]
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        # magic, inode, mode, uid, gid, links, mtime, size, device ×2, special device ×2, length of the name, checksum
        numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + "".join(f"{value:08x}" for value in numbers).encode() + name.encode() + b"\0"
        archive.write(_padded(head) + _padded(data))
    return gzip.compress(archive.getvalue(), mtime=0)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
