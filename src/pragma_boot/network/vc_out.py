"""Write vc-out.xml: the one form that every known consumer accepts (guest.md 3.3 and 3.4).

Both the old places (`public@fqdn`, `node@ip`) and the new ones (`frontend@fqdn`, NIC children) are filled; below
`<frontend>`, `<compute>` and `<node>` stands nothing but NICs, because consumers take every child there for one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pragma_boot.errors import UsageError
from pragma_boot.model import PRIVATE, PUBLIC, Access, Allocation, Nic, NodeAllocation, Overlay, OverlayMember, Role

if TYPE_CHECKING:
    from lxml.etree import _Element

_TAG = re.compile(r"[a-z][a-z0-9_]*")
_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'


def document(allocation: Allocation, node: NodeAllocation, keys: Sequence[str], access: Access | None = None) -> bytes:
    """The vc-out document of one node: ASCII, LF, a frontend's or a compute node's by its role.

    keys: authorized_keys lines; with none there is no `<key>` (an empty one crashes consumers).
    access: given where no disk is edited and all that the node gets has to be in the document: then `<pragma>` also
    has every node's names, addresses and public host key, this node's private one, and on a frontend the cluster's
    private key, for our agent (docs/guest-agent.md). Such a document is a secret; the keys of *access* come with it,
    so *keys* may be left empty.

    The file that holds it is to be 0600: other parts of the site may put secrets into it.

    Raises UsageError for a network whose name cannot be an XML tag, or that a node is on twice.
    """
    from lxml import etree  # noqa: PLC0415 - slow to import

    for member in allocation.nodes:
        _check(member)
    root = etree.Element("vc", version="2.0")
    if node.role is Role.FRONTEND:
        _frontend(root, allocation)
    else:
        _compute(root, allocation, node)
    network = _add(root, "network")
    dns = allocation.dns or (allocation.frontend.nic(PRIVATE).address.ip,)  # never empty: rule 6
    _add(network, "dns", ip=",".join(map(str, dns)), search="local", domain="")
    lines = dict.fromkeys((*keys, *((*access.user_keys, access.cluster.public) if access else ())))
    if lines:
        _add(root, "key").text = "\n".join(lines)
    etree.indent(root)
    extension = _add(root, "pragma", version="1")
    _add(extension, "cluster", name=allocation.cluster)
    if node.role is Role.FRONTEND:
        _add(extension, "nat", enabled="yes" if allocation.computes else "no")
    if allocation.overlay:
        _overlay(extension, allocation.overlay, allocation.overlay.members[node.name])
    if access:
        _members(extension, allocation, node, access)
    root[-2].tail, extension.tail = "\n  ", "\n"
    return _DECLARATION + etree.tostring(root, encoding="us-ascii", xml_declaration=False) + b"\n"


def _frontend(root: _Element, allocation: Allocation) -> None:
    frontend = allocation.frontend
    gateway = str(next((nic.gateway for nic in frontend.nics if nic.gateway), ""))
    names = {"fqdn": allocation.fqdn, "name": str(frontend.name), "gw": gateway}
    element = _add(root, "frontend", **names)
    for nic in frontend.nics:
        _nic(element, nic, **(names if nic.network == PUBLIC else {}))
    computes = _add(root, "compute", count=str(len(allocation.computes)))
    home = str(frontend.nic(PRIVATE).address.ip)
    for node in allocation.computes:
        private = node.nic(PRIVATE)
        about = {"name": str(node.name), "cpus": str(node.cpus), "gw": home}
        entry = _add(computes, "node", **about, ip=str(private.address.ip), mac=private.mac.lower())
        for nic in node.nics:
            _nic(entry, nic)


def _compute(root: _Element, allocation: Allocation, node: NodeAllocation) -> None:
    frontend = _add(root, "frontend", fqdn=allocation.fqdn, name=str(allocation.frontend.name))
    _add(frontend, "public", fqdn=allocation.fqdn)
    home = str(allocation.frontend.nic(PRIVATE).address.ip)  # route, resolver and frontend to consumers: guest.md 3.2
    element = _add(root, "compute", name=str(node.name), gw=home, cpus=str(node.cpus))
    for nic in node.nics:
        _nic(element, nic, **({"fqdn": str(node.name), "gw": home} if nic.network == PRIVATE else {}))


def _members(extension: _Element, allocation: Allocation, own: NodeAllocation, access: Access) -> None:
    """What offline preparation would put on the disk and old consumers have no place for."""
    for node in allocation.nodes:
        member = _add(extension, "node", name=str(node.name), role=str(node.role))
        if node.name in access.hosts:
            member.set("hostkey", " ".join(access.hosts[node.name].public.split()[:2]))
        if allocation.overlay:
            member.set("overlay", str(allocation.overlay.members[node.name].address.ip))
        if own.role is Role.COMPUTE:  # a frontend's document has them above
            member.set("cpus", str(node.cpus))
            for nic in node.nics:
                _add(member, nic.network, ip=str(nic.address.ip), netmask=str(nic.address.netmask))
    if own.name in access.hosts:
        _add(extension, "hostkey").text = access.hosts[own.name].private
    if allocation.overlay and own.role is Role.FRONTEND:
        names = allocation.overlay.names_key
        _add(extension, "nameskey", public=names.public).text = names.private
    cluster = _add(extension, "clusterkey", public=access.cluster.public)
    if own.role is Role.FRONTEND:
        cluster.text = access.cluster.private


def _overlay(extension: _Element, overlay: Overlay, member: OverlayMember) -> None:
    """The node's part in the overlay (guest.md 6.7): secret."""
    element = _add(
        extension,
        "overlay",
        type="wireguard",
        iface="wg0",
        address=str(member.address),
        mtu=str(overlay.mtu),
        hub=str(overlay.hub),
        **{"private-key": member.private_key},
        **({"port": str(member.port)} if member.port else {}),
    )
    for peer in member.peers:
        facts = {"public-key": peer.public_key, "preshared-key": peer.preshared_key, "allowed-ips": str(peer.allowed)}
        facts |= {"endpoint": peer.endpoint} if peer.endpoint else {}
        _add(element, "peer", **facts, **({"keepalive": str(peer.keepalive)} if peer.keepalive else {}))


def _nic(parent: _Element, nic: Nic, **more: str) -> None:
    address = nic.address
    _add(
        parent,
        nic.network,
        ip=str(address.ip),
        netmask=str(address.netmask),
        mac=nic.mac.lower(),
        mtu=str(nic.mtu),
        subnet=str(address.network.network_address),
        **more,
    )


def _add(parent: _Element, tag: str, **attributes: str) -> _Element:
    from lxml import etree  # noqa: PLC0415

    element = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        element.set(name, value)
    return element


def _check(node: NodeAllocation) -> None:
    tags = [nic.network for nic in node.nics]
    wrong = next((tag for tag in tags if not _TAG.fullmatch(tag) or tags.count(tag) > 1), None)
    if wrong is None and node.role is Role.COMPUTE and PUBLIC in tags:
        wrong = PUBLIC  # consumers would write the alias "None" into /etc/hosts: rule 4
    if wrong is not None:
        raise UsageError(
            f"{wrong!r} cannot be a network of {node.name}",
            resolution="name each network once, with a-z, 0-9 and '_', a letter first; no compute node is on 'public'",
        )
