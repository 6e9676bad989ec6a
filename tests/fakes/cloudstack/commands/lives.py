"""Virtual machines: switched on and off, destroyed, their NICs and keys changed."""

from __future__ import annotations

from .. import machines, networking, views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..model import Machine, Nic
from ..registry import Task, Work, command
from .machines import found, new_mac, with_password


def _task(machine: Machine, work: Work) -> Task:
    return Task(work, f"vm:{machine.id}", "VirtualMachine", machine.id, machine.name)


def _shown(cloud: Cloud, call: Call, machine: Machine) -> dict[str, object]:
    """Users no longer see what is destroyed."""
    hidden = not machine.present and not (call.account.admin or cloud.config.allow_user_view_destroyed)
    return {"virtualmachine": {} if hidden else views.machine(cloud, machine, call)}


@command(
    "startVirtualMachine", "id!=machines hostid podid clusterid considerlasthost?@4.19 bootintosetup?", form="async"
)
def start(cloud: Cloud, call: Call) -> Task:
    machine = found(call)

    def work() -> Work:
        yield 0.0
        if machine.state == "Running":
            raise bad(f"The virtual machine {machine.id} ({machine.name}) is already running")
        if machine.state != "Stopped":
            raise ApiError(530, f"Cannot start {machines.label(machine)} in {machine.state} state")
        yield from machines.started(cloud, machine, call.account.admin)
        return with_password(cloud, machine, views.machine(cloud, machine, call), True)

    return _task(machine, work())


@command("stopVirtualMachine", "id!=machines forced?", form="async")
def stop(cloud: Cloud, call: Call) -> Task:
    machine, forced = found(call), bool(call.args["forced"])

    def work() -> Work:
        yield 0.0
        if forced and not (cloud.config.allow_user_force_stop or call.account.admin):
            raise ApiError(530, "Account does not have the permission to force stop the vm.")
        if machine.state not in ("Running", "Stopped"):
            raise ApiError(530, f"Cannot stop {machines.label(machine)} in {machine.state} state")
        yield from machines.stopped(cloud, machine, forced)
        return _shown(cloud, call, machine)

    return _task(machine, work())


@command("rebootVirtualMachine", "id!=machines forced?@4.16 bootintosetup?", form="async")
def reboot(cloud: Cloud, call: Call) -> Task:
    machine = found(call)

    def work() -> Work:
        yield cloud.delay("rebootVirtualMachine")
        if machine.state != "Running":
            raise ApiError(530, f"The Instance {machine.id} ({machine.name}) is not running, unable to reboot it")
        yield from machines.stopped(cloud, machine, True)
        yield from machines.started(cloud, machine, call.account.admin)
        return _shown(cloud, call, machine)

    return _task(machine, work())


def _may_expunge(cloud: Cloud, call: Call) -> bool:
    return call.account.admin or cloud.config.allow_user_expunge


@command("destroyVirtualMachine", "id!=machines expunge?@4.2.1 volumeids*", form="async")
def destroy(cloud: Cloud, call: Call) -> Task:
    machine = found(call)

    def work() -> Work:
        if machine.delete_protection:
            yield 0.0
            raise ApiError(
                530,
                f"Instance [id = {machine.id}, name = {machine.name}] has delete protection enabled and cannot be "
                "deleted.",
            )
        yield from machines.destroyed(cloud, machine, bool(call.args["expunge"]), _may_expunge(cloud, call))
        return _shown(cloud, call, machine)

    return _task(machine, work())


@command("expungeVirtualMachine", "id!=machines", form="async")
def expunge(cloud: Cloud, call: Call) -> Task:
    machine = found(call)

    def work() -> Work:
        yield 0.0
        if not _may_expunge(cloud, call):
            raise ApiError(530, "Expunging a vm can only be done by an Admin. Or when the "
                                "allow.user.expunge.recover.vm key is set.")  # fmt: skip
        if machine.state not in ("Destroyed", "Error", "Expunging"):
            raise ApiError(530, f"Please destroy vm with specified id before expunging: {machine.id}")
        yield from machines.expunged(cloud, machine)
        return None

    return _task(machine, work())


@command("recoverVirtualMachine", "id!=machines")
def recover(cloud: Cloud, call: Call) -> dict[str, object]:
    machine = found(call)
    if not _may_expunge(cloud, call):
        raise ApiError(531, "Recovering a vm can only be done by an Admin. Or when the "
                            "allow.user.expunge.recover.vm key is set.")  # fmt: skip
    if machine.state != "Destroyed":
        raise bad("Instance is not in the right state")
    machine.state, machine.destroyed = "Stopped", None
    return _shown(cloud, call, machine)


def _steady(machine: Machine) -> None:
    if machine.state not in ("Running", "Stopped"):
        raise ApiError(530, f"instance is not Running or Stopped: {machine.state}")


@command("updateDefaultNicForVirtualMachine", "virtualmachineid!=machines nicid!", form="async")
def update_default_nic(cloud: Cloud, call: Call) -> Task:
    machine = found(call, "virtualmachineid")
    wanted = _nic(call, machine)

    def work() -> Work:
        yield cloud.delay("updateDefaultNicForVirtualMachine")
        _steady(machine)
        if wanted.default:
            raise bad("refusing to set default NIC because chosen NIC is already the default")
        for nic in machine.nics:
            nic.default = nic is wanted
        return _shown(cloud, call, machine)

    return _task(machine, work())


def _nic(call: Call, machine: Machine) -> Nic:
    for nic in machine.nics:
        if nic.id == call.args["nicid"]:
            return nic
    raise bad(
        f"Unable to execute API command {call.command.name.lower()} due to invalid value. Invalid parameter nicid "
        f"value={call.args['nicid']} due to incorrect long value format, or entity does not exist or due to incorrect "
        "parameter annotation for the field in api cmd class."
    )


@command(
    "addNicToVirtualMachine",
    "virtualmachineid!=machines networkid!=networks ipaddress macaddress dhcpoptions[]",
    form="async",
)
def add_nic(cloud: Cloud, call: Call) -> Task:
    machine, network = found(call, "virtualmachineid"), cloud.state.networks[call.args["networkid"]]
    if not network.shared:
        call.own("networks", network.id)

    def work() -> Work:
        yield cloud.delay("addNicToVirtualMachine")
        _steady(machine)
        if machine.nic_on(network.id):
            raise ApiError(530, f"A NIC already exists for VM:{machine.instance} in network: {network.id}")
        if machine.state == "Running":
            yield from networking.implement(cloud, network)
        if network.removed:
            raise ApiError(530, f"Unable to find network {network.id}")
        ip = networking.guest_ip(cloud, network, call.args["ipaddress"])
        device = max((nic.device for nic in machine.nics), default=-1) + 1
        mac = call.args["macaddress"] or new_mac(cloud)
        machine.nics.append(Nic(cloud.new_id(), network.id, ip, mac, not machine.nics, device))
        return _shown(cloud, call, machine)

    return _task(machine, work())


@command("removeNicFromVirtualMachine", "virtualmachineid!=machines nicid!", form="async")
def remove_nic(cloud: Cloud, call: Call) -> Task:
    machine = found(call, "virtualmachineid")
    wanted = _nic(call, machine)

    def work() -> Work:
        yield cloud.delay("removeNicFromVirtualMachine")
        _steady(machine)
        if wanted.default:
            raise ApiError(530, f"Unable to remove nic from {machines.label(machine)}, nic is default.")
        machine.nics.remove(wanted)
        return _shown(cloud, call, machine)

    return _task(machine, work())


@command(
    "resetSSHKeyForVirtualMachine",
    "id!=machines keypair keypairs*@4.17 account domainid projectid",
    form="async",
    key="resetSSHKeyforvirtualmachineresponse",
)
def reset_key(cloud: Cloud, call: Call) -> Task:
    machine = found(call)
    wanted = call.args["keypairs"] or ([call.args["keypair"]] if call.args["keypair"] else [])
    if not wanted:
        raise bad("'keypair' or 'keypairs' must be specified")
    if set(wanted) - {one.name for one in cloud.state.keypairs.values() if one.account == call.account.id}:
        raise bad("Not all specified keypairs exist")
    if machine.state != "Stopped":
        raise bad(f"Vm {machines.label(machine)} should be stopped to do SSH Key reset")

    def work() -> Work:
        yield cloud.delay("resetSSHKeyForVirtualMachine")
        machine.keypairs = list(wanted)
        return _shown(cloud, call, machine)

    return _task(machine, work())
