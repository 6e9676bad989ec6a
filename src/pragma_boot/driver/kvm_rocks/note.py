"""What this site has asked Rocks for, cluster by cluster: a small file each, written before Rocks is asked.

Rocks knows no owners. The note tells a half-made cluster of ours from one that somebody else made under the same
name in the same moment, and keeps what a release could not remove.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """One cluster. asked: Rocks has been asked to add it; before that nothing of that name is ours.

    vlan, public_ip: what it was to have. image: what it was made from.
    files: by host, disks that are still to be removed. volumes: (NAS, pool, volume) likewise.
    """

    asked: bool = False
    vlan: int | None = None
    public_ip: str | None = None
    image: str = ""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    volumes: tuple[tuple[str, str, str], ...] = ()


class Notes:
    """The notes of one site."""

    def __init__(self, state: StateFolder) -> None:
        self._folder = state.root / "rocks"

    def read(self, cluster: ClusterName) -> Note | None:
        """The cluster's note; None for a cluster that this site's memory does not have."""
        path = self._path(cluster)
        try:
            found = json.loads(path.read_text())
            folders = {host: tuple(paths) for host, paths in found.pop("files").items()}
            volumes = tuple((nas, pool, name) for nas, pool, name in found.pop("volumes"))
            return replace(Note(**found), files=folders, volumes=volumes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DriverError(
                f"cannot read {path}",
                details=str(error),
                resolution=f"look at 'rocks list cluster {cluster}'; remove the file if that cluster is to be removed",
            ) from error

    def image(self, cluster: ClusterName) -> str:
        """What the cluster was made from; empty where nothing is known of it. A note that is broken breaks no list."""
        try:
            note = self.read(cluster)
        except DriverError as error:
            _log.warning("%s: %s", error.message, error.details)
            return ""
        return note.image if note else ""

    def write(self, cluster: ClusterName, note: Note) -> None:
        """Keep *note*; it survives a crash. Raises PragmaError."""
        files.make_folder(self._folder, 0o700)
        files.write_atomic(self._path(cluster), json.dumps(asdict(note)), 0o600)

    def drop(self, cluster: ClusterName) -> None:
        """Forget the cluster; no error when it is not known."""
        with contextlib.suppress(FileNotFoundError):
            self._path(cluster).unlink()

    def clusters(self) -> Iterable[ClusterName]:
        """All clusters that have a note."""
        return (ClusterName(path.stem) for path in sorted(self._folder.glob("*.json")))

    def _path(self, cluster: ClusterName) -> Path:
        return self._folder / f"{cluster}.json"
