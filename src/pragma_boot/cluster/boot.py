"""One boot, from a wish to nodes that are ready; everything is undone when a step fails.

::

    describe image → preflight → (overlay: look into the image, wait for the hub)
    → [site lock: choose name and address → plan → capacity → leases → allocate]
    → (overlay: publish, or claim slots) → fetch image → clone and fill disks → deploy → wait until ready
    → forget the undos
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from pragma_boot.cluster import further, naming, overlay, undo, waiting
from pragma_boot.cluster.plan import (
    Sizes,
    check_architecture,
    check_private,
    check_volumes,
    make_plan,
    templates_of,
)
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.store import exists
from pragma_boot.cluster.sync import images_stay
from pragma_boot.cluster.view import ClusterView, NodeView, as_started, cluster
from pragma_boot.driver.placing import place
from pragma_boot.errors import ClusterExistsError, DriverError, NotAvailableError, PragmaError
from pragma_boot.model import (
    Allocation,
    Capacity,
    ClusterName,
    ClusterState,
    HostCapacity,
    Image,
    ImageName,
    InUse,
    NodeAllocation,
    NodeSpec,
    Plan,
    ProgressSink,
    Role,
    no_progress,
)
from pragma_boot.network.pool import free_addresses

if TYPE_CHECKING:
    from pragma_boot.cluster.prepare import Prepared

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BootRequest:
    """What the user wishes.

    cpus: of all compute nodes together; 0 is a frontend alone. keys: authorized_keys lines.
    *_memory_mib: None takes the image's, else the site's. wait: seconds until all nodes must be ready, 0 does not
    wait, None takes the site's. keep_on_failure: leave a failed cluster for a look. options: optional features by
    their parameter's name (`add-iface`, `enable-ent`, `enable-ipop-client`, `enable-ipop-server`).
    """

    image: ImageName
    cpus: int
    name: ClusterName | None = None
    keys: tuple[str, ...] = ()
    frontend_memory_mib: int | None = None
    compute_memory_mib: int | None = None
    wait: float | None = None
    keep_on_failure: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a boot would make just now. public_ip: empty where the engine will assign it."""

    cluster: str
    image: str
    fqdn: str
    public_ip: str
    nodes: tuple[NodeView, ...]


def boot(site: Site, request: BootRequest, progress: ProgressSink = no_progress) -> ClusterView:
    """Boot a cluster and return it when its nodes are ready.

    Raises UsageError or NotAvailableError (the wish), ImageError, PreflightError, CapacityError, ClusterExistsError
    before anything is changed; DriverError, GuestError, NotReadyError and interruptions after everything is undone
    (unless it shall be kept).
    """
    image = _look(site, request)
    joining = overlay.look(site, request.options, image, progress)
    steps = undo.Undo(site, request.name or ClusterName(""))
    with ExitStack() as locks:
        try:
            allocation = _set_aside(site, request, image, steps, locks)
            allocation = overlay.take_part(site, joining, allocation, steps)
            _make(site, request, image, allocation, steps=steps, progress=progress)
        except BaseException as error:
            _give_up(site, request, steps, error)
            raise
        return _looked_at(site, allocation)


def preview(site: Site, request: BootRequest) -> Preview:
    """What `boot` would do, with every refusal it would meet before its first change; changes nothing."""
    image = _look(site, request)
    overlay.check(site, request.options, image)
    used = site.store.in_use(site.driver.in_use())
    identity, plan = _decide(site, request, image, used, naming.reverse_name)
    return Preview(
        plan.cluster,
        plan.image,
        identity.fqdn,
        str(identity.address or ""),
        tuple(_planned(plan, index, node) for index, node in enumerate(plan.nodes)),
    )


def _planned(plan: Plan, index: int, node: NodeSpec) -> NodeView:
    networks = {extra.name: str(extra.address(index)) for extra in plan.extra}
    return NodeView(node.name, node.role, "planned", "", node.cpus, node.memory_mib, "", networks)


def _look(site: Site, request: BootRequest) -> Image:
    """All that can be refused without a lock: options, the image, the site's health."""
    for option in request.options:
        feature = overlay.FEATURE if option in (overlay.SERVER, overlay.CLIENT) else option
        if feature not in site.driver.info.options:
            raise NotAvailableError(
                f"{option}= is not available with the {site.driver.info.name} driver of this site",
                resolution=f"boot without {option}=",
            )
    networks = further.check(site, request.options)
    overlay.wished(request.options)
    image = site.repository.describe(request.image)
    if site.driver.info.wants_disks:
        check_architecture(image, platform.machine())
        check_volumes(image, site.driver.info.has_volumes)
        site.repository.cached(image)
    site.driver.preflight(networks)
    _log.info("Requesting %d CPUs", request.cpus)
    return image


def _set_aside(site: Site, request: BootRequest, image: Image, steps: undo.Undo, locks: ExitStack) -> Allocation:
    """Reserve name, address, VLAN, MACs, hosts and network; one boot at a time does this.

    Where the engine assigns addresses, it keeps allocations apart itself, and only names are reserved one by one.
    """
    lookup, assigned = _remember(naming.reverse_name), site.driver.info.assigns_addresses
    if not assigned:
        _first_guess(site, lookup)
    with ExitStack() as alone:
        alone.enter_context(site.store.site_lock())
        used = site.store.in_use(site.driver.in_use())
        identity, plan = _decide(site, request, image, used, lookup)
        locks.enter_context(site.store.lock(plan.cluster))
        if identity.address:
            _log.info("Found available public IP %s -> %s", identity.address, identity.fqdn)
        steps.cluster = plan.cluster
        steps.before(undo.forget(site, plan.cluster))
        try:
            leases = site.store.reserve(
                plan,
                driver=site.driver.info.name,
                address=identity.address,
                fqdn=identity.fqdn,
                vlans=site.settings.clusters.vlans,
                site=used,
            )
        except ClusterExistsError:
            steps.steps.clear()  # the record is not ours to forget
            raise
        if assigned:
            alone.close()
        steps.before(undo.release(site, plan.cluster))
        allocation = site.driver.allocate(plan, leases)
        if assigned:
            allocation = replace(allocation, fqdn=lookup(allocation.public_ip) or allocation.fqdn)
            _log.info("Found available public IP %s -> %s", allocation.public_ip, allocation.fqdn)
        site.store.record_allocation(allocation)
    computes = ", ".join(node.name for node in allocation.computes)
    _log.info("Allocated cluster %s with compute nodes: %s", allocation.cluster, computes)
    for nic in allocation.frontend.nics[2:]:
        _log.info("Network %s: addresses from %s", nic.network, nic.address)
    return allocation


def _make(
    site: Site, request: BootRequest, image: Image, allocation: Allocation, *, steps: undo.Undo, progress: ProgressSink
) -> None:
    """From an allocation to nodes that are ready."""
    name = allocation.cluster
    prepared = _prepared(site, request, image, allocation, steps=steps, progress=progress)
    site.store.record_reports(name, prepared.reports)
    watch = waiting.begin(site, allocation, reports=prepared.reports)
    site.driver.deploy(allocation, prepared.disks, prepared.kernels, progress, prepared.documents)
    _log.info("Successfully deployed frontend %s", name)
    limit = site.settings.clusters.wait if request.wait is None else request.wait
    if limit:
        watch.until_ready(limit, progress)
    site.store.record_state(name, ClusterState.RUNNING)


def _prepared(
    site: Site, request: BootRequest, image: Image, allocation: Allocation, *, steps: undo.Undo, progress: ProgressSink
) -> Prepared:
    """What the driver deploys: disks that are filled, or documents where the engine has images of its own."""
    from pragma_boot.cluster import prepare  # noqa: PLC0415 - listing does without it

    if not site.driver.info.wants_disks:
        steps.before(undo.remove_folder(site, allocation.cluster))
        return prepare.documents(site, allocation, request.keys)
    with images_stay(site):
        local = site.repository.fetch(image, progress)
        steps.before(undo.remove_folder(site, allocation.cluster))
        steps.before(undo.delete_disks(site, allocation.cluster))
        return prepare.prepare(site, allocation, local, request.keys, progress)


def _looked_at(site: Site, allocation: Allocation) -> ClusterView:
    """The cluster as its engine tells; as it was started when the engine cannot be asked just now: it stands."""
    try:
        return cluster(site, allocation.cluster)
    except DriverError as error:
        _log.warning("cannot look at the new cluster: %s", error.message)
        return as_started(site, allocation)


def _give_up(site: Site, request: BootRequest, steps: undo.Undo, error: BaseException) -> None:
    if not steps.steps:
        return
    if request.keep_on_failure:
        why = error.message if isinstance(error, PragmaError) else type(error).__name__
        site.store.record_state(steps.cluster, ClusterState.ALLOCATED, f"boot failed: {why}")
        _log.warning("cluster %s is kept for a look; remove it with: pragma clean %s", steps.cluster, steps.cluster)
        return
    _log.info("undoing the boot of %s", steps.cluster)
    try:
        steps.run()
    except PragmaError as failure:
        _log.warning("%s: %s", failure.message, failure.details)


def _decide(
    site: Site, request: BootRequest, image: Image, used: InUse, lookup: naming.Lookup
) -> tuple[naming.Identity, Plan]:
    """Name, address and plan as things stand; raises what forbids them."""
    settings, info = site.settings.clusters, site.driver.info
    if info.assigns_addresses:
        identity = naming.choose_name(
            image.name, request.name, used=used, domain=settings.domain, refused=info.refused_names
        )
    else:
        identity = naming.choose(
            image.name,
            request.name,
            settings.public_ips,
            used=used,
            domain=settings.domain,
            lookup=lookup,
            refused=info.refused_names,
        )
    if identity.cluster in used.clusters:
        raise exists(identity.cluster)
    private = image.private_network or settings.private_network
    if not info.assigns_addresses:
        check_private(image, private, settings.public_network)
    plan = make_plan(identity.cluster, image.name, _sizes(site, request, image), private, request.keys)
    if not info.wants_disks:
        plan = replace(plan, templates=templates_of(image))
    plan = site.driver.fit(further.add(site, plan, request.options, used))
    place(plan, _free(site))  # for its refusal; the driver places again
    return identity, plan


def _free(site: Site) -> Capacity:
    """The engine's free capacity less what other boots, that are under way, have been promised already."""
    capacity = site.driver.capacity()
    under_way = [
        record.allocation
        for record in site.store.all()
        if record.allocation and record.state is ClusterState.ALLOCATED and site.store.is_locked(record.name)
    ]
    there = site.driver.survey() if under_way else {}
    promised = [
        node
        for allocation in under_way
        for node in allocation.nodes
        if node.name not in there.get(allocation.cluster, {})
    ]
    return Capacity(
        tuple(_less(host, [node for node in promised if node.host == host.host]) for host in capacity.hosts)
    )


def _less(host: HostCapacity, nodes: Sequence[NodeAllocation]) -> HostCapacity:
    cpus = sum(node.cpus for node in nodes)
    memory = sum(node.memory_mib for node in nodes)
    return replace(host, cpus_free=host.cpus_free - cpus, memory_free_mib=host.memory_free_mib - memory)


def _sizes(site: Site, request: BootRequest, image: Image) -> Sizes:
    settings = site.settings.clusters
    frontend, compute = image.for_role(Role.FRONTEND), image.for_role(Role.COMPUTE)
    return Sizes(
        cpus=request.cpus,
        cpus_per_node=settings.cpus_per_node,
        frontend_memory_mib=request.frontend_memory_mib or frontend.memory_mib or settings.memory_mib,
        compute_memory_mib=request.compute_memory_mib or compute.memory_mib or settings.memory_mib,
        frontend_cpus=frontend.vcpus or 1,
    )


def _remember(lookup: naming.Lookup) -> naming.Lookup:
    known: dict[IPv4Address, str | None] = {}

    def ask(address: IPv4Address) -> str | None:
        if address not in known:
            known[address] = lookup(address)
        return known[address]

    return ask


def _first_guess(site: Site, lookup: Callable[[IPv4Address], str | None]) -> None:
    """Look the likely address up before the site is locked: DNS may be slow, and others wait for the lock."""
    used = site.store.in_use(InUse())
    for address in free_addresses(site.settings.clusters.public_ips, used.addresses):
        lookup(address)
        return
