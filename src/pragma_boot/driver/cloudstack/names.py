"""How our objects are named and tagged in a cloud (cloudstack.md c.2, 7). Pure, but for the machine's own id."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from pragma_boot.model import ClusterName, NodeName, Role

CLUSTER, OWNER, ROLE = "pragma.cluster", "pragma.owner", "pragma.role"
IMAGE, OUTSIDE, PENDING = "pragma.image", "pragma.address", "pragma.pending-delete"
"""Tags. OUTSIDE, on a frontend: its address, and its ports that lead to others: ``203.0.113.9 22=20022,80=20080``."""

PRIVATE_NET, PUBLIC_NET, PUBLIC_IP = "private-net", "public-net", "public-ip"
"""Values of ROLE beside the nodes' roles."""

PUBLIC = "public"
"""The network that all clusters of an account share, as ever."""

REFUSED = r".{51,}"
"""Cluster names that leave no room: a node's host name has 63 characters at most."""

DOCUMENT = 24576
"""Bytes of a document that clouds hand out, by default: 32768 in base64."""

_NAMESPACE = uuid.UUID("8a4c1f0e-5f3b-4d0c-9a41-3c2f6f7a9d11")
_MOST_PORTS = 19
_PORTS = re.compile(r"(?:^|,)(\d{1,5})=(\d{1,5})(?=,|$)")
_COMPUTE = re.compile(r"(.+)-(compute-\d+)")


def owner_of(site: Path) -> str:
    """Who owns what this site makes: the same for one machine and one state folder, also when that was lost."""
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    return str(uuid.uuid5(_NAMESPACE, f"{machine}\0{site}"))


def host_name(cluster: ClusterName, node: NodeName) -> str:
    """A node's name in the cloud: names are held once in a network, at some sites in an account."""
    return str(cluster) if str(node) == cluster else f"{cluster}-{node}"


def node_of(cluster: ClusterName, name: str) -> NodeName | None:
    """The node that a machine of that name is; None when it is none of the cluster."""
    if name == cluster:
        return NodeName(cluster)
    match = _COMPUTE.fullmatch(name)
    return NodeName(match[2]) if match and match[1] == cluster else None


def role_of(node: NodeName, cluster: ClusterName) -> Role:
    """The role that a node's name tells."""
    return Role.FRONTEND if str(node) == cluster else Role.COMPUTE


def marks(cluster: ClusterName, owner: str, role: str, **more: str) -> list[dict[str, str]]:
    """The tags of an object, as createTags takes them; *more*: by the tags' names with ``_`` for a dot."""
    pairs = {CLUSTER: str(cluster), OWNER: owner, ROLE: role}
    pairs |= {name.replace("_", "."): value for name, value in more.items() if value}
    return [{"key": key, "value": value} for key, value in pairs.items()]


def place(ip: IPv4Address, ports: Mapping[int, int]) -> str:
    """The value of OUTSIDE; a tag has 255 characters at most, which is enough for nineteen ports."""
    pairs = [f"{inner}={outer}" for inner, outer in sorted(ports.items())]
    return f"{ip} {','.join(pairs[:_MOST_PORTS])}".strip()


def placed(text: str) -> tuple[IPv4Address | None, dict[int, int]]:
    """What `place` wrote; nothing of it is believed that does not look so."""
    ip, _, pairs = text.partition(" ")
    found = {int(pair[1]): int(pair[2]) for pair in _PORTS.finditer(pairs)}
    try:
        return IPv4Address(ip), found
    except ValueError:
        return None, {}


def is_ours(tags: Mapping[str, str], cluster: ClusterName, owner: str) -> bool:
    """Whether an object's tags say that it is this site's, and of this cluster: lists match any one tag alone."""
    return tags.get(CLUSTER) == cluster and tags.get(OWNER) == owner
