"""SSH keys, registered user data, affinity groups: what belongs to the account."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from .. import views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, worded
from ..model import AffinityGroup, KeyPair, UserData
from ..registry import PAGING, Task, Work, command
from . import deploying

Body = dict[str, Any]
AFFINITY = ("host anti-affinity", "host affinity", "non-strict host anti-affinity", "non-strict host affinity")


def _own(call: Call, rows: dict[str, Any]) -> list[Any]:
    return [one for one in rows.values() if one.account == call.account.id and not getattr(one, "removed", False)]


@command("registerSSHKeyPair", "name! publickey!~5120 account domainid projectid")
def register_key(cloud: Cloud, call: Call) -> Body:
    name, words = call.args["name"], call.args["publickey"].split()
    try:
        fingerprint = hashlib.md5(base64.b64decode(words[1], validate=True)).hexdigest()
    except (IndexError, binascii.Error):
        raise bad("Public key is invalid") from None
    public = " ".join(words[:2])
    for one in _own(call, cloud.state.keypairs):
        if one.name == name:
            raise bad(f"A key pair with name '{name}' already exists for this account.")
        if one.publickey == public:
            raise bad(f"A key pair with key '{call.args['publickey']}' already exists for this account.")
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 32, 2))
    made = KeyPair(cloud.new_id(), name, call.account.id, public, colons)
    cloud.state.keypairs[made.id] = made
    return {"keypair": _key(cloud, made)}


def _key(cloud: Cloud, row: KeyPair) -> Body:
    return {"id": row.id, "name": row.name, "fingerprint": row.fingerprint} | views.owner(cloud, row.account)


@command("listSSHKeyPairs", f"id@4.16 name fingerprint {PAGING}")
def list_keys(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = [
        _key(cloud, one)
        for one in cloud.state.keypairs.values()
        if call.sees(one.account)
        and args["id"] in (None, one.id)
        and args["name"] in (None, one.name)
        and args["fingerprint"] in (None, one.fingerprint)
        and worded(call, one.name)
    ]
    return listed(call, "sshkeypair", rows)


@command("deleteSSHKeyPair", "name! account domainid projectid")
def delete_key(cloud: Cloud, call: Call) -> Body:
    for one in _own(call, cloud.state.keypairs):
        if one.name == call.args["name"]:
            del cloud.state.keypairs[one.id]
            return {"success": True}
    raise bad(f"A key pair with name '{call.args['name']}' does not exist for account {call.account.name} in specified "
              "domain id")  # fmt: skip


@command("registerUserData", "name! userdata!~1048576 params account domainid projectid", since="4.18")
def register_userdata(cloud: Cloud, call: Call) -> Body:
    name, content = call.args["name"], deploying.userdata(cloud, call) or ""
    for one in _own(call, cloud.state.userdata):
        if one.name == name:
            raise bad(f"A userdata with name {name} already exists for this account.")
        if one.userdata == content:
            raise bad(f"Userdata {one.name} with same content already exists for this account.")
    made = UserData(cloud.new_id(), name, call.account.id, content, call.args["params"])
    cloud.state.userdata[made.id] = made
    return {"userdata": _userdata(cloud, made)}


def _userdata(cloud: Cloud, row: UserData) -> Body:
    shown = {"id": row.id, "name": row.name, "userdata": row.userdata} | views.owner(cloud, row.account)
    return shown if row.params is None else shown | {"params": row.params}


@command("listUserData", f"id name {PAGING}", since="4.18")
def list_userdata(cloud: Cloud, call: Call) -> Body:
    rows = [
        _userdata(cloud, one)
        for one in cloud.state.userdata.values()
        if call.sees(one.account)
        and call.args["id"] in (None, one.id)
        and call.args["name"] in (None, one.name)
        and worded(call, one.name)
    ]
    return listed(call, "userdata", rows)


@command("deleteUserData", "id!=userdata account domainid projectid", since="4.18")
def delete_userdata(cloud: Cloud, call: Call) -> Body:
    row = call.own("userdata", call.args["id"])
    if any(one.userdataid == row.id and not one.removed for one in cloud.state.machines.values()):
        raise ApiError(530, f"Userdata {row.name} cannot be removed as it is being used by some instances")
    del cloud.state.userdata[row.id]
    return {"success": True}


@command("createAffinityGroup", "name! type! description account domainid projectid", form="create")
def create_group(cloud: Cloud, call: Call) -> Task:
    name, kind = call.args["name"], call.args["type"]
    if kind.lower() not in AFFINITY:
        raise bad(f"Unable to create affinity group, invalid affinity group type{kind}")
    if any(one.name == name for one in _own(call, cloud.state.groups)):
        raise bad(f"Unable to create affinity group, a group with name {name} already exists.")
    made = AffinityGroup(cloud.new_id(), name, call.account.id, kind.lower(), call.args["description"])
    cloud.state.groups[made.id] = made

    def work() -> Work:
        yield cloud.delay("createAffinityGroup")
        return {"affinitygroup": _group(cloud, made)}

    return Task(work(), None, "AffinityGroup", made.id)


def _group(cloud: Cloud, row: AffinityGroup) -> Body:
    members = [one.id for one in cloud.state.machines.values() if row.id in one.affinity and not one.removed]
    shown: Body = {"id": row.id, "name": row.name, "type": row.kind, "virtualmachineIds": members}
    shown |= views.owner(cloud, row.account)
    return shown if row.description is None else shown | {"description": row.description}


@command("deleteAffinityGroup", "id=groups name account domainid projectid", form="async")
def delete_group(cloud: Cloud, call: Call) -> Task:
    ident, name = call.args["id"], call.args["name"]
    found = [one for one in _own(call, cloud.state.groups) if one.id == ident or (ident is None and one.name == name)]
    if not found:
        raise bad("Unable to find affinity group " + (ident or f"by name {name}"))

    def work() -> Work:
        yield cloud.delay("deleteAffinityGroup")
        found[0].removed = True
        for machine in cloud.state.machines.values():
            machine.affinity = [one for one in machine.affinity if one != found[0].id]
        return None

    return Task(work(), None, "AffinityGroup", found[0].id)


@command("listAffinityGroups", f"id name type virtualmachineid=machines {PAGING}")
def list_groups(cloud: Cloud, call: Call) -> Body:
    args = call.args
    rows = []
    for one in cloud.state.groups.values():
        shown = _group(cloud, one)
        if (
            call.sees(one.account)
            and not one.removed
            and args["id"] in (None, one.id)
            and args["name"] in (None, one.name)
            and args["type"] in (None, one.kind)
            and args["virtualmachineid"] in (None, *shown["virtualmachineIds"])
            and worded(call, one.name)
        ):
            rows.append(shown)
    return listed(call, "affinitygroup", rows)
