"""Who holds which address, VLAN and MAC, in the site database.

*Nothing is ever held twice* is the tables' primary keys, not a hope. The functions work inside a transaction that
their caller (cluster.store) opened, so that a cluster is reserved whole or not at all.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from ipaddress import IPv4Address

from pragma_boot.errors import CapacityError
from pragma_boot.model import PRIVATE, PUBLIC, InUse, Leases, Mac, NodeName, Plan, Role
from pragma_boot.network import pool

SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
    kind    TEXT NOT NULL CHECK (kind IN ('address', 'vlan', 'mac')),
    value   TEXT NOT NULL,
    cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE,
    node    TEXT NOT NULL DEFAULT '',
    network TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_of_cluster ON leases (cluster);
CREATE TABLE IF NOT EXISTS extra_addresses (
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE,
    node    TEXT NOT NULL,
    PRIMARY KEY (network, address)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS extra_addresses_of_cluster ON extra_addresses (cluster);
"""


def taken(connection: sqlite3.Connection, site: InUse) -> InUse:
    """What is taken by the database's leases or, by the engine's own word, by *site*."""
    values: dict[str, set[str]] = defaultdict(set)
    for kind, value in connection.execute("SELECT kind, value FROM leases"):
        values[kind].add(value)
    extra = connection.execute("SELECT network, address FROM extra_addresses")
    return InUse(
        addresses=site.addresses | {IPv4Address(value) for value in values["address"]},
        vlans=site.vlans | {int(value) for value in values["vlan"]},
        macs=site.macs | {Mac(value) for value in values["mac"]},
        clusters=site.clusters,
        extra=site.extra | {(network, IPv4Address(address)) for network, address in extra},
    )


def reserve(
    connection: sqlite3.Connection,
    plan: Plan,
    *,
    address: IPv4Address,
    fqdn: str,
    vlans: Sequence[int],
    used: InUse,
) -> Leases:
    """Take *address*, a VLAN, all MACs and all addresses on further networks for a cluster whose row exists already.

    Raises CapacityError when no VLAN is free or an address was taken meanwhile; the caller rolls back then.
    """
    cluster = plan.cluster
    vlan = pool.free_vlan(vlans, used.vlans)
    macs = _new_macs(plan, set(used.macs))
    rows = [("address", str(address), cluster, plan.frontend.name, PUBLIC), ("vlan", str(vlan), cluster, "", PRIVATE)]
    rows += [("mac", mac, cluster, node, network) for node, held in macs.items() for network, mac in held.items()]
    further = [
        (extra.name, str(extra.address(index).ip), cluster, node.name)
        for extra in plan.extra
        for index, node in enumerate(plan.nodes)
    ]
    try:
        connection.executemany("INSERT INTO leases (kind, value, cluster, node, network) VALUES (?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO extra_addresses VALUES (?, ?, ?, ?)", further)
    except sqlite3.IntegrityError as error:
        wanted = ", ".join([str(address), *(f"{extra.first} in {extra.name}" for extra in plan.extra)])
        raise CapacityError(f"{wanted} has just been taken by another cluster", resolution="repeat") from error
    return Leases(cluster=cluster, public_ip=address, fqdn=fqdn, vlan=vlan, macs=macs)


def _new_macs(plan: Plan, seen: set[Mac]) -> dict[NodeName, dict[str, Mac]]:
    macs: dict[NodeName, dict[str, Mac]] = {}
    for node in plan.nodes:
        own = (PRIVATE, PUBLIC) if node.role is Role.FRONTEND else (PRIVATE,)
        macs[node.name] = {}
        for network in (*own, *(extra.name for extra in plan.extra)):
            macs[node.name][network] = pool.new_mac(seen)
            seen.add(macs[node.name][network])
    return macs
