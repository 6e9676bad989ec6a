"""Whether a site, and a plan, can be served: everything that is wrong, at once, each with its mend. Changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from pragma_boot import connect
from pragma_boot.driver.cloudstack import names, network, sizes
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.errors import CapacityError, Fault, PragmaError, PreflightError
from pragma_boot.model import Capacity, HostCapacity, Plan

_log = logging.getLogger(__name__)

_PER_NODE = 190
"""Bytes that a node takes at least in the frontend's document."""
UNLIMITED = 1 << 20
"""CPUs, or MiB, of an account without a limit."""


def check(cloud: Cloud) -> None:
    """Look at the site. Raises PreflightError."""
    faults = list(_site(cloud))
    if faults:
        raise PreflightError("this site cannot run clusters yet", faults, resolution="mend these, then repeat")
    if connect.is_open_wire(cloud.client.url):
        place = connect.shown(cloud.client.url)
        _log.warning("%s is not encrypted: whoever is on the way reads the keys of nodes; use https", place)
    if not cloud.may_expunge:
        _log.info("this account may not expunge machines: what clean removes goes for good after the cloud's delay")


def fit(cloud: Cloud, plan: Plan) -> Plan:
    """The plan with the sizes that there are. Raises PreflightError or CapacityError."""
    faults = list(_templates(cloud, plan))
    short: list[Fault] = []
    try:
        fitted = sizes.fitted(plan, cloud.sizes)
    except CapacityError as error:
        if not faults:
            raise
        faults.append(_fault("service offerings", error))
    else:
        faults += _names(fitted)
        short = list(_limits(cloud, fitted))
    if faults:
        mend = "mend these, then repeat"
        raise PreflightError(f"the cloud cannot make {plan.cluster}", [*faults, *short], resolution=mend)
    if short:
        raise CapacityError(
            f"the account has not enough free for the {len(fitted.nodes)} nodes of {plan.cluster}",
            details="\n".join(map(str, short)),
            resolution="ask for fewer CPUs or less memory (mem=MB), clean clusters that are no longer needed, or have"
            " the account's limits raised",
        )
    return fitted


def capacity(cloud: Cloud) -> Capacity:
    """What the account may have, as if it were a host: clouds do not tell their users of hosts."""
    row = account(cloud)
    host = HostCapacity(
        host=str(cloud.zone.get("name", "")),
        cpus=_number(row, "cpulimit"),
        cpus_free=_number(row, "cpuavailable"),
        memory_mib=_number(row, "memorylimit"),
        memory_free_mib=_number(row, "memoryavailable"),
    )
    return Capacity((host,))


def account(cloud: Cloud) -> dict[str, Any]:
    """The account's own row, with its limits and what it has; empty where the cloud does not tell."""
    rows = cloud.client.rows("listAccounts", "account")
    mine = [row for row in rows if any(user.get("apikey") == cloud.settings.apikey for user in _users(row))]
    return (mine or (rows if len(rows) == 1 else [{}]))[0]


def _users(row: dict[str, Any]) -> list[dict[str, Any]]:
    found = row.get("user")
    return [user for user in found if isinstance(user, dict)] if isinstance(found, list) else []


def _site(cloud: Cloud) -> Iterator[Fault]:
    looks: list[tuple[str, Callable[[], Any]]] = [
        ("credentials", lambda: cloud.capabilities),
        ("zone", lambda: cloud.zone),
        ("networkoffering", lambda: cloud.offering),
        ("service_offerings", lambda: cloud.sizes),
        ("public_network", lambda: network.find_public(cloud)),
    ]
    for where, look in looks:
        try:
            look()
        except PragmaError as error:
            yield _fault(where, error)
            if where in ("credentials", "zone"):
                return  # all others fail for the same cause


def _templates(cloud: Cloud, plan: Plan) -> Iterator[Fault]:
    ready = cloud.templates()
    wanted = dict.fromkeys(plan.templates.get(node.role, str(plan.image)) for node in plan.nodes)
    for name in wanted:
        if name not in ready:
            what = f"zone {cloud.zone.get('name')} has no template of that name that is ready"
            mend = f"pragma image publish {plan.image} url=URL, or see templatefilter in cloudstack.conf"
            yield Fault(f"template {name}", what, mend)


def _names(plan: Plan) -> Iterator[Fault]:
    longest = max((names.host_name(plan.cluster, node.name) for node in plan.nodes), key=len)
    if len(longest) > 63:
        yield Fault(f"name {plan.cluster}", f"{longest} has more than 63 characters", "choose a shorter name")


def _limits(cloud: Cloud, plan: Plan) -> Iterator[Fault]:
    if len(plan.nodes) * _PER_NODE > names.DOCUMENT:
        what = f"{len(plan.nodes)} nodes do not fit in the {names.DOCUMENT} bytes that the cloud hands out"
        yield Fault("user data", what, "ask for fewer and larger nodes")
    row = account(cloud)
    wanted = {
        "vm": (len(plan.nodes), "machines"),
        "cpu": (sum(node.cpus for node in plan.nodes), "CPUs"),
        "memory": (sum(node.memory_mib for node in plan.nodes), "MiB of memory"),
        "volume": (len(plan.nodes), "volumes"),
        "network": (1, "networks"),
        "ip": (1, "public addresses"),
    }
    for key, (number, what) in wanted.items():
        free = _number(row, f"{key}available")
        if number > free:
            limit = row.get(f"{key}limit")
            yield Fault(
                f"limit of {what}",
                f"{number} are needed, {free} of the account's {limit} are free",
                "clean clusters that are no longer needed, or have the account's limit raised",
            )


def _number(row: dict[str, Any], key: str) -> int:
    text = str(row.get(key, "Unlimited"))
    number = int(text) if text.lstrip("-").isdigit() else -1
    return UNLIMITED if number == -1 else max(number, 0)


def _fault(where: str, error: PragmaError) -> Fault:
    details = f": {error.details}" if error.details else ""
    return Fault(where, error.message + details, error.resolution or "")
