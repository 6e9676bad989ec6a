"""What was asked of the cloud for a cluster, and the ids that it answered: a file per cluster.

An id stands in it before anything else is done with what it names, and a wish before its request is sent: after a
kill in between, `release` still finds what came of it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pragma_boot import files
from pragma_boot.errors import DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName


@dataclass(frozen=True, slots=True)
class Note:
    """One cluster's. All ids are CloudStack's; empty: not yet, or not needed.

    nonce: stands in the private network's description, by which it is found when the answer was lost.
    before: the addresses that the public network had when another was asked for; None: none was.
    machines: by host name. group: affinity group.
    pending: what is destroyed and not expunged yet; since when, seconds since 1970.
    """

    nonce: str = ""
    private: str = ""
    public: str = ""
    before: tuple[str, ...] | None = None
    address: str = ""
    machines: dict[str, str] = field(default_factory=dict)
    group: str = ""
    pending: float = 0.0


class Journal:
    """The notes of one site's clusters. `note` may be called from several threads."""

    def __init__(self, state: StateFolder) -> None:
        self.folder = state.root / "cloudstack"
        self._lock = threading.Lock()

    def read(self, cluster: ClusterName) -> Note | None:
        """A cluster's note, or None. Raises DriverError for one that cannot be read."""
        path = self.folder / f"{cluster}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            before = found.pop("before", None)
            return Note(**found, before=None if before is None else tuple(before))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DriverError(
                f"the note {path} cannot be read",
                details=str(error),
                resolution=f"move it away: what cluster {cluster} has in the cloud bears its tags",
            ) from error

    def note(self, cluster: ClusterName, **changes: Any) -> Note:
        """Change a cluster's note; *machines* are added to those that are known."""
        with self._lock:
            found = self.read(cluster) or Note()
            if "machines" in changes:
                changes["machines"] = found.machines | changes["machines"]
            found = replace(found, **changes)
            files.make_folder(self.folder, 0o700)
            files.write_atomic(self.folder / f"{cluster}.json", json.dumps(asdict(found), indent=1), 0o600)
        return found

    def drop(self, cluster: ClusterName) -> None:
        """Forget a cluster of which nothing is left."""
        (self.folder / f"{cluster}.json").unlink(missing_ok=True)

    def addresses(self, but: ClusterName | None = None) -> frozenset[str]:
        """The ids of public addresses that any cluster of the site has noted, leaving out *but*."""
        paths = (path for path in self.folder.glob("*.json") if path.stem != but)
        notes = (self.read(ClusterName(path.stem)) for path in paths)
        return frozenset(note.address for note in notes if note and note.address)
