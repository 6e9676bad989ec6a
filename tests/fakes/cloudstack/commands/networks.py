"""Guest networks."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from .. import networking, views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, tagged, worded
from ..model import Network, NetworkOffering, Zone
from ..registry import PAGING, Task, Work, command
from . import limits

Body = dict[str, Any]
_PRIVATE = [ipaddress.IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


@command(
    "createNetwork",
    "name! networkofferingid!=network_offerings zoneid!=zones displaytext gateway netmask startip endip networkdomain "
    "dns1@4.18 dns2@4.18 acltype projectid account domainid sourcenatipaddress@4.19 publicmtu#@4.18 privatemtu#@4.18 "
    "vlan routerip physicalnetworkid cidrsize#@4.20 displaynetwork?",
)
def create_network(cloud: Cloud, call: Call) -> Body:
    args, zone = call.args, cloud.state.zones[call.args["zoneid"]]
    offering = cloud.state.network_offerings[args["networkofferingid"]]
    _check_offering(call, offering, zone)
    _check_names(cloud, call)
    gateway, cidr = _subnet(cloud, call, offering, zone)
    limits.require(cloud, call, network=1)
    number = list(cloud.state.accounts).index(call.account.id) + 2
    made = Network(
        cloud.new_id(),
        args["name"],
        args["displaytext"] or args["name"],
        call.account.id,
        zone.id,
        offering.id,
        offering.guestiptype,
        cidr,
        gateway,
        args["networkdomain"] or f"cs{number:x}{cloud.config.guest_domain_suffix}",
        dns1=args["dns1"],
        created=cloud.engine.now,
    )
    if args["vlan"] is not None:
        made.requested_vlan, made.state = int(args["vlan"].removeprefix("vlan://")), "Setup"
    cloud.state.networks[made.id] = made
    if offering.persistent:
        networking.implement_now(cloud, made)
    return {"network": views.network(cloud, made, call)}


def _check_offering(call: Call, offering: NetworkOffering, zone: Zone) -> None:
    vlan = call.args["vlan"]
    if offering.system:
        raise bad("Unable to find network offering by specified id")
    if offering.state != "Enabled":
        raise bad("Can't use specified network offering id as its state is not Enabled")
    if zone.networktype == "Basic" or (zone.securitygroups and offering.guestiptype == "Isolated"):
        raise bad("Only shared or L2 guest network can be created in security group enabled zone")
    if (vlan is not None or offering.specifyvlan or offering.guestiptype == "Shared") and not call.account.admin:
        raise bad("Only ROOT admin is allowed to specify vlanId or bypass vlan overlap check")
    if offering.specifyvlan and vlan is None:
        raise bad("Vlan has to be specified; corresponding offering says specifyVlan=true")
    if vlan is not None and not offering.specifyvlan:
        raise bad("Can't specify vlan; corresponding offering says specifyVlan=false")
    if offering.networkmode == "ROUTED":
        raise bad("Routed network is not enabled in this zone")


def _check_names(cloud: Cloud, call: Call) -> None:
    name, domain = call.args["name"], call.args["networkdomain"]
    same = (one for one in cloud.state.networks.values() if one.account == call.account.id and not one.removed)
    if not cloud.config.duplicate_network_names and any(one.name == name for one in same):
        raise bad(f"Another network with same name already exists within account: {call.account.name}")
    if domain is not None and (len(domain) > 190 or not _DOMAIN.fullmatch(domain)):
        raise bad(
            "Invalid network domain. Total length shouldn't exceed 190 chars. Each domain label must be between 1 and "
            "63 characters long"
        )


def _subnet(cloud: Cloud, call: Call, offering: NetworkOffering, zone: Zone) -> tuple[str, str]:
    """Gateway and CIDR."""
    args = call.args
    gateway, netmask = args["gateway"], args["netmask"]
    if (args["startip"] or args["endip"]) and not (gateway and netmask):
        raise bad("gateway and netmask should be defined when startIP/endIP are passed in")
    if gateway is None and netmask is None:
        if offering.guestiptype == "Isolated" and "SourceNat" not in offering.services:
            raise bad(
                "gateway/netmask are required when create network of type Isolated with service SourceNat disabled"
            )
        subnet = ipaddress.IPv4Network(zone.guestcidr)
        return str(next(subnet.hosts())), str(subnet)
    address = _ip(gateway, "Invalid gateway")
    try:
        subnet = ipaddress.IPv4Network(f"{gateway}/{netmask}", strict=False)
    except ValueError:
        raise bad("Invalid netmask") from None
    for name in ("startip", "endip"):
        if args[name] and _ip(args[name], f"Invalid {name}") not in subnet:
            raise bad(f"{name} {args[name]} is not in the network {subnet}")
    if address in (subnet.network_address, subnet.broadcast_address):
        raise bad("Invalid gateway IP provided. Either the IP is broadcast or network IP.")
    if not cloud.config.allow_public_cidrs and not any(subnet.subnet_of(one) for one in _PRIVATE):
        raise bad(f"Virtual Guest Cidr {subnet} is not RFC 1918 or 6598 compliant")
    if subnet.prefixlen < cloud.config.cidr_limit and not call.account.admin:
        raise bad(f"Cidr size can't be less than {cloud.config.cidr_limit}")
    return str(address), str(subnet)


def _ip(text: str | None, refusal: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text or "")
    except ValueError:
        raise bad(refusal) from None


@command(
    "listNetworks",
    "id name@4.22.0 zoneid=zones type networkfilter@4.17 canusefordeploy? forvpc? networkofferingid@4.17 "
    f"supportedservices* tags[] issystem? acltype physicalnetworkid traffictype restartrequired? {PAGING}",
)
def list_networks(cloud: Cloud, call: Call) -> Body:
    args, rows = call.args, []
    kind = (args["type"] or "all").lower()
    for one in cloud.state.networks.values():
        offering = cloud.state.network_offerings[one.offeringid]
        if (
            not one.removed
            and (call.sees(one.account) or one.shared)
            and args["id"] in (None, one.id)
            and args["name"] in (None, one.name)
            and args["zoneid"] in (None, one.zoneid)
            and args["networkofferingid"] in (None, one.offeringid)
            and kind in ("all", one.kind.lower())
            and set(args["supportedservices"] or []) <= set(offering.services)
            and not args["issystem"]
            and (args["acltype"] or "").lower() in ("", "domain" if one.shared else "account")
            and tagged(call, one.id)
            and worded(call, one.name)
        ):
            rows.append(views.network(cloud, one, call))
    return listed(call, "network", rows)


def _network(cloud: Cloud, call: Call) -> Network:
    made: Network = call.own("networks", call.args["id"])
    if made.removed:
        raise bad(f"Network ID={list(cloud.state.networks).index(made.id) + 200} doesn't exist")
    return made


@command("deleteNetwork", "id!=networks forced?", form="async")
def delete_network(cloud: Cloud, call: Call) -> Task:
    network = _network(cloud, call)
    if call.args["forced"] and not call.account.admin:
        raise ApiError(531, "Delete network with 'forced' option can only be called by root admins")
    return Task(networking.deleted(cloud, network), f"network:{network.id}", "Network", network.id)


@command("restartNetwork", "id!=networks cleanup? makeredundant? livepatch?@4.17", form="async")
def restart_network(cloud: Cloud, call: Call) -> Task:
    network = _network(cloud, call)

    def work() -> Work:
        yield cloud.delay("restartNetwork")
        if network.state not in ("Implemented", "Setup"):
            raise bad("Network is not in the right state to be restarted. Correct states are: Implemented, Setup")
        return None

    return Task(work(), f"network:{network.id}", "Network", network.id)
