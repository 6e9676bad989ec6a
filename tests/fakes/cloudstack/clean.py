"""What a client left behind, and what it should not have touched."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .state import State

if TYPE_CHECKING:
    from .cloud import Cloud

_TABLES = ("machines", "networks", "addresses", "rules", "tags", "keypairs", "userdata", "groups", "templates")
_OWN_BUSINESS = {"state", "vlan", "free_since", "hostid", "updated", "stuck"}
"""What the cloud changes by itself on what belongs to others."""


@dataclass(frozen=True, order=True)
class Leftover:
    """kind: the table. name: host name, address, ``key=value`` or whatever tells it to a person."""

    kind: str
    id: str
    name: str
    state: str = ""


def _held(state: State, account: str | None) -> dict[str, Leftover]:
    """What *account* has (None: everybody), by id."""
    found = {}
    for table in _TABLES:
        for row in getattr(state, table).values():
            theirs = account in (None, row.account) and row.account is not None
            if not theirs or getattr(row, "removed", False):
                continue
            name = getattr(row, "name", None) or getattr(row, "ip", None) or ""
            if table == "tags":
                name = f"{row.key}={row.value} on {row.kind} {row.resourceid}"
            elif table == "rules":
                name = f"{row.kind} {row.protocol} {row.start}-{row.end}"
            found[row.id] = Leftover(table, row.id, name, getattr(row, "state", ""))
    return found


def leftovers(cloud: Cloud, account: str, before: State) -> list[Leftover]:
    """What the account named *account* has now and had not in *before*; destroyed machines count until expunged."""
    ident = cloud.account(account).id
    with cloud.lock:
        now, then = _held(cloud.state, ident), _held(before, ident)
    return sorted(now[key] for key in set(now) - set(then))


def damages(cloud: Cloud, before: State) -> list[str]:
    """What existed in *before*, whoever owns it, and is gone or changed."""
    with cloud.lock:
        return _damages(cloud.state, before)


def _damages(state: State, before: State) -> list[str]:
    found, now = [], _held(state, None)
    for key, one in _held(before, None).items():
        if key not in now:
            found.append(f"{one.kind} {one.name} {key} is gone")
            continue
        old, new = (dataclasses.asdict(getattr(where, one.kind)[key]) for where in (before, state))
        changed = {name for name in old if old[name] != new[name]} - _OWN_BUSINESS
        found += [f"{one.kind} {one.name} {key}: {name} was {old[name]}, is {new[name]}" for name in sorted(changed)]
    return found


def assert_clean(cloud: Cloud, account: str, before: State) -> None:
    """Nothing new is left and nothing old was touched."""
    cloud.tick()
    left = [f"{one.kind} {one.name} {one.id} {one.state}" for one in leftovers(cloud, account, before)]
    wrong = left + damages(cloud, before)
    assert not wrong, "left or touched:\n" + "\n".join(wrong)
