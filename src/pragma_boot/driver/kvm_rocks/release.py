"""Remove a cluster from Rocks, from any half-way point, and nothing else; what cannot be removed is told, and kept.

The order matters (rocks.md 3.12, 3.15, 5.3): a machine that runs when its cluster is removed runs on unseen; a volume
that is mapped then stays mapped; and `remove cluster` takes everybody along who shares the VLAN.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pragma_boot.driver.kvm_rocks.names import node_of
from pragma_boot.driver.kvm_rocks.nas import Nas
from pragma_boot.driver.kvm_rocks.note import Note, Notes
from pragma_boot.driver.kvm_rocks.power import Failures, Power, attempt, raise_all, running
from pragma_boot.driver.kvm_rocks.reading import (
    FRONTEND,
    HOSTED,
    Assignment,
    Host,
    Interface,
    Machine,
    Reader,
    VirtualCluster,
    carriers,
    users,
)
from pragma_boot.driver.kvm_rocks.transport import together
from pragma_boot.errors import DriverError
from pragma_boot.model import ClusterName

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The site as it was at one look."""

    clusters: Mapping[str, VirtualCluster]
    hosts: Sequence[Host]
    interfaces: Sequence[Interface]


@dataclass(frozen=True, slots=True)
class Release:
    """One `release`. To be used under the lock of the site's Rocks."""

    power: Power
    nas: Nas
    notes: Notes

    @property
    def cluster(self) -> ClusterName:
        """Whose."""
        return self.power.cluster

    def run(self) -> None:
        """The contract's `release`. Raises DriverError with all that is left."""
        note = self.notes.read(self.cluster)
        if note and not note.asked:  # Rocks never heard of it: what bears its name is somebody else's
            self.notes.drop(self.cluster)
            return
        if note is None and Reader(self.power.rocks).cluster(self.cluster) is None:
            return
        seen = self._look()
        mine = seen.clusters.get(self.cluster)
        if mine and note and not self._asked_for(note, seen.interfaces):
            _log.warning("Rocks has a cluster %s that this site did not make; it stays", self.cluster)
            mine, seen = None, replace(seen, hosts=())
        note = note or Note(asked=True)
        failures: Failures = {}
        vlan = note.vlan
        if mine:
            vlan = self._vlan(seen.interfaces) or vlan
            self._refuse_what_others_share(mine, vlan, seen.interfaces)
            self._stop(mine)
            note = self._with_disks(note, mine)
            self.notes.write(self.cluster, replace(note, vlan=vlan))
        note, failures = self._remove_disks(note)
        failures |= self._remove_from_rocks(mine, seen, vlan)
        if failures:
            self.notes.write(self.cluster, replace(note, vlan=vlan))
            raise_all(f"remove all of {self.cluster}", failures)
        self.notes.drop(self.cluster)

    def _look(self) -> _Seen:
        reader = Reader(self.power.rocks)
        return _Seen(*together(functools.partial(reader.clusters, status=True), reader.hosts, reader.interfaces))

    def _asked_for(self, note: Note, interfaces: Iterable[Interface]) -> bool:
        """Whether the frontend is the one that we asked for: with our VLAN, or no VLAN yet."""
        vlans = {each.vlan for each in interfaces if each.host == self.cluster and each.vlan}
        return not vlans or note.vlan in vlans

    def _vlan(self, interfaces: Iterable[Interface]) -> int | None:
        return next((each.vlan for each in interfaces if each.host == self.cluster and each.vlan), None)

    def _refuse_what_others_share(
        self, mine: VirtualCluster, vlan: int | None, interfaces: Sequence[Interface]
    ) -> None:
        on_it = set(users(interfaces, vlan)) if vlan else set()
        others = sorted(name for name in on_it | set(mine.clients) if node_of(self.cluster, name) is None)
        if others:
            raise DriverError(
                f"{self.cluster} shares VLAN {vlan} with {', '.join(others)}: Rocks would remove these, too",
                resolution=f"give one of them another VLAN ('rocks set host interface vlan'), then: pragma clean"
                f" {self.cluster}",
            )

    def _stop(self, mine: VirtualCluster) -> None:
        """A cluster is removed only when every machine of it is known not to run."""
        self.power.stop(running(mine), grace=0, gently=False)

    def _with_disks(self, note: Note, mine: VirtualCluster) -> Note:
        """Add to the note where the disks are: Rocks forgets it with the cluster.

        A machine that has a NAS has its disk there, whatever its specification says (rocks.md 6, 25).
        """
        reader = Reader(self.power.rocks)
        names = list(mine.states)
        machines, assigned = together(
            functools.partial(reader.machines, *names, disks=True), functools.partial(reader.assignments, *names)
        )
        files = {host: set(paths) for host, paths in note.files.items()}
        for name, machine in machines.items():
            if name not in assigned and (path := _own_file(name, machine)):
                files.setdefault(machine.host, set()).add(path)
        volumes = {_volume(name, place) for name, place in assigned.items()}
        return replace(
            note,
            files={host: tuple(sorted(paths)) for host, paths in files.items()},
            volumes=tuple(sorted({*note.volumes, *volumes})),
        )

    def _remove_disks(self, note: Note) -> tuple[Note, Failures]:
        """Remove disks; the note without what is gone, and what failed."""
        acts = {f"disks on {host}": functools.partial(self.power.ssh.remove, host, p) for host, p in note.files.items()}
        failures = attempt(acts, self.power.parallel)
        kept = {host: paths for host, paths in note.files.items() if f"disks on {host}" in failures}
        wiped = {
            f"volume {pool}/{name} on {nas}": functools.partial(self.nas.remove, nas, pool, name)
            for nas, pool, name in note.volumes
        }
        more = attempt(wiped, self.power.parallel)
        left = tuple(each for each in note.volumes if f"volume {each[1]}/{each[2]} on {each[0]}" in more)
        return replace(note, files=kept, volumes=left), failures | more

    def _remove_from_rocks(self, mine: VirtualCluster | None, seen: _Seen, vlan: int | None) -> Failures:
        """Remove the cluster, then what a half-done `add cluster` leaves: hosts without a cluster, VLAN rows."""
        change = self.power.rocks.change
        failures: Failures = {}
        if mine and self._vlan(seen.interfaces):
            failures = attempt({self.cluster: functools.partial(change, "remove cluster", self.cluster)}, 1)
            seen = self._look()
            if self.cluster in seen.clusters:
                return failures or {self.cluster: _still_there(self.cluster)}
        # A frontend without a VLAN is no cluster to Rocks: it goes as a host.
        stray = self._debris(seen)
        acts = {name: functools.partial(change, "remove host", name) for name in stray}
        if vlan and not set(users(seen.interfaces, vlan)).difference(stray):
            for host in carriers(seen.interfaces, vlan):
                remove = functools.partial(change, "remove host interface", host, f"vlan{vlan}")
                acts[f"vlan{vlan} of {host}"] = remove
        if not acts:
            return {}
        failures = attempt(acts, 1)
        seen = self._look()
        left = [*self._debris(seen), *(f"vlan{vlan} of {host}" for host in carriers(seen.interfaces, vlan or 0))]
        left = [name for name in left if name in acts]
        return {name: failures.get(name) or _still_there(name) for name in left}

    def _debris(self, seen: _Seen) -> list[str]:
        """Virtual hosts that bear names of this cluster's nodes and are in no cluster.

        Never a physical one: ``vm-container-0-1`` could be a node of *container-0*, by its name.
        """
        others = {name for name, found in seen.clusters.items() if name != self.cluster for name in found.states}
        return [
            host.name
            for host in seen.hosts
            if node_of(self.cluster, host.name)
            and host.membership == (FRONTEND if host.name == self.cluster else HOSTED)
            and host.name not in others
        ]


def _own_file(name: str, machine: Machine) -> str | None:
    """The machine's disk file, if it is named after it: nothing else is ever removed."""
    path = machine.file
    return path if path and path.startswith("/") and path.endswith(f"/{name}.vda") and machine.host else None


def _volume(machine: str, place: Assignment) -> tuple[str, str, str]:
    return place.nas, place.pool, f"{machine}-vol"


def _still_there(what: str) -> DriverError:
    return DriverError(
        f"Rocks still has {what} after it was removed",
        resolution="look at 'rocks list cluster' and 'rocks list host interface', then repeat",
    )
