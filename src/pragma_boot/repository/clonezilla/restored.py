"""What is known of an image's restored disks: which saved disk each was made from, and whether it is still that.

``IMAGE/.restored.json`` in the repository's folder; written after the disks, before the document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pragma_boot import files
from pragma_boot.model import DiskFormat, Role
from pragma_boot.repository.clonezilla.place import FilePlace, Place, VolumePlace
from pragma_boot.repository.clonezilla.zvol import Nas

FILE = ".restored.json"


@dataclass(frozen=True, slots=True)
class RestoredDisk:
    """A disk that was restored. key: of what it was made from. stamp: a file's time (ns), a volume's guid."""

    key: str
    name: str
    size: int
    stamp: str
    form: str = DiskFormat.RAW
    nas: str = ""
    pool: str = ""

    @property
    def place(self) -> Place:
        """Where it is."""
        return VolumePlace(self.nas, self.pool, self.name) if self.nas else FilePlace(self.name, DiskFormat(self.form))

    def is_there(self, folder: Path) -> bool:
        """Whether it is as it was when it was made. Raises CommandError when the NAS fails."""
        return identity(self.place, folder) == (self.stamp, self.size)


@dataclass(frozen=True, slots=True)
class Restored:
    """The disks by role, the version of the document, and earlier disks that clusters may still stand on."""

    disks: Mapping[Role, RestoredDisk] = field(default_factory=dict)
    document: str = ""
    older: tuple[RestoredDisk, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Restored:
        """What is known of the image in *folder*; nothing when its file is missing or not ours."""
        try:
            found: dict[str, Any] = json.loads((folder / FILE).read_bytes())
            disks = {Role(role): RestoredDisk(**disk) for role, disk in found["disks"].items()}
            return cls(disks, str(found["document"]), tuple(RestoredDisk(**disk) for disk in found["older"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Keep it. Raises PragmaError."""
        content = {
            "disks": {role.value: asdict(disk) for role, disk in self.disks.items()},
            "document": self.document,
            "older": [asdict(disk) for disk in self.older],
        }
        files.write_atomic(folder / FILE, json.dumps(content, indent=1) + "\n")


def identity(place: Place, folder: Path) -> tuple[str, int] | None:
    """(stamp, size of the file or volume) of what is at *place* now; None when there is nothing."""
    if isinstance(place, VolumePlace):
        return Nas(place.nas).identity(f"{place.pool}/{place.name}")
    try:
        status = (folder / place.name).stat()
    except OSError:
        return None
    return str(status.st_mtime_ns), status.st_size
