"""The networks of clusters and of the site, as libvirt keeps them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from types import ModuleType
from typing import Any

from pragma_boot.config.settings import PublicNetwork
from pragma_boot.driver.libvirt import marks
from pragma_boot.driver.libvirt.connection import Connection, explained
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.errors import DriverError
from pragma_boot.model import ClusterName

_GONE = ("VIR_ERR_NO_NETWORK",)
_STOPPED = ("VIR_ERR_NO_NETWORK", "VIR_ERR_OPERATION_INVALID")


def ensure_private(connection: Connection, wanted: Marks) -> None:
    """The private network of a cluster exists and is active afterwards; idempotent.

    One that is left over with another VLAN is replaced. Raises DriverError, also when the name is taken by a network
    that is not ours.
    """
    name = marks.network_name(wanted.cluster)
    found = _find(connection, name)
    if found is not None:
        _check_ours(wanted.site, found)
        if _bridge(found) != marks.bridge_name(wanted.vlan or 0):
            _remove(found)  # no matter if somebody just did
            found = None
    if found is None:
        with explained(f"create the network {name}"):
            found = connection.networkDefineXML(_documents().private_network_xml(wanted))
    activate(found)


def ensure_public(connection: Connection, site: str, public: PublicNetwork, gateway: IPv4Interface) -> bool:
    """The site's NAT network exists, is active and starts with the host; idempotent. True when it was made just now.

    Nothing is done for a bridge. A network of that name with another address is an error: it may be in use.
    """
    if public.kind != "nat":
        return False
    found = _find(connection, public.name)
    addresses = None if found is None else _addresses(found)
    if addresses is None:
        with explained(f"create the network {public.name}"):
            found = connection.networkDefineXML(_documents().nat_network_xml(site, public.name, gateway))
            found.setAutostart(True)
    elif gateway not in addresses:
        raise wrong_gateway(public.name, gateway)
    activate(found)
    return addresses is None


def remove_public(connection: Connection, site: str, public: PublicNetwork) -> bool:
    """Remove the NAT network, if it is one that *site* made; idempotent. True when it was there."""
    found = _find(connection, public.name) if public.kind == "nat" else None
    if found is None or found.UUIDString() != marks.uuid_of(site, public.name):
        return False
    _remove(found)
    return True


def public_address(connection: Connection, name: str) -> set[IPv4Interface] | None:
    """The host's addresses in the libvirt network *name*; None when there is no such network."""
    found = _find(connection, name)
    return None if found is None else _addresses(found)


def remove_private(connection: Connection, site: str, cluster: ClusterName) -> None:
    """Stop and forget the private network of a cluster; no error when there is none, or one that is not ours."""
    found = _find(connection, marks.network_name(cluster))
    if found is not None and marks.cluster_of(site, found.name(), found.UUIDString()) == cluster:
        _remove(found)


def clusters(connection: Connection, site: str) -> set[ClusterName]:
    """All clusters of *site* that have a private network; one question to libvirt."""
    with explained("list the networks"):
        listed = connection.listAllNetworks()
    found = (marks.cluster_of(site, network.name(), network.UUIDString()) for network in listed)
    return {cluster for cluster in found if cluster}


def marks_and_addresses(connection: Connection) -> tuple[list[Marks], set[IPv4Address]]:
    """The metadata of all sites' networks, and every address that some network of the host uses or hands out."""
    with explained("list the networks"):
        listed = connection.listAllNetworks()
    found: list[Marks] = []
    taken: set[IPv4Address] = set()
    for network in listed:
        with explained("read a network", ignore=_STOPPED):
            root = _document(network)
            mine = marks.parse(root.find(f"metadata/{{{marks.URI}}}cluster"))
            if mine and marks.cluster_of(mine.site, network.name(), network.UUIDString()):
                found.append(mine)
            taken |= {interface.ip for interface in _addresses_in(root)}
            taken |= {IPv4Address(host.get("ip")) for host in root.iterfind("ip/dhcp/host[@ip]") if _is_v4(host)}
            if root.find("ip/dhcp") is not None:  # none of ours: spares a question for each
                taken |= {IPv4Address(lease["ipaddr"]) for lease in network.DHCPLeases() if lease["type"] == 0}
    return found, taken


def wrong_gateway(name: str, gateway: IPv4Interface) -> DriverError:
    """The error for a network of our public network's name that has another address."""
    return DriverError(
        f"the libvirt network {name} exists, but the host is not {gateway} in it",
        resolution="set gw and netmask to its own, or give public_network another name in libvirt.conf",
    )


def _documents() -> ModuleType:
    """The builder of documents; listing clusters does without it."""
    from pragma_boot.driver.libvirt import documents  # noqa: PLC0415

    return documents


def _find(connection: Connection, name: str) -> Any:
    with explained(f"look for the network {name}", ignore=_GONE):
        return connection.networkLookupByName(name)
    return None


def _check_ours(site: str, network: Any) -> None:
    name = network.name()
    if network.UUIDString() != marks.uuid_of(site, name):
        raise DriverError(
            f"a network {name} exists that this site did not make",
            resolution=f"choose another cluster name, or remove it: virsh net-undefine {name}",
        )


def activate(network: Any) -> None:
    """Start the network unless it runs; that another process does so meanwhile is no error."""
    for ignored in (("VIR_ERR_OPERATION_INVALID",), ()):
        with explained(f"start the network {network.name()}", ignore=ignored):
            if not network.isActive():
                network.create()
            return


def _remove(network: Any) -> None:
    with explained(f"stop the network {network.name()}", ignore=_STOPPED):
        network.destroy()
    with explained(f"remove the network {network.name()}", ignore=_GONE):
        network.undefine()


def _document(network: Any) -> Any:
    from lxml import etree  # noqa: PLC0415 - listing clusters does without it

    return etree.fromstring(network.XMLDesc())


def _bridge(network: Any) -> str | None:
    """The name of the network's bridge; None when the network is gone."""
    with explained(f"read the network {network.name()}", ignore=_GONE):
        return str(_document(network).find("bridge").get("name"))
    return None


def _addresses(network: Any) -> set[IPv4Interface] | None:
    """The host's addresses in the network; None when it is gone."""
    with explained(f"read the network {network.name()}", ignore=_GONE):
        return _addresses_in(_document(network))
    return None


def _addresses_in(root: Any) -> set[IPv4Interface]:
    nodes = [node for node in root.iterfind("ip") if node.get("family", "ipv4") == "ipv4"]
    return {IPv4Interface(f"{node.get('address')}/{node.get('prefix') or node.get('netmask') or 32}") for node in nodes}


def _is_v4(host: Any) -> bool:
    return ":" not in host.get("ip")
