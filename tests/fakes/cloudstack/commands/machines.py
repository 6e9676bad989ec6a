"""Virtual machines: made, changed, listed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import machines, networking, views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, tagged, worded
from ..model import Machine, Nic
from ..registry import PAGING, Task, Work, command
from . import deploying, limits

Body = dict[str, Any]
GIB = 1 << 30
STORED = 65535
"""Characters of all parameters that fit where jobs are kept."""


@command(
    "deployVirtualMachine",
    "zoneid!=zones serviceofferingid!=service_offerings templateid!=templates name displayname startvm? "
    "networkids=networks* iptonetworklist[] ipaddress macaddress userdata~1048576 userdataid=userdata@4.18 "
    "userdatadetails[]@4.18 keypair keypairs*@4.17 affinitygroupids=groups* affinitygroupnames* details[] "
    "rootdisksize# hostid=hosts podid clusterid group hypervisor diskofferingid size# password keyboard displayvm? "
    "dhcpoptionsnetworklist[] leaseduration#@4.21 copyimagetags?@4.18 projectid account domainid customid "
    "securitygroupids*",
    form="create",
)
def deploy(cloud: Cloud, call: Call) -> Task:
    args = call.args
    _check_rights(cloud, call)
    template = deploying.template(cloud, call)
    if sum(len(name) + len(value) for name, value in call.sent.items()) > STORED:
        raise ApiError(530, "Data truncation: Data too long for column 'job_cmd_info' at row 1", masked=True)
    offering = cloud.state.service_offerings[args["serviceofferingid"]]
    details = args.merged("details")
    if "extraconfig" in details:
        raise bad("'extraconfig' should not be included in details as key")
    sizes = deploying.sizes(offering, details)
    userdata = deploying.userdata(cloud, call)
    keys, groups = deploying.keypairs(cloud, call), deploying.affinity(cloud, call)
    wishes = deploying.wishes(cloud, call)
    networks = [one.network for one in wishes]
    deploying.check_services(cloud, networks[0], has_userdata=bool(userdata), keys=bool(keys))
    ident = cloud.new_id()
    name = args["name"] or f"VM-{ident}"
    deploying.check_name(name)
    deploying.check_unique(cloud, call, name, networks)
    size = args["rootdisksize"] or int(details.get("rootdisksize", 0)) or math.ceil(template.size / GIB)
    limits.require(cloud, call, user_vm=1, cpu=sizes[0], memory=sizes[2], volume=1, primary_storage=size)
    deploying.check_storage(cloud, args["zoneid"], size)
    nics = _nics(cloud, wishes)
    cloud.state.machine_number += 1
    machine = Machine(
        ident,
        name,
        args["displayname"] or name,
        call.account.id,
        args["zoneid"],
        template.id,
        offering.id,
        *sizes,
        cloud.state.machine_number,
        nics=nics,
        userdata=userdata or "",
        userdataid=args["userdataid"],
        keypairs=keys,
        affinity=groups,
        group=args["group"],
        hypervisor=template.hypervisor,
        details={key: value for key, value in details.items() if key not in ("cpuNumber", "cpuSpeed", "memory")},
        rootsize=size,
        created=cloud.engine.now,
    )
    cloud.state.machines[ident] = machine
    start = args["startvm"] is not False
    return Task(_deployed(cloud, call, machine, start), f"vm:{ident}", "VirtualMachine", ident, name)


def _check_rights(cloud: Cloud, call: Call) -> None:
    for name in ("hostid", "podid", "clusterid"):
        if call.args[name] is not None and not call.account.admin:
            raise ApiError(531, f"Parameter {name} can only be specified by a Root Admin, permission denied")
    zone = cloud.state.zones[call.args["zoneid"]]
    if not zone.enabled and not call.account.admin:
        raise ApiError(531, f"Cannot perform this operation, Zone is currently disabled: {zone.id}")


def _nics(cloud: Cloud, wishes: list[deploying.Wish]) -> list[Nic]:
    """All addresses first: where one cannot be had, nothing is made."""
    addresses = [networking.guest_ip(cloud, one.network, one.ip) for one in wishes]
    return [
        Nic(cloud.new_id(), one.network.id, ip, one.mac or new_mac(cloud), device == 0, device)
        for device, (one, ip) in enumerate(zip(wishes, addresses, strict=True))
    ]


def _deployed(cloud: Cloud, call: Call, machine: Machine, start: bool) -> Work:
    try:
        yield cloud.delay("deployVirtualMachine")
        if start:
            yield from machines.started(cloud, machine, call.account.admin)
    except ApiError:
        machine.state = "Error" if start else "Stopped"
        raise
    return with_password(cloud, machine, views.machine(cloud, machine, call), start)


def with_password(cloud: Cloud, machine: Machine, row: Body, started: bool) -> Body:
    """The result of a job that started it, where the template's machines get a password: nowhere else it is told."""
    if started and cloud.state.templates[machine.templateid].passwordenabled:
        row["password"] = f"secret{cloud.rng.randrange(10**6):06}"
    return {"virtualmachine": row}


def new_mac(cloud: Cloud) -> str:
    """Unlike all others, in the range that the server uses (locally administered, as libvirt wants it)."""
    taken = {nic.mac for one in cloud.state.machines.values() for nic in one.nics}
    while True:
        tail = cloud.rng.randrange(1 << 24)
        made = f"02:01:00:{tail >> 16:02x}:{tail >> 8 & 255:02x}:{tail & 255:02x}"
        if made not in taken:
            return made


def found(call: Call, name: str = "id") -> Machine:
    """The machine that a parameter names; 431 when it is expunged."""
    machine: Machine = call.own("machines", call.args[name])
    if machine.removed:
        raise bad(f"unable to find a virtual machine with id {machine.number}")
    return machine


@command(
    "updateVirtualMachine",
    "id!=machines name displayname group userdata~1048576 userdataid=userdata@4.18 userdatadetails[]@4.18 details[] "
    "cleanupdetails? haenable? ostypeid displayvm? deleteprotection?@4.20 instancename securitygroupids* "
    "isdynamicallyscalable? dhcpoptionsnetworklist[] extraconfig customid",
)
def update(cloud: Cloud, call: Call) -> Body:
    args, machine = call.args, found(call)
    if machine.state in ("Error", "Expunging"):
        raise bad(f"Vm {machines.label(machine)} is not in the right state")
    userdata = deploying.userdata(cloud, call)
    if args["name"] is not None:
        deploying.check_name(args["name"])
        networks = [cloud.state.networks[nic.networkid] for nic in machine.nics]
        deploying.check_unique(cloud, call, args["name"], networks, machine.id)
        machine.name = args["name"]
    machine.displayname = args["displayname"] or machine.displayname
    machine.group = args["group"] or machine.group
    if args.entries("details") or args["cleanupdetails"]:
        machine.details = args.merged("details")
    if args["deleteprotection"] is not None:
        machine.delete_protection = args["deleteprotection"]
    if userdata is not None:
        machine.userdata, machine.userdataid = userdata, args["userdataid"]
        cloud.hypervisor.userdata(machine)
    machine.updated = cloud.engine.now
    return {"virtualmachine": views.machine(cloud, machine, call)}


@command(
    "resetUserDataForVirtualMachine",
    "id!=machines userdata~1048576 userdataid=userdata userdatadetails[]",
    since="4.18",
)
def reset_userdata(cloud: Cloud, call: Call) -> Body:
    machine = found(call)
    if machine.state != "Stopped":
        raise bad(f"Vm {machines.label(machine)} should be stopped to do UserData reset")
    machine.userdata, machine.userdataid = deploying.userdata(cloud, call) or "", call.args["userdataid"]
    return {"virtualmachine": views.machine(cloud, machine, call)}


@command(
    "listVirtualMachines",
    "id ids* name state networkid=networks zoneid=zones groupid affinitygroupid=groups templateid=templates tags[] "
    "details* userdata?@4.18 displayvm? hypervisor hostid podid serviceofferingid=service_offerings haenable? isoid "
    f"forvirtualnetwork? keypair userdataid@4.18 accumulate? {PAGING}",
)
def list_machines(cloud: Cloud, call: Call) -> Body:
    if call.args["id"] and call.args["ids"]:
        raise bad("Specify either id or ids but not both parameters")
    with_userdata = bool(call.args["userdata"])
    return listed(
        call, "virtualmachine", [views.machine(cloud, one, call, with_userdata) for one in _matching(cloud, call)]
    )


def _matching(cloud: Cloud, call: Call) -> Iterator[Machine]:
    args = call.args
    for one in cloud.state.machines.values():
        hidden = not one.present and not (call.account.admin or cloud.config.allow_user_view_destroyed)
        if (
            not one.removed
            and not hidden
            and call.sees(one.account)
            and args["id"] in (None, one.id)
            and (args["ids"] is None or one.id in args["ids"])
            and args["zoneid"] in (None, one.zoneid)
            and args["templateid"] in (None, one.templateid)
            and args["serviceofferingid"] in (None, one.offeringid)
            and args["groupid"] in (None, views.group_id(one))
            and (args["networkid"] is None or one.nic_on(args["networkid"]))
            and (args["affinitygroupid"] is None or args["affinitygroupid"] in one.affinity)
            and _named(cloud, one, args["name"])
            and _in_state(one, args["state"])
            and tagged(call, one.id)
            and worded(call, one.name, one.displayname)
        ):
            yield one


def _named(cloud: Cloud, machine: Machine, name: str | None) -> bool:
    """Old servers look for a part of the name, new ones for all of it."""
    if name is None:
        return True
    if cloud.config.since("4.13"):
        return machine.name == name
    return name.lower() in machine.name.lower() or name.lower() in machine.displayname.lower()


def _in_state(machine: Machine, state: str | None) -> bool:
    if state is None:
        return True
    return machine.present if state.lower() == "present" else machine.state.lower() == state.lower()
