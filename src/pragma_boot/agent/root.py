"""The running machine's own root file system: `Files` that inspection reads and the renderer's edits change.

Edits are collapsed first: a file that is cleaned away and written anew is only replaced, by one rename, and not even
touched when it already is as wanted. So a second run changes nothing, and a power cut leaves no half-written file.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Sequence

from pragma_boot.errors import GuestError
from pragma_boot.image.base import READ_LIMIT, Edit, MakeFolder, Move, Remove, Symlink, Write

_LINKS = 40


class LiveRoot:
    """The root file system below the folder *top*: ``/``, or another folder in tests, which links never leave."""

    def __init__(self, top: str = "/") -> None:
        self._top = top.rstrip("/")
        self.changed: list[str] = []

    # ------------------------------------------------------------------------------------------------- see `Files`

    def exists(self, path: str) -> bool:
        """See `Files.exists`."""
        return os.path.exists(self.place(path))

    def is_dir(self, path: str) -> bool:
        """See `Files.is_dir`."""
        return os.path.isdir(self.place(path))

    def listdir(self, path: str) -> tuple[str, ...]:
        """See `Files.listdir`."""
        try:
            return tuple(sorted(os.listdir(self.place(path))))
        except OSError:
            return ()

    def read(self, path: str) -> bytes:
        """See `Files.read`."""
        place = self.place(path)
        try:
            # files of sysfs and procfs are regular, and tell no size
            if not stat.S_ISREG(os.stat(place).st_mode):
                raise GuestError(f"{path} is no file")
            with open(place, "rb") as file:
                data = file.read(READ_LIMIT + 1)
        except OSError as error:
            raise GuestError(f"cannot read {path}", details=error.strerror) from error
        if len(data) > READ_LIMIT:
            raise GuestError(f"{path} is larger than {READ_LIMIT} bytes")
        return data

    def readlink(self, path: str) -> str | None:
        """See `Files.readlink`."""
        try:
            return os.readlink(self.place(path, follow=False))
        except OSError:
            return None

    def place(self, path: str, *, follow: bool = True) -> str:
        """Where *path* is for the system's calls: links in it are resolved below the top; the last with *follow*.

        Raises GuestError for a chain of more than 40 links.
        """
        todo = [part for part in reversed(path.split("/")) if part]
        here: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                del here[-1:]
                continue
            step = "/".join((self._top, *here, part))
            if (todo or follow) and os.path.islink(step):
                links += 1
                if links > _LINKS:
                    raise GuestError(f"too many symbolic links on the way to {path}")
                target = os.readlink(step)
                here = [] if target.startswith("/") else here
                todo += [part for part in reversed(target.split("/")) if part]
                continue
            here.append(part)
        return "/".join((self._top, *here)) or "/"

    def make_folder(self, path: str, mode: int = 0o700) -> None:
        """Make a folder, if it is not there."""
        self.apply([MakeFolder(path, mode)])

    def apply(self, edits: Sequence[Edit]) -> None:
        """See `Guest.apply`; the paths that changed are added to `changed`. Raises GuestError."""
        for edit in collapsed(edits):
            try:
                self._apply(edit)
            except OSError as error:
                raise GuestError(f"cannot change {edit.path}", details=error.strerror) from error

    # --------------------------------------------------------------------------------------------------- changing

    def _apply(self, edit: Edit) -> None:
        place = self.place(edit.path, follow=isinstance(edit, MakeFolder))
        if isinstance(edit, Write):
            self._write(edit, place)
        elif isinstance(edit, Symlink):
            if self.readlink(edit.path) != edit.target:
                self._folders(place)
                temporary = tempfile.mktemp(prefix=".pragma-", dir=os.path.dirname(place))  # noqa: S306 - symlink(2) refuses a name that is taken
                os.symlink(edit.target, temporary)
                os.replace(temporary, place)
                self.changed.append(edit.path)
        elif isinstance(edit, MakeFolder):
            self._make_folder(edit, place)
        elif isinstance(edit, Remove):
            if os.path.lexists(place):
                _remove(place)
                self.changed.append(edit.path)
        elif os.path.lexists(place):
            self._move(edit, place)

    def _write(self, edit: Write, place: str) -> None:
        try:
            old = os.lstat(place)
            right = (
                stat.S_ISREG(old.st_mode) and stat.S_IMODE(old.st_mode) == edit.mode and edit.group in (0, old.st_gid)
            )
            same = right and self._holds(place, edit)
        except FileNotFoundError:
            same = False
        if same:
            return
        self._folders(place)
        descriptor, temporary = tempfile.mkstemp(prefix=".pragma-", dir=os.path.dirname(place))
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(edit.data)
                if edit.group:
                    os.fchown(file.fileno(), -1, edit.group)
                os.fchmod(file.fileno(), edit.mode)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
        self.changed.append(edit.path)

    @staticmethod
    def _holds(place: str, edit: Write) -> bool:
        with open(place, "rb") as file:
            return file.read(len(edit.data) + 1) == edit.data

    def _make_folder(self, edit: MakeFolder, place: str) -> None:
        if not os.path.isdir(place):
            self._folders(place)
            os.mkdir(place)
            self.changed.append(edit.path)
        if stat.S_IMODE(os.stat(place).st_mode) != edit.mode:
            os.chmod(place, edit.mode)

    def _move(self, edit: Move, place: str) -> None:
        target = self.place(edit.target, follow=False)
        if os.path.lexists(target):
            _remove(target)
        self._folders(target, 0o700)
        shutil.move(place, target)  # /var may be another file system
        self.changed.append(edit.path)

    @staticmethod
    def _folders(place: str, mode: int = 0o755) -> None:
        missing = []
        folder = os.path.dirname(place)
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            os.mkdir(folder)
            os.chmod(folder, mode)


def _remove(place: str) -> None:
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        os.unlink(place)


def collapsed(edits: Iterable[Edit]) -> list[Edit]:
    """*edits* that lead to the same, without the detours: of several writes the last, none removed just before."""
    last = {edit.path: number for number, edit in enumerate(edits) if isinstance(edit, (Write, Symlink))}
    return [
        edit
        for number, edit in enumerate(edits)
        if not (isinstance(edit, (Write, Symlink, Remove)) and last.get(edit.path, number) > number)
    ]
