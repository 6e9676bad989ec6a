"""Public addresses and static NAT."""

from __future__ import annotations

from typing import Any

from .. import networking, views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, tagged, worded
from ..model import Address, Machine, Network
from ..registry import PAGING, Task, Work, command
from . import limits
from .machines import found

Body = dict[str, Any]


@command(
    "associateIpAddress",
    "networkid=networks vpcid zoneid=zones ipaddress isportable? regionid# fordisplay? account domainid projectid",
    form="create",
)
def associate(cloud: Cloud, call: Call) -> Task:
    network = _network(cloud, call)
    if network.shared:
        raise bad(
            "Associate IP address can only be called on the shared networks in the advanced zone with Firewall/Source "
            "Nat/Static Nat/Port Forwarding/Load balancing services enabled"
        )
    if cloud.config.version.startswith("4.12.0") and network.state == "Allocated":
        raise bad("Network is in allocated state, implement network first before acquiring an IP address")
    limits.require(cloud, call, public_ip=1)
    address = networking.take(cloud, network, call.account.id, call.args["ipaddress"])

    def work() -> Work:
        try:
            yield cloud.delay("associateIpAddress")
        except ApiError:
            networking.release(cloud, address)
            raise
        if address.state != "Allocating" or address.networkid != network.id:
            raise ApiError(530, f"Failed to associate ip address {address.ip}: network {network.name} is gone")
        address.state = "Allocated"
        return {"ipaddress": views.address(cloud, address)}

    return Task(work(), f"network:{network.id}", "IpAddress", address.id)


def _network(cloud: Cloud, call: Call) -> Network:
    args = call.args
    if args["networkid"] is not None:
        made = cloud.state.networks[args["networkid"]]
        if not made.shared:
            call.own("networks", made.id)
        if made.removed:
            raise bad("Unable to find network by network id specified")
        return made
    if args["zoneid"] is None:
        raise bad("Unable to figure out zone to assign ip to. Please specify either zoneId, or networkId, or vpcId")
    own = [
        one
        for one in cloud.state.networks.values()
        if one.account == call.account.id
        and one.zoneid == args["zoneid"]
        and one.kind == "Isolated"
        and not one.removed
    ]
    if len(own) > 1:
        raise bad("Account has more than one isolated Network in the zone")
    if not own:
        raise bad("Account doesn't have an isolated Network in the zone")
    return own[0]


@command("disassociateIpAddress", "id=addresses ipaddress@4.19 account domainid projectid", form="async")
def disassociate(cloud: Cloud, call: Call) -> Task:
    ident, wanted = call.args["id"], call.args["ipaddress"]
    if ident is None:
        ident = next((one.id for one in cloud.state.addresses.values() if one.ip == wanted), None)
    if ident is None:
        raise bad("Unable to execute API command disassociateipaddress due to missing parameter id")
    address: Address = call.own("addresses", ident)
    network = cloud.state.networks.get(address.networkid or "")

    def work() -> Work:
        yield cloud.delay("disassociateIpAddress")
        if address.state == "Free" or address.account != call.account.id:
            return None
        if address.sourcenat and network is not None and network.state != "Allocated":
            raise ApiError(530, "IP address is used for source nat purposes and can not be disassociated.")
        networking.release(cloud, address)
        return None

    return Task(work(), f"network:{network.id}" if network else None, "IpAddress", address.id)


@command(
    "listPublicIpAddresses",
    "id=addresses ipaddress associatednetworkid=networks networkid issourcenat? isstaticnat? allocatedonly? "
    "state zoneid=zones vpcid forvirtualnetwork? tags[] vlanid physicalnetworkid forloadbalancing? fordisplay? "
    f"retrieveonlyresourcecount? {PAGING}",
)
def list_addresses(cloud: Cloud, call: Call) -> Body:
    args, rows = call.args, []
    for one in cloud.state.addresses.values():
        free = one.state == "Free"
        if free and args["allocatedonly"] is not False and (args["state"] or "").lower() != "free":
            continue
        if (
            (free or call.sees(one.account))
            and args["id"] in (None, one.id)
            and args["ipaddress"] in (None, one.ip)
            and args["associatednetworkid"] in (None, one.networkid)
            and args["issourcenat"] in (None, one.sourcenat)
            and args["isstaticnat"] in (None, one.staticnat)
            and args["zoneid"] in (None, one.zoneid)
            and (args["state"] or one.state).lower() == one.state.lower()
            and args["vpcid"] is None
            and tagged(call, one.id)
            and worded(call, one.ip)
        ):
            rows.append(views.address(cloud, one))
    return listed(call, "publicipaddress", rows)


def held(cloud: Cloud, call: Call, name: str = "ipaddressid") -> tuple[Address, Network]:
    """The caller's address that a parameter names, and its network."""
    address: Address = call.own("addresses", call.args[name])
    if address.networkid is None:
        raise bad(
            f"Unable to create port forwarding rule for the ipAddress id={address.id} as ip is not associated with any "
            "network and no networkId is passed in"
            if call.command.name == "createPortForwardingRule"
            else f"Ip {address.ip} is not associated with any network"
        )
    return address, cloud.state.networks[address.networkid]


@command("enableStaticNat", "ipaddressid!=addresses virtualmachineid!=machines networkid=networks vmguestip")
def enable_static_nat(cloud: Cloud, call: Call) -> Body:
    address, network = held(cloud, call)
    machine = found(call, "virtualmachineid")
    nic = machine.nic_on(network.id)
    if address.sourcenat:
        raise bad(f"Can't enable static, ip address {address.ip} is a sourceNat ip address")
    if any(one.addressid == address.id and one.kind == "pf" and not one.removed for one in cloud.state.rules.values()):
        raise ApiError(
            537,
            f"Failed to enable static nat for the ip address {address.ip} as it already has PortForwarding rules "
            "assigned",
        )
    if nic is None or not machine.present:
        raise bad("Vm doesn't belong to the network with specified id")
    if "StaticNat" not in cloud.state.network_offerings[network.offeringid].services:
        raise bad(f"Failed to enable static nat: network {network.name} doesn't support the service StaticNat")
    if address.staticnat and address.vmid != machine.id:
        raise ApiError(537, f"Failed to enable static nat for the ip address {address.ip} as it is already assigned")
    _check_free(cloud, address, machine, nic.ip)
    address.staticnat, address.vmid, address.vmip = True, machine.id, nic.ip
    return {"success": True}


def _check_free(cloud: Cloud, address: Address, machine: Machine, ip: str | None) -> None:
    for other in cloud.state.addresses.values():
        if other is not address and other.staticnat and other.vmid == machine.id and other.vmip == ip:
            raise bad(
                f"Failed to enable static nat on the  ip {address.ip} with Id {address.id} as the vm "
                f"{machine.instance} with Id {machine.id} is already associated with another public ip {other.ip} with "
                f"id {other.id}"
            )


@command("disableStaticNat", "ipaddressid!=addresses", form="async")
def disable_static_nat(cloud: Cloud, call: Call) -> Task:
    address, network = held(cloud, call)
    if not address.staticnat:
        raise bad("Specified IP address id is not associated with any vm Id")

    def work() -> Work:
        yield cloud.delay("disableStaticNat")
        address.staticnat, address.vmid, address.vmip = False, None, None
        return None

    return Task(work(), f"network:{network.id}", "IpAddress", address.id)
