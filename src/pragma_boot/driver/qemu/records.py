"""What the driver keeps of its clusters: one folder each, nobody else's to look into.

::

    cluster.json          what was set aside (`ClusterNote`)
    lan, lan.lock         the private network's socket; held while its switch runs
    nodes/NODE.json       the node as it was defined (`Machine`)
    nodes/NODE.lock       held by the node's QEMU while it runs
    nodes/NODE.qmp        its monitor
    nodes/NODE.err        what QEMU and passt said at its last start

That a process runs is told by its lock alone, which the kernel lets go of with the process's end; no number of a
process is kept, and none can be mistaken for another's.
"""

from __future__ import annotations

import functools
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pragma_boot import files
from pragma_boot.errors import PragmaError
from pragma_boot.model import ClusterName, Mac, NodeName, Role

_MACHINE_ID = Path("/etc/machine-id")
_NAMESPACE = uuid.UUID("5c1b7e0a-94d2-5f6e-8a3b-6d0f27c4e911")


@dataclass(frozen=True, slots=True)
class ClusterNote:
    """A cluster as it was allocated. ports: guest port → outside port. machine: where it lives (`this_machine`)."""

    cluster: ClusterName
    image: str
    fqdn: str
    public_ip: IPv4Address
    vlan: int
    machine: str
    host: str
    ports: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """A node as its QEMU is to be started. accel: `kvm` or `tcg`. macs: by network, in the interfaces' order.

    Paths are text; backing_format: the image's.
    """

    cluster: ClusterName
    node: NodeName
    role: Role
    cpus: int
    memory_mib: int
    accel: str
    disk: str
    disk_format: str
    backing: str
    backing_format: str
    macs: Mapping[str, Mac]
    console: str


@functools.cache
def this_machine(file: Path = _MACHINE_ID) -> str:
    """What tells this machine from another that shares the user's home folder; empty when that cannot be told.

    The machine's own id is confidential (machine-id(5)); what follows from it is not.
    """
    try:
        text = file.read_text().strip()
    except OSError:
        return ""
    return str(uuid.uuid5(_NAMESPACE, text)) if text else ""


@dataclass(frozen=True, slots=True)
class Folder:
    """One cluster's folder."""

    path: Path

    @property
    def cluster(self) -> ClusterName:
        """The cluster's name."""
        return ClusterName(self.path.name)

    @property
    def switch(self) -> Path:
        """The socket of the private network."""
        return self.path / "lan"

    @property
    def switch_lock(self) -> Path:
        """Held while the private network's switch runs."""
        return self.path / "lan.lock"

    def of_node(self, node: NodeName, suffix: str) -> Path:
        """A file of a node: *suffix* is `json`, `lock`, `qmp` or `err`."""
        return self.path / "nodes" / f"{node}.{suffix}"

    def make(self, note: ClusterNote) -> None:
        """Make the folder, and keep the note. Raises PragmaError."""
        files.make_folder(self.path.parent, 0o700)
        files.make_folder(self.path, 0o700)
        files.make_folder(self.path / "nodes", 0o700)
        self.write_note(note)

    def write_note(self, note: ClusterNote) -> None:
        """Keep what was set aside. Raises PragmaError."""
        text = asdict(note) | {"public_ip": str(note.public_ip)}
        files.write_atomic(self.path / "cluster.json", json.dumps(text, indent=1) + "\n", 0o600)

    def note(self) -> ClusterNote | None:
        """What was set aside; None when the cluster is not here, or was not finished."""
        found = _read(self.path / "cluster.json")
        if found is None:
            return None
        try:
            return ClusterNote(
                **found
                | {
                    "public_ip": IPv4Address(found["public_ip"]),
                    "ports": {int(inside): int(outside) for inside, outside in found["ports"].items()},
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def define(self, machine: Machine) -> None:
        """Keep a node's definition. Raises PragmaError."""
        path = self.of_node(machine.node, "json")
        files.write_atomic(path, json.dumps(asdict(machine), indent=1) + "\n", 0o600)

    def machines(self) -> Iterator[Machine]:
        """The nodes that were defined, frontend first; what cannot be read is left out."""
        names = [NodeName(path.stem) for path in (self.path / "nodes").glob("*.json")]
        for name in sorted(names, key=lambda name: (str(name) != self.cluster, len(name), name)):
            machine = self.machine(name)
            if machine:
                yield machine

    def machine(self, node: NodeName) -> Machine | None:
        """One node's definition, or None."""
        found = _read(self.of_node(node, "json"))
        if found is None:
            return None
        try:
            return Machine(**found | {"role": Role(found["role"])})
        except (KeyError, TypeError, ValueError):
            return None

    def locks(self) -> list[tuple[NodeName, Path]]:
        """The locks of all nodes that were ever started, whether or not their definitions are there."""
        return [(NodeName(path.stem), path) for path in sorted((self.path / "nodes").glob("*.lock"))]

    def remove(self) -> None:
        """Remove the folder; no error when it is not there. Raises PragmaError."""
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.refused("remove", self.path, error) from error


def all_folders(root: Path) -> list[Folder]:
    """The folders of all clusters in *root*, by name."""
    try:
        return [Folder(path) for path in sorted(root.iterdir()) if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PragmaError(f"cannot look into {root}", details=error.strerror) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
