"""Port forwarding, firewall and egress rules."""

from __future__ import annotations

import ipaddress
from typing import Any

from .. import networking, views
from ..cloud import Call, Cloud
from ..errors import ApiError, bad
from ..listing import listed, tagged
from ..model import Address, Network, Rule
from ..registry import PAGING, Task, Work, command
from .addresses import held

Body = dict[str, Any]
KEYS = {"pf": "portforwardingrule", "fw": "firewallrule", "egress": "firewallrule"}


def _rules(cloud: Cloud, kind: str) -> list[Rule]:
    return [one for one in cloud.state.rules.values() if one.kind == kind and not one.removed]


def _made(cloud: Cloud, call: Call, rule: Rule, network: Network, *more: Rule) -> Task:
    """The rows are there at once, in state Add; the job makes them Active."""
    for one in (rule, *more):
        cloud.state.rules[one.id] = one

    def work() -> Work:
        try:
            yield cloud.delay(call.command.name)
        except ApiError:
            for one in (rule, *more):
                networking.forget_rule(cloud, one.id)
            raise
        for one in (rule, *more):
            one.state = "Active"
        return {KEYS[rule.kind]: views.rule(cloud, rule)}

    return Task(work(), f"network:{network.id}", "FirewallRule", rule.id)


def _conflict(cloud: Cloud, address: Address, kind: str, protocol: str, start: int, end: int) -> None:
    for one in _rules(cloud, kind):
        if one.addressid != address.id or one.protocol != protocol or one.start is None or one.end is None:
            continue
        if one.start <= end and start <= one.end:
            raise ApiError(
                537,
                f"The range specified, {start}-{end}, conflicts with rule {one.id} which has {one.start}-{one.end}",
            )


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise bad(f"Invalid port {value}: it must be between 1 and 65535")
    return value


@command(
    "createPortForwardingRule",
    "ipaddressid!=addresses privateport!# protocol! publicport!# virtualmachineid!=machines publicendport# "
    "privateendport# openfirewall? networkid=networks vmguestip cidrlist* fordisplay?",
    form="create",
)
def create_forwarding(cloud: Cloud, call: Call) -> Task:
    args = call.args
    address, network = held(cloud, call)
    protocol = args["protocol"].lower()
    start, end = _port(args["publicport"]), _port(args["publicendport"] or args["publicport"])
    private, private_end = _port(args["privateport"]), _port(args["privateendport"] or args["privateport"])
    if protocol not in ("tcp", "udp"):
        raise bad(f"Invalid protocol: {protocol}")
    if end - start != private_end - private:
        raise bad("Source port and destination port ranges should be of equal sizes.")
    if end != start and start != private:
        raise bad("Port ranges of the public and the private side must be equal")
    if address.staticnat:
        raise bad(f"Unable to create port forwarding rule; ip {address.ip} has static nat enabled")
    machine = call.own("machines", args["virtualmachineid"])
    if not machine.present:
        raise bad(f"Invalid user vm: {machine.id}")
    nic = machine.nic_on(network.id)
    if nic is None:
        raise bad("Vm doesn't belong to network associated with ipAddress")
    _conflict(cloud, address, "pf", protocol, start, end)
    rule = Rule(
        cloud.new_id(), "pf", call.account.id, network.id, protocol, address.id, start, end, private, private_end,
        machine.id, nic.ip,
    )  # fmt: skip
    more: list[Rule] = []
    same = [one for one in _rules(cloud, "fw") if one.addressid == address.id and one.protocol == protocol]
    if args["openfirewall"] is not False and not any((one.start, one.end) == (start, end) for one in same):
        _conflict(cloud, address, "fw", protocol, start, end)
        more = [
            Rule(cloud.new_id(), "fw", call.account.id, network.id, protocol, address.id, start, end,
                 cidrs=["0.0.0.0/0"])
        ]  # fmt: skip
    return _made(cloud, call, rule, network, *more)


def _cidrs(texts: list[str]) -> list[str]:
    for text in texts:
        try:
            ipaddress.IPv4Network(text)
        except ValueError:
            raise bad(f"Source CIDRs formatting error {text}") from None
    return texts


def _ports(call: Call, protocol: str) -> tuple[int | None, int | None, list[int] | None]:
    """Start, end, [type, code] as they belong to *protocol*."""
    args = call.args
    start, end = args["startport"], args["endport"]
    if protocol == "icmp":
        if start is not None or end is not None:
            raise bad("Can't specify start/end port when protocol is ICMP")
        return None, None, [-1 if args[name] is None else args[name] for name in ("icmptype", "icmpcode")]
    if args["icmptype"] is not None or args["icmpcode"] is not None:
        raise bad("Can specify icmpCode and icmpType for ICMP protocol only")
    if start is None:
        return None, None, None
    return _port(start), _port(start if end is None else end), None


@command(
    "createFirewallRule",
    "ipaddressid!=addresses protocol! startport# endport# cidrlist* icmptype# icmpcode# type fordisplay?",
    form="create",
)
def create_firewall(cloud: Cloud, call: Call) -> Task:
    address, network = held(cloud, call)
    protocol = call.args["protocol"].lower()
    if protocol not in ("tcp", "udp", "icmp"):
        raise bad(f"Invalid protocol: {protocol}")
    start, end, icmp = _ports(call, protocol)
    cidrs = _cidrs(call.args["cidrlist"] or ["0.0.0.0/0"])
    same = [one for one in _rules(cloud, "fw") if one.addressid == address.id and one.protocol == protocol]
    if any(one.start is None and one.icmp == icmp for one in same) or (start is None and icmp is None and same):
        raise ApiError(537, f"There is already a firewall rule specified with protocol = {protocol} and no ports")
    if start is not None and end is not None:
        _conflict(cloud, address, "fw", protocol, start, end)
    rule = Rule(cloud.new_id(), "fw", call.account.id, network.id, protocol, address.id, start, end, cidrs=cidrs,
                icmp=icmp)  # fmt: skip
    return _made(cloud, call, rule, network)


@command(
    "createEgressFirewallRule",
    "networkid!=networks protocol! cidrlist* destcidrlist* startport# endport# icmptype# icmpcode# type fordisplay?",
    form="create",
)
def create_egress(cloud: Cloud, call: Call) -> Task:
    args = call.args
    network: Network = cloud.state.networks[args["networkid"]]
    if network.shared:
        raise bad("Egress firewall rules are not supported for Shared  networks")
    call.own("networks", network.id)
    protocol = args["protocol"].lower()
    if protocol not in ("tcp", "udp", "icmp", "all"):
        raise bad(f"Invalid protocol: {protocol}")
    if protocol == "all" and args["startport"] is not None:
        raise bad("Rule is invalid: ports must not be informed to protocol ALL rules")
    start, end, icmp = _ports(call, protocol)
    guest = ipaddress.IPv4Network(network.cidr)
    cidrs = []
    for text in _cidrs(args["cidrlist"] or ["0.0.0.0/0"]):
        if text != "0.0.0.0/0" and not ipaddress.IPv4Network(text).subnet_of(guest):
            raise bad(f"[{text}] is not within the guest CIDR [{guest}]. ")
        cidrs.append(str(guest) if text == "0.0.0.0/0" else text)
    destinations = _cidrs(args["destcidrlist"] or ["0.0.0.0/0"])
    for one in _rules(cloud, "egress"):
        if one.networkid == network.id and one.protocol == protocol:
            overlap = one.start is None or start is None or (one.start <= (end or start) and start <= (one.end or 0))
            if overlap and one.cidrs == cidrs and one.destinations == destinations:
                raise ApiError(
                    537, f"There is already a firewall rule specified with protocol = {protocol} and no ports"
                )
    rule = Rule(cloud.new_id(), "egress", call.account.id, network.id, protocol, None, start, end, cidrs=cidrs,
                destinations=destinations, icmp=icmp)  # fmt: skip
    return _made(cloud, call, rule, network)


def _deleted(cloud: Cloud, call: Call, kind: str) -> Task:
    rule: Rule = call.own("rules", call.args["id"])
    if rule.removed or rule.kind != kind:
        raise bad(f"Unable to find {'port forwarding' if kind == 'pf' else 'firewall'} rule {rule.id}")

    def work() -> Work:
        before, rule.state = rule.state, "Revoke"
        try:
            yield cloud.delay(call.command.name)
        except ApiError:
            rule.state = before
            raise
        if not rule.removed:
            networking.forget_rule(cloud, rule.id)
        return None

    return Task(work(), f"network:{rule.networkid}", "FirewallRule", rule.id)


@command("deletePortForwardingRule", "id!=rules", form="async")
def delete_forwarding(cloud: Cloud, call: Call) -> Task:
    return _deleted(cloud, call, "pf")


@command("deleteFirewallRule", "id!=rules", form="async")
def delete_firewall(cloud: Cloud, call: Call) -> Task:
    return _deleted(cloud, call, "fw")


@command("deleteEgressFirewallRule", "id!=rules", form="async")
def delete_egress(cloud: Cloud, call: Call) -> Task:
    return _deleted(cloud, call, "egress")


def _listed(cloud: Cloud, call: Call, kind: str) -> Body:
    args = call.args
    rows = [
        views.rule(cloud, one)
        for one in _rules(cloud, kind)
        if call.sees(one.account)
        and args["id"] in (None, one.id)
        and args["ipaddressid"] in (None, one.addressid)
        and args["networkid"] in (None, one.networkid)
        and tagged(call, one.id)
    ]
    return listed(call, KEYS[kind], rows)


@command("listPortForwardingRules", f"id ipaddressid networkid tags[] fordisplay? {PAGING}")
def list_forwardings(cloud: Cloud, call: Call) -> Body:
    return _listed(cloud, call, "pf")


@command("listFirewallRules", f"id ipaddressid networkid tags[] fordisplay? {PAGING}")
def list_firewalls(cloud: Cloud, call: Call) -> Body:
    return _listed(cloud, call, "fw")


@command("listEgressFirewallRules", f"id ipaddressid networkid tags[] fordisplay? {PAGING}")
def list_egresses(cloud: Cloud, call: Call) -> Body:
    return _listed(cloud, call, "egress")
