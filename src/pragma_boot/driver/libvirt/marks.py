"""What our domains and networks are called, and the metadata they carry; the site can be found again from these.

A name could be anybody's. What proves that a domain or network is ours is its UUID, which follows from its name and
the site that made it (the path of its state folder): it comes with every list, so that telling ours from others', and
from those of another site on the same host, costs no further question to libvirt.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from pragma_boot.model import ClusterName, NodeName, Role

if TYPE_CHECKING:
    from lxml.etree import _Element

URI = "urn:pragma-boot:metadata:1"
PREFIX = "pragma"

_NAMESPACE = uuid.UUID("5c1b7e0a-94d2-5f6e-8a3b-6d0f27c4e911")
_NETWORK = "pragma-{}-private"
_NOBODY = NodeName("")


@dataclass(frozen=True, slots=True)
class Marks:
    """The metadata of a domain or (without a node) of a cluster's network.

    extra: the node's address on each further network.
    """

    site: str
    cluster: ClusterName
    node: NodeName = _NOBODY
    role: str = ""
    image: str = ""
    fqdn: str = ""
    public_ip: IPv4Address | None = None
    vlan: int | None = None
    extra: tuple[tuple[str, IPv4Address], ...] = ()


def domain_name(cluster: ClusterName, node: NodeName) -> str:
    """``demo.frontend``, ``demo.compute-0``: cluster names have no dots, so this can be taken apart again."""
    return f"{cluster}.{Role.FRONTEND if str(node) == cluster else node}"


def network_name(cluster: ClusterName) -> str:
    """The libvirt network that is a cluster's private network."""
    return _NETWORK.format(cluster)


def bridge_name(vlan: int) -> str:
    """The bridge of a private network: ids are held once in a site, and it fits in a device name's 15 characters."""
    return f"pb{vlan}"


def uuid_of(site: str, name: str) -> str:
    """The UUID of the domain or network of that name, if it is *site*'s."""
    return str(uuid.uuid5(_NAMESPACE, f"{site}\0{name}"))


def node_of(site: str, name: str, identity: str) -> tuple[ClusterName, NodeName] | None:
    """Cluster and node of the domain called *name* with the UUID *identity*; None when it is not *site*'s."""
    cluster, dot, node = name.rpartition(".")
    if not dot or uuid_of(site, name) != identity:
        return None
    return ClusterName(cluster), NodeName(cluster if node == Role.FRONTEND else node)


def cluster_of(site: str, name: str, identity: str) -> ClusterName | None:
    """The cluster whose private network is called *name* with the UUID *identity*; None when it is not ours."""
    before, after = _NETWORK.split("{}")
    if not (name.startswith(before) and name.endswith(after)) or uuid_of(site, name) != identity:
        return None
    return ClusterName(name.removeprefix(before).removesuffix(after))


def role_of(cluster: ClusterName, node: NodeName) -> Role:
    """The frontend bears the cluster's name."""
    return Role.FRONTEND if str(node) == cluster else Role.COMPUTE


def element(marks: Marks) -> _Element:
    """The metadata as libvirt keeps it: one element in our namespace, everything in attributes."""
    from lxml import etree  # noqa: PLC0415 - only needed where documents are made

    values = {
        "site": marks.site,
        "cluster": marks.cluster,
        "node": marks.node,
        "role": marks.role,
        "image": marks.image,
        "fqdn": marks.fqdn,
        "public-ip": str(marks.public_ip or ""),
        "vlan": "" if marks.vlan is None else str(marks.vlan),
        "extra": " ".join(f"{network}={address}" for network, address in marks.extra),
    }
    given = {key: value for key, value in values.items() if value}
    return etree.Element(f"{{{URI}}}cluster", given, nsmap={PREFIX: URI})


def parse(found: _Element | None) -> Marks | None:
    """Read the metadata back; None when there is none. Attributes that make no sense are left out."""
    if found is None or not found.get("cluster"):
        return None
    vlan = found.get("vlan", "")
    return Marks(
        site=found.get("site", ""),
        cluster=ClusterName(found.get("cluster", "")),
        node=NodeName(found.get("node", "")),
        role=found.get("role", ""),
        image=found.get("image", ""),
        fqdn=found.get("fqdn", ""),
        public_ip=_address(found.get("public-ip", "")),
        vlan=int(vlan) if vlan.isdecimal() else None,
        extra=tuple(_extra(found.get("extra", ""))),
    )


def _extra(text: str) -> Iterator[tuple[str, IPv4Address]]:
    for word in text.split():
        network, _, given = word.partition("=")
        if address := _address(given):
            yield network, address


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
