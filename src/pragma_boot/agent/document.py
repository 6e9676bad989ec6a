"""Read vc-out.xml of any version into the nouns that the renderer knows (guest.md 3.6). Untrusted: all is checked.

Values end in configuration files and scripts, so each has to be what it claims: addresses, MACs, names, keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from xml.etree import ElementTree

from pragma_boot.agent import overlays, values
from pragma_boot.errors import GuestError
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Access,
    Allocation,
    ClusterName,
    ImageName,
    KeyPair,
    Mac,
    Nic,
    NodeAllocation,
    NodeName,
    Role,
)

LIMIT = 1024 * 1024
"""A document may have that many bytes."""
_NODES = 4096
_DEPTH = 16
_TAG = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Document:
    """A node's document. notes: what was passed over in it, each a sentence for the log; never a secret."""

    allocation: Allocation
    node: NodeAllocation
    access: Access
    nat: bool
    notes: tuple[str, ...]


def parse(data: bytes) -> Document:
    """Read the document *data*.

    Raises GuestError when it is too large, no XML, has a DOCTYPE, is no `<vc>`, or says too little (or nonsense) of
    this node. What is wrong in its further parts (a key, an interface that is not the private one) is noted.
    """
    root = _tree(data)
    notes: list[str] = []
    reader = _Reader(root, notes)
    own = reader.compute() if reader.is_compute else reader.frontend()
    nodes = reader.members(own)
    frontend = nodes[0]
    allocation = Allocation(
        cluster=ClusterName(reader.cluster),
        image=ImageName(""),
        fqdn=reader.fqdn,
        public_ip=next((nic.address.ip for nic in frontend.nics if nic.network == PUBLIC), IPv4Address(0)),
        vlan=0,
        dns=reader.dns(),
        nodes=nodes,
        overlay=overlays.read(reader, own, [node.name for node in nodes], notes),
    )
    switch = reader.extension("nat")
    nat = switch is None or switch.get("enabled", "yes") != "no"
    return Document(allocation, own, reader.access(own), nat, tuple(notes))


class _Builder:
    """The parser's target: builds elements as usual, but of no document type and to a small depth only."""

    def __init__(self) -> None:
        self._builder = ElementTree.TreeBuilder()
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> ElementTree.Element:
        self._depth += 1
        if self._depth > _DEPTH:
            raise GuestError("the vc-out document is nested too deeply")
        return self._builder.start(tag, attributes)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return self._builder.end(tag)

    def data(self, text: str) -> None:
        self._builder.data(text)

    def doctype(self, *_: object) -> None:
        raise GuestError("the vc-out document has a DOCTYPE", resolution="write it without: it needs no entities")

    def close(self) -> ElementTree.Element:
        return self._builder.close()


def _tree(data: bytes) -> ElementTree.Element:
    if len(data) > LIMIT:
        raise GuestError(f"the vc-out document is larger than {LIMIT} bytes")
    try:
        parser = ElementTree.XMLParser(target=_Builder())  # noqa: S314
        parser.feed(data)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise GuestError("the vc-out document is no XML", details=str(error)) from error
    if root.tag != "vc":
        raise GuestError("the vc-out document is no <vc>", details=f"it is <{root.tag[:60]}>")
    return root


class _Reader:
    """Finds things in the places of all versions."""

    def __init__(self, root: ElementTree.Element, notes: list[str]) -> None:
        self._root = root
        self._notes = notes
        self._front = self._child("frontend")
        self._compute = self._child("compute")
        self.is_compute = self._compute.find(PRIVATE) is not None or "name" in self._compute.attrib
        public = self._front.find(PUBLIC)
        places = [self._front, *([] if public is None else [public])]
        self.fqdn = values.dns_name(self._first("fqdn", *places), "frontend's fqdn")
        self.name = values.label(self._first("name", *places) or self.fqdn.partition(".")[0], "frontend's name")
        self._gateway = self._first("gw", *places) or self._child("network/gw").get("ip", "")
        told = self.extension("cluster")
        self.cluster = values.label(told.get("name", self.name) if told is not None else self.name, "cluster's name")

    # -------------------------------------------------------------------------------------------------- this node

    def frontend(self) -> NodeAllocation:
        """The frontend, of its own document."""
        nics = self._nics(self._front, self._gateway)
        return NodeAllocation(NodeName(self.name), Role.FRONTEND, 1, 0, "", self._needed(nics))

    def compute(self) -> NodeAllocation:
        """The compute node, of its own document."""
        private = self._compute.find(PRIVATE)
        element = self._compute if private is None else private
        name = self._first("name", self._compute) or element.get("fqdn", "").partition(".")[0]
        gateway = self._first("gw", self._compute, element)
        nics = self._needed(self._nics(self._compute, gateway))
        return NodeAllocation(
            NodeName(values.label(name, "compute node's name")), Role.COMPUTE, values.cpus(self._compute), 0, "", nics
        )

    def _needed(self, nics: tuple[Nic, ...]) -> tuple[Nic, ...]:
        if not nics or nics[0].network != PRIVATE:
            raise GuestError("the vc-out document has no private interface with address, mask and MAC for this node")
        return nics

    def _nics(self, parent: ElementTree.Element, gateway: str) -> tuple[Nic, ...]:
        """The interfaces below *parent*: private, public, then the others in the document's order."""
        found: dict[str, Nic] = {}
        for element in parent:
            nic = self._nic(element) if element.tag != "node" and "ip" in element.attrib else None
            if nic and nic.network in found:
                self._notes.append(f"a second interface on {nic.network} is left alone")
            elif nic:
                found[nic.network] = nic
        nics = sorted(found.values(), key=lambda nic: [PRIVATE, PUBLIC, nic.network].index(nic.network))
        return self._routed(nics, gateway)

    def _routed(self, nics: list[Nic], gateway: str) -> tuple[Nic, ...]:
        """The interfaces, with *gateway* at the one whose network it is in: the public one, if several are."""
        if not gateway:
            return tuple(nics)
        address = values.address(gateway, "gateway")
        fitting = [nic for nic in nics if address in nic.address.network and address != nic.address.ip]
        if not fitting:
            self._notes.append(f"the gateway {address} is on no network of this node")
            return tuple(nics)
        chosen = next((nic for nic in fitting if nic.network == PUBLIC), fitting[0])
        return tuple(
            Nic(nic.network, nic.mac, nic.address, address if nic is chosen else None, nic.mtu) for nic in nics
        )

    def _nic(self, element: ElementTree.Element) -> Nic | None:
        """One interface; None, and a note, for one that cannot be configured (the private one is missed later)."""
        try:
            if not _TAG.fullmatch(element.tag):
                raise GuestError("it is no network's name")
            mac = element.get("mac", "").lower().strip()
            if not _MAC.fullmatch(mac):
                raise GuestError(f"{mac[:40]!r} is no MAC")
            address = values.interface(element.get("ip", ""), element.get("netmask", ""))
            return Nic(element.tag, Mac(mac), address, None, values.mtu(element))
        except GuestError as error:
            self._notes.append(f"interface <{element.tag[:60]}> is left alone: {error.message}")
            return None

    # ------------------------------------------------------------------------------------------- the other members

    def members(self, own: NodeAllocation) -> tuple[NodeAllocation, ...]:
        """All nodes that the document knows, the frontend first; *own* is one of them."""
        extended = {node.name: node for node in self._extended()}
        extended[own.name] = own
        if own.role is Role.FRONTEND:
            for node in self._listed(own):
                extended.setdefault(node.name, node)
        front = extended.pop(NodeName(self.name), None) or self._distant_frontend(own)
        return (front, *(node for node in extended.values() if node.role is Role.COMPUTE))

    def _distant_frontend(self, own: NodeAllocation) -> NodeAllocation:
        """The frontend as old compute documents know it: the node's gateway (guest.md 3.2)."""
        private = own.nic(PRIVATE)
        if not private.gateway:
            raise GuestError("the vc-out document does not tell the frontend's address (gw)")
        address = IPv4Interface((private.gateway, private.address.network.prefixlen))
        nic = Nic(PRIVATE, Mac(""), address)
        return NodeAllocation(NodeName(self.name), Role.FRONTEND, 1, 0, "", (nic,))

    def _listed(self, front: NodeAllocation) -> list[NodeAllocation]:
        """The compute nodes in a frontend's document."""
        mask = str(front.nic(PRIVATE).address.netmask)
        elements = self._compute.findall("node")[:_NODES]
        return [node for node in (self._member(element, Role.COMPUTE, mask) for element in elements) if node]

    def _extended(self) -> list[NodeAllocation]:
        """The nodes that our own extension tells to compute nodes, with their addresses."""
        found = []
        for element in self.extensions("node"):
            role = Role.FRONTEND if element.get("role") == Role.FRONTEND else Role.COMPUTE
            node = self._member(element, role, "255.255.255.255") if len(element) else None
            found += [node] if node else []
        return found

    def _member(self, element: ElementTree.Element, role: Role, mask: str) -> NodeAllocation | None:
        try:
            name = NodeName(values.label(element.get("name", ""), "node's name"))
            nics = {
                child.tag: Nic(child.tag, Mac(""), values.interface(child.get("ip", ""), child.get("netmask", mask)))
                for child in element
                if "ip" in child.attrib and _TAG.fullmatch(child.tag)
            }
            old = element.get("ip") or element.get("private_ip") or ""
            if PRIVATE not in nics:
                nics[PRIVATE] = Nic(PRIVATE, Mac(""), values.interface(old, mask))
        except GuestError as error:
            self._notes.append(f"a node is left alone: {error.message}")
            return None
        ordered = sorted(nics.values(), key=lambda nic: [PRIVATE, PUBLIC, nic.network].index(nic.network))
        return NodeAllocation(name, role, values.cpus(element), 0, "", tuple(ordered))

    # ------------------------------------------------------------------------------------------------- the rest

    def dns(self) -> tuple[IPv4Address, ...]:
        """All resolvers; addresses that are none (or of IPv6) are noted."""
        found: dict[IPv4Address, None] = {}
        for element in self._root.findall("network/dns"):
            for word in re.split(r"[ ,]+", element.get("ip", "").strip()):
                try:
                    found.update({values.address(word, "resolver"): None} if word else {})
                except GuestError as error:
                    self._notes.append(error.message)
        return tuple(found)

    def access(self, own: NodeAllocation) -> Access:
        """Keys: the user's always, the cluster's and the hosts' where our extension has them."""
        told = self.extension("clusterkey")
        cluster = KeyPair("", "") if told is None else values.pair(told, told.get("public", ""), self._notes)
        hosts = {}
        for element in self.extensions("node"):
            public = element.get("hostkey", "")
            name = NodeName(element.get("name", ""))
            if values.KEY.fullmatch(public):
                hosts[name] = KeyPair("", public)
        private = self.extension("hostkey")
        if private is not None and own.name in hosts:
            hosts[own.name] = values.pair(private, f"{hosts[own.name].public} {own.name}", self._notes)
        return Access(tuple(key for key in self._keys() if key != cluster.public), cluster, hosts)

    def _keys(self) -> list[str]:
        lines = [line.strip() for element in self._root.findall("key") for line in (element.text or "").splitlines()]
        good = [line for line in lines if values.KEY.fullmatch(line)]
        wrong = sum(1 for line in lines if line) - len(good)
        if wrong:
            self._notes.append(f"{wrong} lines of <key> are no public keys")
        return list(dict.fromkeys(good))

    def extension(self, tag: str) -> ElementTree.Element | None:
        """The first element *tag* of our own extension."""
        return next(iter(self.extensions(tag)), None)

    def extensions(self, tag: str) -> list[ElementTree.Element]:
        """All of them."""
        found = self._root.find("pragma")
        return [] if found is None else found.findall(tag)[:_NODES]

    def _child(self, path: str) -> ElementTree.Element:
        found = self._root.find(path)
        return ElementTree.Element(path) if found is None else found

    @staticmethod
    def _first(attribute: str, *elements: ElementTree.Element) -> str:
        return next((element.get(attribute, "") for element in elements if element.get(attribute)), "")
