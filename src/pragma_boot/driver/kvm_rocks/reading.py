"""What Rocks knows of a site: hosts, interfaces, virtual hosts, clusters. Read-only; nothing is kept.

A virtual cluster is no object of Rocks: it is a frontend and whoever shares its VLAN (rocks.md 2).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from pragma_boot.driver.kvm_rocks import tables
from pragma_boot.driver.kvm_rocks.tables import Form, Row
from pragma_boot.driver.kvm_rocks.transport import PER_NODE_LIMIT, READ_LIMIT, NoSuchCommandError, Rocks, RocksError
from pragma_boot.errors import DriverError
from pragma_boot.model import Mac

CONTAINER, FRONTEND, HOSTED = "VM Container", "Frontend", "Hosted VM"
"""Memberships."""

STOPPED, UNREACHABLE = "nostate", "nostate-error"
"""Of a machine: no domain runs; its container could not be asked (rocks.md 3.13)."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host, physical or virtual."""

    name: str
    membership: str
    cpus: int


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. vlan: None where it has none, or 0; a ``vlanN`` device of a physical host has N."""

    host: str
    device: str
    subnet: str | None
    mac: Mac | None
    ip: IPv4Address | None
    vlan: int | None

    @property
    def carries_vlan(self) -> bool:
        """Whether it is a physical host's part in a cluster's private network."""
        return self.device.startswith("vlan")


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual host. disks: specifications ``type:path,device,bus``; host: "" where Rocks knows none."""

    name: str
    host: str
    cpus: int
    memory_mib: int
    disks: tuple[str, ...] = ()

    @property
    def file(self) -> str | None:
        """The path of its first disk on its host, where that is a file."""
        kind, _, rest = self.disks[0].rpartition(":") if self.disks else ("", "", "")
        return rest.rsplit(",", 2)[0] if kind == "file" else None


@dataclass(frozen=True, slots=True)
class VirtualCluster:
    """A frontend and its clients, each with its state ("" where it was not asked for)."""

    frontend: str
    state: str
    clients: Mapping[str, str] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, str]:
        """All machines, the frontend first."""
        return {self.frontend: self.state, **self.clients}


@dataclass(frozen=True, slots=True)
class Assignment:
    """The NAS and the ZFS pool on it that a machine's disk is on."""

    nas: str
    pool: str


class Reader:
    """Asks `rocks`. Each method is one command (a second one only where the table leaves the owner out)."""

    def __init__(self, rocks: Rocks) -> None:
        self._rocks = rocks

    def version(self) -> tuple[int, ...]:
        """Of Rocks: (7, 0). Raises NoSuchCommandError before 6.2."""
        text = self._rocks.read("report version")
        told = re.findall(r"^\d+(?:\.\d+)+$", text, re.MULTILINE)
        if not told:
            raise DriverError(
                "Rocks does not say which version it is",
                details=text.strip(),
                resolution="look at 'rocks report version'",
            )
        return tuple(int(part) for part in told[-1].split("."))

    def hosts(self) -> tuple[Host, ...]:
        """All hosts. Raises DriverError where there is none: the physical frontend always is."""
        rows = self._rows(tables.HOST)
        if not rows:
            raise _no_database("list host")
        if rows[0].owner is None:
            rows = _owned(rows, self.physical_frontend())
        return tuple(Host(row.owner or "", row["MEMBERSHIP"] or "", int(row["CPUS"] or 0)) for row in rows if row.owner)

    def physical_frontend(self) -> str:
        """The name of the host that all others were installed from."""
        for row in self._rows(tables.CLUSTER):
            if row["TYPE"] == "physical" and row.owner:
                return row.owner
        raise _no_database("list cluster")

    def interfaces(self, *names: str) -> tuple[Interface, ...]:
        """Every interface (of the named hosts, else of all).

        Raises DriverError when all are asked for and none is told: so Rocks answers while its database is down.
        """
        rows = self._rows(tables.INTERFACE, *names)
        if not rows and not names:
            raise _no_database("list host interface")
        if rows and rows[0].owner is None:
            rows = _owned(rows, names[0] if len(names) == 1 else rows[0]["NAME"] or "")
        return tuple(_interface(row) for row in rows)

    def machines(self, *names: str, disks: bool = False) -> dict[str, Machine]:
        """Virtual hosts by name (the named ones, else all). Raises DriverError where one that is named is not told."""
        parameters = {"showdisks": "true"} if disks else {}
        rows = self._rows(tables.MACHINE, *names, parameters=parameters)
        if rows and rows[0].owner is None:
            rows = _owned(rows, names[0] if len(names) == 1 else self._only_machine())
        found: dict[str, Machine] = {}
        for row in rows:
            name = row.owner or ""
            if name not in found:
                host = row["HOST"] or ""
                cpus, memory = int(row["CPUS"] or 0), int(row["MEM"] or 0)
                found[name] = Machine(name, "" if host == "None" else host, cpus, memory)
            if row["DISK"]:  # continuation rows have further ones
                found[name] = replace(found[name], disks=(*found[name].disks, row["DISK"]))
        _all_told(tables.MACHINE, names, found)
        return found

    def clusters(self, *, status: bool = False) -> dict[str, VirtualCluster]:
        """All virtual clusters by frontend. With *status* every container is asked for its machines."""
        return self._clusters((), status=status)

    def cluster(self, frontend: str, *, status: bool = False) -> VirtualCluster | None:
        """One virtual cluster; None where there is none of that name."""
        try:
            return self._clusters((frontend,), status=status).get(frontend)
        except RocksError as error:
            if _unknown(error):
                return None
            raise

    def appliances(self) -> frozenset[str]:
        """Names that stand for all hosts of a kind."""
        return frozenset(row.owner for row in self._rows(tables.APPLIANCE) if row.owner)

    def boot_actions(self, *names: str) -> dict[str, str]:
        """What each of the named hosts does when it boots."""
        rows = self._rows(tables.BOOT, *names)
        if rows and rows[0].owner is None:
            rows = _owned(rows, names[0])
        return {row.owner or "": row["ACTION"] or "" for row in rows}

    def assignments(self, *names: str) -> dict[str, Assignment]:
        """NAS and pool of the machines that have their disks there; nothing where img-storage is not installed.

        Raises DriverError where one that is named is not told: each has a row, with or without a NAS.
        """
        try:
            rows = self._rows(tables.MACHINE_NAS, *names)
        except NoSuchCommandError:
            return {}
        if rows and rows[0].owner is None:
            rows = _owned(rows, names[0] if len(names) == 1 else self._only_machine())
        _all_told(tables.MACHINE_NAS, names, {row.owner for row in rows})
        return {row.owner or "": Assignment(row["NAS"], row["ZPOOL"]) for row in rows if row["NAS"] and row["ZPOOL"]}

    def volume_state(self, nas: str, volume: str) -> str | None:
        """``mapped``, ``unmapped``, …; None for a volume that the NAS's daemon has not handled (yet)."""
        text = self._rocks.read("list host storagemap", nas, parameters={"json": "true"})
        for row in tables.parse(text, tables.STORAGEMAP, tables.STORAGEMAP_OLD):
            if row["ZVOL"] == volume:
                return row["STATE"]
        return None

    def _clusters(self, names: Sequence[str], *, status: bool) -> dict[str, VirtualCluster]:
        limit = READ_LIMIT + (PER_NODE_LIMIT * 30 if status else 0)
        parameters = {"status": "true"} if status else {}
        rows = self._rows(tables.CLUSTER, *names, parameters=parameters, limit=limit)
        if not rows and not names:
            raise _no_database("list cluster")
        found: dict[str, VirtualCluster] = {}
        frontend = ""
        for row in rows:
            frontend = row.owner or frontend
            if row["TYPE"] != "VM":
                continue
            state, client = row["STATUS"] or "", row["CLIENT NODES"]
            if client is None:
                found[frontend] = VirtualCluster(frontend, state, {})
            elif frontend in found:
                known = found[frontend]
                found[frontend] = replace(known, clients={**known.clients, client: state})
        return found

    def _only_machine(self) -> str:
        """The name of the one virtual host of a site: its own table leaves it out (rocks.md 1.7, 3.13)."""
        words = self._rocks.read("dump host vm").split()
        at = next((number for number, word in enumerate(words) if word == "vm"), None)
        if at is None or at + 1 >= len(words):
            raise DriverError("Rocks does not say which virtual host it has", resolution="look at 'rocks dump host vm'")
        return words[at + 1]

    def _rows(
        self,
        form: Form,
        *names: str,
        parameters: Mapping[str, str] | None = None,
        limit: float = READ_LIMIT,
    ) -> tuple[Row, ...]:
        text = self._rocks.read(form.words, *names, parameters={**(parameters or {}), "json": "true"}, limit=limit)
        return tables.parse(text, form)


def carriers(interfaces: Iterable[Interface], vlan: int) -> tuple[str, ...]:
    """The physical hosts that carry a VLAN."""
    return tuple(sorted({each.host for each in interfaces if each.carries_vlan and each.vlan == vlan}))


def users(interfaces: Iterable[Interface], vlan: int) -> tuple[str, ...]:
    """The virtual hosts on a VLAN."""
    return tuple(sorted({each.host for each in interfaces if not each.carries_vlan and each.vlan == vlan}))


def _interface(row: Row) -> Interface:
    device, mac = row["IFACE"] or "", row["MAC"]
    ip = row["IP"]
    number = row["VLAN"] or device.removeprefix("vlan")
    vlan = int(number) if number.isdigit() and int(number) > 0 else None
    return Interface(
        host=row.owner or "",
        device=device,
        subnet=row["SUBNET"],
        mac=Mac(mac.lower()) if mac else None,
        ip=IPv4Address(ip) if ip else None,
        vlan=vlan,
    )


def _all_told(form: Form, names: Iterable[str], told: Container[str | None]) -> None:
    """An answer that leaves out what was asked for is none: a disk would not be removed, or not be looked for."""
    missing = [name for name in names if name not in told]
    if missing:
        raise DriverError(
            f"'rocks {form.words}' does not tell of {', '.join(missing)}",
            resolution=f"look at 'rocks {form.words} {missing[0]}', then repeat",
        )


def _owned(rows: Iterable[Row], owner: str) -> tuple[Row, ...]:
    return tuple(replace(row, owner=owner) for row in rows)


def _unknown(error: RocksError) -> bool:
    return (
        error.text.startswith("cannot resolve host")
        or "is not a virtual frontend" in error.text
        or ("is not in cluster" in error.text)
    )


def _no_database(words: str) -> DriverError:
    return DriverError(
        f"'rocks {words}' tells of nothing, not even of the physical frontend",
        details="so Rocks answers when its database is down",
        resolution="see that the database runs: systemctl status foundation-mysql"
        " (or: service foundation-mysql status)",
    )
