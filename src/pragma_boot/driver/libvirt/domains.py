"""Nodes as domains: define, start, tell, stop and remove them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from pragma_boot.driver.libvirt import marks
from pragma_boot.driver.libvirt.connection import Connection, bindings, explained
from pragma_boot.errors import PragmaError
from pragma_boot.model import ClusterName, KernelBoot, NodeName, NodeState

if TYPE_CHECKING:
    from pragma_boot.driver.libvirt.documents import Domain

_log = logging.getLogger(__name__)

_GONE = ("VIR_ERR_NO_DOMAIN",)
_STOPPED = ("VIR_ERR_NO_DOMAIN", "VIR_ERR_OPERATION_INVALID")
_TICK_MS = 200
_ASK_AGAIN = 5.0

_FILTERS = {
    "VIR_CONNECT_LIST_DOMAINS_RUNNING": NodeState.ACTIVE,
    "VIR_CONNECT_LIST_DOMAINS_PAUSED": NodeState.PAUSED,
    "VIR_CONNECT_LIST_DOMAINS_SHUTOFF": NodeState.SHUTDOWN,
}
_ALL = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A domain of ours that libvirt knows; *handle* is libvirt's own object."""

    cluster: ClusterName
    node: NodeName
    state: NodeState
    handle: Any

    @property
    def runs(self) -> bool:
        """Whether QEMU runs for it: also when it is paused, or crashed and kept for a look."""
        return self.state is not NodeState.SHUTDOWN


def find(connection: Connection, site: str, cluster: ClusterName | None = None) -> list[Found]:
    """The domains of *site* (of one cluster, or all), frontends first.

    Four questions to libvirt however many there are: it lists by state, names and UUIDs come along. The last list is of
    all: it decides who is there, and a domain that changed its state between the lists is asked for it.
    Raises DriverError.
    """
    libvirt = bindings()
    seen: dict[str, NodeState] = {}
    for name, state in _FILTERS.items():
        seen |= {handle.name(): state for handle in _listed(connection, getattr(libvirt, name))}
    found: list[Found] = []
    for handle in _listed(connection, _ALL):
        owner = marks.node_of(site, handle.name(), handle.UUIDString())
        if owner and cluster in {None, owner[0]}:
            state = seen.get(handle.name()) or _state(handle)
            if state is not NodeState.MISSING:
                found.append(Found(*owner, state, handle))
    return sorted(found, key=lambda each: (each.cluster, str(each.node) != each.cluster, len(each.node), each.node))


def _listed(connection: Connection, flags: int = _ALL) -> list[Any]:
    with explained("list the domains"):
        return list(connection.listAllDomains(flags))


def read_marks(found: Found) -> marks.Marks | None:
    """The domain's metadata; None when it has none or is gone. One question to libvirt."""
    from lxml import etree  # noqa: PLC0415 - not needed where nothing runs

    libvirt = bindings()
    with explained("read a domain's metadata", ignore=("VIR_ERR_NO_DOMAIN_METADATA", *_GONE)):
        text = found.handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, marks.URI)
        return marks.parse(etree.fromstring(text))
    return None


def launch(connection: Connection, domain: Domain, kernel: KernelBoot | None) -> None:
    """Define a node for good and start it; idempotent as to the definition.

    The definition never has a kernel. For a start with *kernel* libvirt is given a passing variant, whose end leaves
    the definition as it was. Raises DriverError.
    """
    from pragma_boot.driver.libvirt.documents import domain_xml  # noqa: PLC0415 - listing does without documents

    with explained(f"define {domain.name}"):
        handle = connection.defineXML(domain_xml(domain))
    with explained(f"start {domain.name}"):
        _run(connection, handle, kernel)


def start(connection: Connection, found: Found, kernel: KernelBoot | None = None) -> None:
    """Start a defined node, or let one that is paused go on; idempotent. Raises DriverError.

    kernel: as in `launch`.
    """
    with explained(f"start {found.handle.name()}"):
        if found.state is NodeState.PAUSED:
            found.handle.resume()
            return
        if found.state is NodeState.CRASHED:
            found.handle.destroy()
        if not found.handle.isActive():
            _run(connection, found.handle, kernel)


def _run(connection: Connection, handle: Any, kernel: KernelBoot | None) -> None:
    """Start a defined domain: as it is defined, or by a passing variant of that with *kernel*."""
    if kernel is None:
        handle.create()
        return
    from pragma_boot.driver.libvirt.documents import with_kernel  # noqa: PLC0415

    definition = handle.XMLDesc(bindings().VIR_DOMAIN_XML_INACTIVE)
    connection.createXML(with_kernel(definition, kernel))


def stop(found: Found) -> None:
    """End a node's process at once; no error when it does not run or is gone. Raises DriverError."""
    with explained(f"stop {found.handle.name()}", ignore=_STOPPED):
        found.handle.destroy()


def remove(found: Found) -> None:
    """End and forget a node with everything that libvirt keeps for it; no error when it is gone. Raises DriverError."""
    stop(found)
    libvirt = bindings()
    known = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    later = sum(getattr(libvirt, f"VIR_DOMAIN_UNDEFINE_{name}", 0) for name in ("NVRAM", "CHECKPOINTS_METADATA", "TPM"))
    doing = f"remove {found.handle.name()}"
    with explained(doing, ignore=("VIR_ERR_INVALID_ARG", *_GONE)):
        found.handle.undefineFlags(known | later)
        return
    with explained(doing, ignore=_GONE):  # gone, or a daemon that is older than its bindings
        found.handle.undefineFlags(known)


def ask_to_stop(connection: Connection, running: Sequence[Found], grace: float) -> Iterator[Found]:
    """Press the power button of *running* nodes and give each one that has stopped, at most *grace* seconds long.

    Waits for libvirt's events. A node that did not hear (it had not come so far) is asked again every few seconds.
    """
    waiting = {found.handle.UUIDString(): found for found in running if found.state is NodeState.ACTIVE}
    if grace <= 0:
        return
    with _lifecycle(connection) as stopped:
        deadline = time.monotonic() + grace
        ask = time.monotonic()
        while waiting:
            now = time.monotonic()
            if now >= deadline:
                return
            if now >= ask:
                stopped.update(_press(waiting.values()))
                ask = now + _ASK_AGAIN
            else:
                bindings().virEventRunDefaultImpl()
            for identity in stopped & waiting.keys():
                yield waiting.pop(identity)


def _press(running: Iterable[Found]) -> set[str]:
    """Press power buttons; the UUIDs of those that do not run any more."""
    gone = set()
    for found in running:
        try:
            with explained(f"ask {found.handle.name()} to stop"):
                found.handle.shutdown()
        except PragmaError as error:
            _log.debug("%s: %s", error.message, error.details)
        with contextlib.suppress(PragmaError):
            with explained("look at a domain", ignore=_GONE):
                if found.handle.isActive():
                    continue
            gone.add(found.handle.UUIDString())
    return gone


@contextlib.contextmanager
def _lifecycle(connection: Connection) -> Iterator[set[str]]:
    """The UUIDs of domains that stop while the block runs libvirt's events; each run ends after a tick at most."""
    libvirt = bindings()
    ended: set[str] = set()
    over = {libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_CRASHED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED}

    def note(_connection: object, domain: Any, event: int, _detail: int, _data: object) -> None:
        if event in over:
            ended.add(domain.UUIDString())

    timer = libvirt.virEventAddTimeout(_TICK_MS, lambda _timer, _data: None, None)  # Ctrl-C and deadlines get a turn
    with explained("watch the domains"):
        watch = connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, note, None)
    try:
        yield ended
    finally:
        with contextlib.suppress(PragmaError), explained("stop watching the domains"):
            connection.domainEventDeregisterAny(watch)
        libvirt.virEventRemoveTimeout(timer)


def _state(handle: Any) -> NodeState:
    """The state of one domain; MISSING when it is gone."""
    libvirt = bindings()
    with explained("look at a domain", ignore=_GONE):
        number, _reason = handle.state()
        return {
            libvirt.VIR_DOMAIN_CRASHED: NodeState.CRASHED,
            libvirt.VIR_DOMAIN_PAUSED: NodeState.PAUSED,
            libvirt.VIR_DOMAIN_BLOCKED: NodeState.ACTIVE,
            libvirt.VIR_DOMAIN_SHUTDOWN: NodeState.ACTIVE,  # it is being shut down; not yet off
            libvirt.VIR_DOMAIN_RUNNING: NodeState.ACTIVE,
            libvirt.VIR_DOMAIN_SHUTOFF: NodeState.SHUTDOWN,
        }.get(number, NodeState.UNKNOWN)
    return NodeState.MISSING


def macs_and_marks(connection: Connection) -> tuple[set[str], list[marks.Marks]]:
    """Every MAC of the host's domains, and the metadata of all sites' domains. One question for each domain."""
    from lxml import etree  # noqa: PLC0415 - listing clusters does without it

    macs: set[str] = set()
    found: list[marks.Marks] = []
    for handle in _listed(connection):
        with explained("read a domain", ignore=_GONE):
            root = etree.fromstring(handle.XMLDesc())
            macs |= {str(mac.get("address")).lower() for mac in root.iterfind("devices/interface/mac")}
            mine = marks.parse(root.find(f"metadata/{{{marks.URI}}}cluster"))
            if mine and marks.node_of(mine.site, handle.name(), handle.UUIDString()):
                found.append(mine)
    return macs, found


def taken(connection: Connection, site: str) -> tuple[int, int]:
    """CPUs and MiB that *site*'s defined and others' running domains have been promised."""
    cpus = memory = 0
    for handle in _listed(connection):
        with explained("look at a domain", ignore=_GONE):
            _state, kib, _now, vcpus, _time = handle.info()
            if handle.isActive() or marks.node_of(site, handle.name(), handle.UUIDString()):
                cpus += vcpus
                memory += -(-kib // 1024)
    return cpus, memory


def public_addresses(found: Iterable[marks.Marks]) -> set[IPv4Address]:
    """The public addresses that metadata names."""
    return {each.public_ip for each in found if each.public_ip}
