"""What deployVirtualMachine checks before it makes anything, in the words of the server."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote

from .. import networking
from ..cloud import Call, Cloud
from ..errors import bad
from ..model import Network, ServiceOffering, Template

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SIZES = {"cpuNumber", "cpuSpeed", "memory"}
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]*=*\s*")
NAME_RULE = (
    "Invalid name. Vm name can contain ASCII letters 'a' through 'z', the digits '0' through '9', and the hyphen "
    "('-'), must be between 1 and 63 characters long, and can't start or end with \"-\" and can't start with digit"
)


@dataclass(frozen=True)
class Wish:
    """One NIC to be: its network, and what it shall have."""

    network: Network
    ip: str | None = None
    mac: str | None = None


def template(cloud: Cloud, call: Call) -> Template:
    found: Template = cloud.state.templates[call.args["templateid"]]
    allowed = found.public or found.account == call.account.id or call.account.id in found.shared_with
    ready_at = found.zones.get(call.args["zoneid"])
    if found.removed or not allowed or ready_at is None or ready_at > cloud.clock.now() or found.failure:
        raise bad(f"The template {found.name} is not available for use")
    wanted = call.args["hypervisor"]
    if wanted is not None and wanted.lower() != found.hypervisor.lower():
        raise bad("Hypervisor passed to the deployVm call, is different from the hypervisor type of the Template")
    return found


def sizes(offering: ServiceOffering, details: dict[str, str]) -> tuple[int, int, int]:
    """Processors, MHz and MB of a machine of *offering*."""
    if offering.state != "Active":
        raise bad(f"Service offering is inactive: [{offering.id}].")
    given = {key: _number(details[key]) for key in _SIZES & set(details)}
    if not offering.custom:
        if given:
            raise bad("cpuNumber or cpuSpeed or memory should not be specified for static service offering")
        assert offering.cpus and offering.speed and offering.memory
        return offering.cpus, offering.speed, offering.memory
    if not given and offering.speed is None:
        raise bad("Need to specify custom parameter values cpu, cpu speed and memory when using custom offering")
    cpus, speed, memory = given.get("cpuNumber", 0), given.get("cpuSpeed", 0), given.get("memory", 0)
    least, most = offering.cpu_range or [1, 2147483647]
    if not least <= cpus <= most:
        raise bad(f"Invalid CPU cores value, specify a value between {least} and {most}")
    if offering.speed is not None and "cpuSpeed" in given:
        raise bad(
            f"The CPU speed of this offering id:{offering.id} is not customizable. This is predefined as "
            f"{offering.speed} MHz."
        )
    if offering.speed is None and speed <= 0:
        raise bad("Invalid CPU speed value, specify a value between 1 and 2147483647")
    least, most = offering.memory_range or [32, 2147483647]
    if not least <= memory <= most:
        raise bad(f"Invalid memory value, specify a value between {least} and {most}")
    return cpus, offering.speed or speed, memory


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d+", text) else 0


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise bad(NAME_RULE)


def check_unique(cloud: Cloud, call: Call, name: str, networks: list[Network], itself: str | None = None) -> None:
    """Destroyed machines that are not expunged still count."""
    scope = cloud.config.distinct_hostname_scope
    for one in cloud.state.machines.values():
        if one.removed or one.id == itself or one.name.lower() != name.lower():
            continue
        shared = next((network for network in networks if one.nic_on(network.id)), None)
        if shared is not None:
            raise bad(
                f"The vm with hostName {name} already exists in the network domain: {shared.domain}; "
                f"network={shared.name}"
            )
        if scope == "global" or (scope in ("account", "domain") and one.account == call.account.id):
            raise bad(f"There already exists a VM by the name: {name}.")


def wishes(cloud: Cloud, call: Call) -> list[Wish]:
    """The NICs that are asked for, the default one first."""
    args, entries = call.args, call.args.entries("iptonetworklist")
    if entries and args["ipaddress"] is not None:
        raise bad("NetworkIds and ipAddress can't be specified along with ipToNetworkMap parameter")
    if entries and args["networkids"] is not None:
        raise bad("ipToNetworkMap can't be specified along with networkIds or ipAddress")
    if entries:
        made = [Wish(_usable(cloud, call, one.get("networkid", "")), one.get("ip"), one.get("mac")) for one in entries]
    elif args["networkids"]:
        made = [Wish(_usable(cloud, call, ident)) for ident in args["networkids"]]
        made[0] = Wish(made[0].network, args["ipaddress"], args["macaddress"])
    else:
        made = [Wish(_only(cloud, call), args["ipaddress"], args["macaddress"])]
    if len({one.network.id for one in made}) != len(made):
        raise bad("Same network cannot be specified more than once")
    return made


def _only(cloud: Cloud, call: Call) -> Network:
    own = [
        one
        for one in cloud.state.networks.values()
        if one.account == call.account.id
        and one.zoneid == call.args["zoneid"]
        and one.kind == "Isolated"
        and not one.removed
    ]
    if len(own) > 1:
        raise bad(
            f"More than 1 default Isolated networks are found for Account {call.account.name}; please specify "
            "networkIds"
        )
    if not own:
        raise bad("No default Isolated network is found; please specify networkIds")
    return own[0]


def _usable(cloud: Cloud, call: Call, ident: str) -> Network:
    found = cloud.state.networks.get(ident)
    if found is None or found.removed:
        raise bad(f"Unable to find network by id {ident}")
    if found.zoneid != call.args["zoneid"]:
        raise bad(f"Network id={ident} doesn't belong to zone {call.args['zoneid']}")
    if not found.shared:
        call.own("networks", ident)
    return found


def userdata(cloud: Cloud, call: Call) -> str | None:
    """The user data as it is kept: repaired, still in base64; None: not given."""
    args = call.args
    text: str | None = args["userdata"]
    if text is not None and args["userdataid"] is not None:
        raise bad("Both userdata and userdata ID inputs are not allowed, please provide only one")
    if args["userdataid"] is not None:
        return str(call.own("userdata", args["userdataid"]).userdata)
    if text is None:
        return None
    if "%" in text:
        text = unquote(text)
    if call.method == "GET" and len(text) > 4096:
        raise bad("User data is too long for http GET request")
    if len(text) > cloud.config.userdata_max:
        raise bad(f"User data has exceeded configurable max length: {cloud.config.userdata_max}")
    return checked_base64(text)


def checked_base64(text: str) -> str:
    bare = text.strip()
    try:
        if not _BASE64.fullmatch(bare):
            raise binascii.Error("not in the alphabet")
        padded = bare + "=" * (-len(bare) % 4)
        base64.b64decode(padded, validate=False)
    except binascii.Error:
        raise bad("User data is not base64 encoded.") from None
    return padded


def check_services(cloud: Cloud, network: Network, *, has_userdata: bool, keys: bool) -> None:
    """The default network brings user data and keys to the machine."""
    if "UserData" in cloud.state.network_offerings[network.offeringid].services:
        return
    for wanted, what in ((has_userdata, "UserData"), (keys, "SSH keypair")):
        if wanted:
            raise bad(
                f"Unable to deploy VM as {what} is provided while deploying the VM, but there is no support for "
                f"UserData service in the default network {network.name}/{network.id}."
            )


def keypairs(cloud: Cloud, call: Call) -> list[str]:
    wanted = call.args["keypairs"] or ([call.args["keypair"]] if call.args["keypair"] else [])
    own = {one.name for one in cloud.state.keypairs.values() if one.account == call.account.id}
    if set(wanted) - own:
        raise bad("Not all specified keypairs exist")
    return list(wanted)


def affinity(cloud: Cloud, call: Call) -> list[str]:
    ids, names = call.args["affinitygroupids"], call.args["affinitygroupnames"]
    if ids and names:
        raise bad("affinitygroupids parameter is mutually exclusive with affinitygroupnames parameter")
    if ids:
        return [call.own("groups", one).id for one in ids]
    own = {
        one.name: one.id for one in cloud.state.groups.values() if one.account == call.account.id and not one.removed
    }
    for name in names or []:
        if name not in own:
            raise bad(f"Unable to find affinity group by name {name}")
    return [own[name] for name in names or []]


def check_storage(cloud: Cloud, zoneid: str, size: int) -> None:
    held = sum(one.rootsize for one in cloud.state.machines.values() if one.zoneid == zoneid and not one.removed)
    if held + size > cloud.state.zones[zoneid].storage:
        raise networking.shortage(cloud, "There are no available pools in the UP state for vm deployment")
