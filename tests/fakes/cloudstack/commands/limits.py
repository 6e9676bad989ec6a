"""What an account may have, and what it has."""

from __future__ import annotations

from typing import Any

from .. import machines
from ..cloud import Call, Cloud
from ..errors import ApiError
from ..listing import listed
from ..model import Account
from ..registry import PAGING, command

Body = dict[str, Any]
TYPES = (
    "user_vm", "public_ip", "volume", "snapshot", "template", "project", "network", "vpc", "cpu", "memory",
    "primary_storage", "secondary_storage",
)  # fmt: skip
_SHOWN = {"user_vm": "vm", "public_ip": "ip"}


def used(cloud: Cloud, account: Account) -> dict[str, int]:
    """What counts against the limits, by type. Destroyed machines give back all but their volumes."""
    state = cloud.state
    own = [one for one in state.machines.values() if one.account == account.id and not one.removed]
    present = [one for one in own if one.present]
    counted = dict.fromkeys(TYPES, 0)
    counted |= {
        "user_vm": len(present),
        "volume": len(own),
        "cpu": sum(one.cpus for one in present),
        "memory": sum(one.memory for one in present),
        "primary_storage": sum(one.rootsize for one in own),
        "public_ip": sum(1 for one in state.addresses.values() if one.account == account.id),
        "network": sum(1 for one in state.networks.values() if one.account == account.id and not one.removed),
        "template": sum(1 for one in state.templates.values() if one.account == account.id and not one.removed),
    }
    return counted


def require(cloud: Cloud, call: Call, **wanted: int) -> None:
    """Raises 535 where *wanted* more of a type would be too much."""
    account = call.account
    have = used(cloud, account)
    for kind, more in wanted.items():
        most = account.limits.get(kind, -1)
        if 0 <= most < have[kind] + more:
            raise ApiError(
                535,
                f"Maximum amount of resources of Type = '{kind}', tag = 'null' for Account Name = {account.name} in "
                f"Domain Id = 1 is exceeded: Account Resource Limit = {most}, Current Account Resource Amount = "
                f"{have[kind]}, Current Account Resource Reservation = 0, Requested Resource Amount = {more}.",
            )


@command("listResourceLimits", f"resourcetype# resourcetypename id {PAGING}")
def list_resource_limits(cloud: Cloud, call: Call) -> Body:
    account, wanted = call.account, call.args["resourcetype"]
    rows = [
        {
            "account": account.name,
            "domain": account.domain,
            "domainid": account.domainid,
            "resourcetype": str(number),
            "resourcetypename": name,
            "max": account.limits.get(name, -1),
        }
        for number, name in enumerate(TYPES)
        if wanted in (None, number) and call.args["resourcetypename"] in (None, name)
    ]
    return listed(call, "resourcelimit", rows)


@command("listAccounts", f"id name accounttype# state details* {PAGING}")
def list_accounts(cloud: Cloud, call: Call) -> Body:
    rows = []
    for one in cloud.state.accounts.values():
        if not call.sees(one.id) or call.args["name"] not in (None, one.name) or call.args["id"] not in (None, one.id):
            continue
        row: Body = {
            "id": one.id,
            "name": one.name,
            "accounttype": 1 if one.admin else 0,
            "rolename": "Root Admin" if one.admin else "User",
            "domain": one.domain,
            "domainid": one.domainid,
            "state": "enabled" if one.enabled else "disabled",
        }
        for kind, count in used(cloud, one).items():
            name, most = _SHOWN.get(kind, kind.replace("_", "")), one.limits.get(kind, -1)
            free = "Unlimited" if most < 0 else str(max(0, most - count))
            row |= {
                f"{name}limit": "Unlimited" if most < 0 else str(most),
                f"{name}total": count,
                f"{name}available": free,
            }
        rows.append(row)
    return listed(call, "account", rows)


@command("listCapacity", f"zoneid=zones type# fetchlatest? sortby clusterid podid {PAGING}", admin=True)
def list_capacity(cloud: Cloud, call: Call) -> Body:
    state, rows = cloud.state, []
    for zone in state.zones.values():
        if call.args["zoneid"] not in (None, zone.id):
            continue
        hosts = [one for one in state.hosts.values() if one.zoneid == zone.id]
        busy = [one for host in hosts for one in machines.guests(cloud, host)]
        ips = [one for one in state.addresses.values() if one.zoneid == zone.id]
        nets = [one for one in state.networks.values() if one.zoneid == zone.id and one.vlan and not one.removed]
        table = {
            0: ("MEMORY", sum(one.memory for one in hosts) << 20, sum(one.memory for one in busy) << 20),
            1: ("CPU", sum(one.cpus for one in hosts) * 2000, sum(one.cpus * one.speed for one in busy)),
            4: ("VIRTUAL_NETWORK_PUBLIC_IP", len(ips), sum(1 for one in ips if one.state != "Free")),
            7: ("VLAN", len(zone.vlans), len(nets)),
            90: ("CPU_CORE", sum(one.cpus for one in hosts), sum(one.cpus for one in busy)),
        }
        for kind, (name, total, taken) in table.items():
            if call.args["type"] in (None, kind):
                percent = f"{100 * taken / total:.2f}" if total else "0"
                rows.append(
                    {
                        "type": kind,
                        "name": name,
                        "zoneid": zone.id,
                        "zonename": zone.name,
                        "capacitytotal": total,
                        "capacityused": taken,
                        "percentused": percent,
                    }
                )
    return listed(call, "capacity", rows)
