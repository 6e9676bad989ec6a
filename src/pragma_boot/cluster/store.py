"""The site's memory: one SQLite database of clusters and their leases.

The hypervisor stays the authority on what runs; this is about who holds what, since when, and how far a boot came.
Every change is one transaction; a cluster is reserved whole or not at all.
"""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pragma_boot import files
from pragma_boot.cluster import records
from pragma_boot.errors import ClusterExistsError, PragmaError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ClusterState,
    ImageName,
    InUse,
    Leases,
    NodeSpec,
    Plan,
)
from pragma_boot.network import leases

_BUSY = 30.0
"""Seconds that a transaction waits for another process's."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS clusters (
    name       TEXT PRIMARY KEY,
    image      TEXT NOT NULL,
    driver     TEXT NOT NULL,
    state      TEXT NOT NULL,
    owner      TEXT NOT NULL,
    created    TEXT NOT NULL,
    fqdn       TEXT NOT NULL,
    public_ip  TEXT NOT NULL,
    nodes      TEXT NOT NULL,
    allocation TEXT,
    reports    INTEGER NOT NULL DEFAULT 0,
    note       TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS overlays (
    cluster   TEXT PRIMARY KEY REFERENCES clusters (name) ON DELETE CASCADE,
    ticket    TEXT NOT NULL,
    holder    TEXT NOT NULL,
    hub_key   TEXT NOT NULL,
    network   TEXT NOT NULL,
    addresses TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removed (name TEXT PRIMARY KEY, image TEXT NOT NULL, removed TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One cluster as the database has it. reports: its nodes tell on their consoles when they are ready.

    public_ip: None until it is known.
    """

    name: ClusterName
    image: ImageName
    state: ClusterState
    owner: str
    created: str
    fqdn: str
    public_ip: IPv4Address | None
    nodes: tuple[NodeSpec, ...]
    allocation: Allocation | None
    reports: bool
    note: str


@dataclass(frozen=True, slots=True)
class OverlayRecord:
    """What a cluster has at the exchange of its overlay (network.overlay), or is about to have.

    ticket: reaches the exchange again; secret when it has a token. holder: whose its slots are. hub_key: the public
    key of a cluster that is the hub; empty of one that joined. addresses: of its nodes, as far as they are known.
    """

    ticket: str = field(repr=False)
    holder: str
    hub_key: str
    network: IPv4Network
    addresses: Mapping[str, IPv4Interface] = field(default_factory=dict)


class Store:
    """The site database in *folder*; made at its first use. Safe to use from several processes at once."""

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder

    def reserve(
        self, plan: Plan, *, driver: str, address: IPv4Address | None, fqdn: str, vlans: Sequence[int], site: InUse
    ) -> Leases:
        """Record a cluster as PLANNED together with everything it holds.

        address: None where the engine assigns addresses itself; then nothing but the name is held.

        Raises ClusterExistsError or CapacityError (nothing free, or *address* just taken); then nothing is recorded.
        """
        with self._transaction() as connection:
            try:
                connection.execute(
                    "INSERT INTO clusters (name, image, driver, state, owner, created, fqdn, public_ip, nodes)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        plan.cluster,
                        plan.image,
                        driver,
                        ClusterState.PLANNED,
                        _user(),
                        _now(),
                        fqdn,
                        str(address or ""),
                        json.dumps(records.dump_specs(plan.nodes)),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise exists(plan.cluster) from error
            if address is None:
                return Leases(cluster=plan.cluster, public_ip=None, fqdn=fqdn, vlan=0, macs={})
            used = leases.taken(connection, site)
            return leases.reserve(connection, plan, address=address, fqdn=fqdn, vlans=vlans, used=used)

    def in_use(self, site: InUse) -> InUse:
        """Everything that is taken: by the database, or by the engine's word; a glance, not a reservation."""
        with self._reading() as connection:
            used = leases.taken(connection, site)
            names = {ClusterName(row[0]) for row in connection.execute("SELECT name FROM clusters")}
        return replace(used, clusters=used.clusters | names)

    def record_allocation(self, allocation: Allocation) -> None:
        """Note what the site has set aside; the cluster is ALLOCATED then."""
        self._update(
            allocation.cluster,
            "state = ?, allocation = ?, public_ip = ?, fqdn = ?",
            (
                ClusterState.ALLOCATED,
                json.dumps(records.dump_allocation(allocation)),
                str(allocation.public_ip),
                allocation.fqdn,
            ),
        )

    def record_state(self, name: ClusterName, state: ClusterState, note: str = "") -> None:
        """Note how far the cluster is, and why it stopped there."""
        self._update(name, "state = ?, note = ?", (state, note))

    def record_reports(self, name: ClusterName, reports: bool) -> None:
        """Note whether the cluster's nodes report on their consoles."""
        self._update(name, "reports = ?", (int(reports),))

    def record_overlay(self, name: ClusterName, overlay: OverlayRecord) -> None:
        """Note what a cluster has, or is about to take, at an exchange."""
        held = json.dumps({node: str(address) for node, address in overlay.addresses.items()})
        values = (name, overlay.ticket, overlay.holder, overlay.hub_key, str(overlay.network), held)
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO overlays VALUES (?, ?, ?, ?, ?, ?)", values)

    def overlay(self, name: ClusterName) -> OverlayRecord | None:
        """What a cluster has at an exchange; None when it is in no overlay."""
        with self._reading() as connection:
            row = connection.execute("SELECT * FROM overlays WHERE cluster = ?", (name,)).fetchone()
        if row is None:
            return None
        held = {node: IPv4Interface(address) for node, address in json.loads(row["addresses"]).items()}
        return OverlayRecord(row["ticket"], row["holder"], row["hub_key"], IPv4Network(row["network"]), held)

    def forget(self, name: ClusterName) -> None:
        """Give back all leases and remove the cluster's row, in one transaction; no error when it is not there."""
        with self._transaction() as connection:
            row = connection.execute("DELETE FROM clusters WHERE name = ? RETURNING image", (name,)).fetchone()
            if row:
                connection.execute("INSERT OR REPLACE INTO removed VALUES (?, ?, ?)", (name, row[0], _now()))

    def get(self, name: str) -> Record | None:
        """The record of one cluster, or None."""
        with self._reading() as connection:
            row = connection.execute("SELECT * FROM clusters WHERE name = ?", (name,)).fetchone()
        return _record(row) if row else None

    def all(self) -> tuple[Record, ...]:
        """All clusters, by name."""
        with self._reading() as connection:
            return tuple(_record(row) for row in connection.execute("SELECT * FROM clusters ORDER BY name"))

    def was_removed(self, name: str) -> bool:
        """Whether a cluster of that name was here once and is gone."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM removed WHERE name = ?", (name,)).fetchone() is not None

    @contextmanager
    def lock(self, name: ClusterName) -> Iterator[None]:
        """Hold the cluster's lock; raises ClusterBusyError at once when another command holds it.

        The lock's file goes when, at the end, there is no record of the cluster (any more).
        """
        path = self.folder.cluster_lock(name)
        with files.lock(path, wait=0, busy=f"another command is working on cluster {name}"):
            try:
                yield
            finally:
                if self.get(name) is None:
                    path.unlink(missing_ok=True)

    def is_locked(self, name: ClusterName) -> bool:
        """Whether another command is working on the cluster just now."""
        return files.is_locked(self.folder.cluster_lock(name))

    @contextmanager
    def site_lock(self) -> Iterator[None]:
        """Hold the lock of the whole site: while free capacity is looked at and set aside."""
        with files.lock(self.folder.locks / "site.lock", wait=1800, busy="other commands keep the site busy"):
            yield

    def _update(self, name: ClusterName, what: str, values: tuple[Any, ...]) -> None:
        with self._transaction() as connection:
            connection.execute(f"UPDATE clusters SET {what} WHERE name = ?", (*values, name))  # noqa: S608 - our words

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.folder.database.exists():
            with closing(_open(":memory:")) as empty:
                yield empty
            return
        with self._connected(lambda: _open(str(self.folder.database))) as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected(self._open_for_writing) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    def _open_for_writing(self) -> sqlite3.Connection:
        files.make_folder(self.folder.root, 0o711)
        if not self.folder.database.exists():
            self.folder.database.touch(0o600)
        return _open(str(self.folder.database))

    @contextmanager
    def _connected(self, opener: Callable[[], sqlite3.Connection]) -> Iterator[sqlite3.Connection]:
        try:
            with closing(opener()) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise PragmaError(
                f"cannot use the site database {self.folder.database}",
                details=str(error),
                resolution="check that you may write there and that the disk is not full; 'state_directory' in"
                " site_conf.conf names the folder",
            ) from error
        except OSError as error:
            raise PragmaError(
                f"cannot use the site database {self.folder.database}",
                details=error.strerror,
                resolution="run as a user who may write there, or set 'state_directory' in site_conf.conf",
            ) from error
        except sqlite3.DatabaseError as error:
            raise PragmaError(
                f"the site database {self.folder.database} is damaged",
                details=str(error),
                resolution="move it away: running clusters are found again by what the hypervisor says of them",
            ) from error


def exists(name: str) -> ClusterExistsError:
    """The error for a name that is taken."""
    return ClusterExistsError(
        f"cluster {name} exists already",
        resolution=f"choose another with name=, or remove it: pragma shutdown {name} && pragma clean {name}",
    )


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(_SCHEMA + leases.SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _record(row: sqlite3.Row) -> Record:
    return Record(
        name=ClusterName(row["name"]),
        image=ImageName(row["image"]),
        state=ClusterState(row["state"]),
        owner=row["owner"],
        created=row["created"],
        fqdn=row["fqdn"],
        public_ip=IPv4Address(row["public_ip"]) if row["public_ip"] else None,
        nodes=records.load_specs(json.loads(row["nodes"])),
        allocation=records.load_allocation(json.loads(row["allocation"])) if row["allocation"] else None,
        reports=bool(row["reports"]),
        note=row["note"],
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
