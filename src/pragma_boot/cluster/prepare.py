"""Fill the nodes' disks: clone, inspect once per image, edit all in one go; take kernels for a quick first start."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pragma_boot import files
from pragma_boot.cluster import kernels
from pragma_boot.cluster.site import Site
from pragma_boot.errors import CapacityError
from pragma_boot.image.access import new_access
from pragma_boot.image.base import Guest
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import GuestProfile
from pragma_boot.image.render import can_report, edits
from pragma_boot.image.wireguard import with_wireguard
from pragma_boot.model import (
    Access,
    Allocation,
    Disk,
    KernelBoot,
    LocalDisk,
    LocalImage,
    NodeAllocation,
    NodeName,
    Progress,
    ProgressSink,
)
from pragma_boot.network import vc_out

_log = logging.getLogger(__name__)

_INDENTS = re.compile(rb">\n\s*<")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Disks that are ready to start. reports: every node will tell on its console when it is ready.

    documents: what nodes read instead, where the engine has the disks.
    """

    disks: Mapping[NodeName, Disk]
    kernels: Mapping[NodeName, KernelBoot]
    reports: bool
    documents: Mapping[NodeName, bytes] = field(default_factory=dict)


def prepare(
    site: Site, allocation: Allocation, image: LocalImage, keys: tuple[str, ...], progress: ProgressSink
) -> Prepared:
    """Make and fill the disk of every node; the cluster's folder then holds its key, known hosts and documents.

    Raises GuestError (an image that cannot be edited) or PragmaError (disk full); the caller's undos clear up.
    """
    access = new_access(keys, [node.name for node in allocation.nodes])
    folder = _make_folder(site, allocation, access)
    sources = {node.name: image.for_role(node.role) for node in allocation.nodes}
    known = {
        source: _look_into(site, allocation, f"image-{number}", source)
        for number, source in enumerate(set(sources.values()))
    }
    disks = {}
    for node in allocation.nodes:
        progress(Progress("prepare", node.name, "cloning the disk"))
        disks[node.name] = site.disks.clone(image, node.role, allocation.cluster, node.name)

    def fill(node: NodeAllocation, guest: Guest) -> None:
        progress(Progress("prepare", node.name, "writing its configuration"))
        _fill(site, guest, known[sources[node.name]][0], allocation=allocation, node=node, access=access)

    with site.disks.edit(tuple(disks.values())) as guests, _workers(site) as pool:
        for _ in pool.map(fill, allocation.nodes, guests):  # the first failure ends it: what has not begun is left out
            pass
    profiles = [profile for profile, _ in known.values()]
    if not any(profile.legacy for profile in profiles):  # else the nodes keep keys of their own
        files.write_atomic(folder / "known_hosts", _known_hosts(allocation, access))
    boots = {name: boot for name, source in sources.items() if (boot := known[source][1])}
    return Prepared(disks, boots, all(map(can_report, profiles)))


def documents(site: Site, allocation: Allocation, keys: tuple[str, ...]) -> Prepared:
    """The document of every node, for an engine that has the disks and hands documents to nodes.

    They carry all that would be written to a disk otherwise: secrets. Where the engine's limit is too small for that,
    nodes make host keys of their own; where it is smaller still, they get the user's keys and no other. Nobody here
    knows whether the engine's image takes the host keys, so there are no known hosts.

    Raises CapacityError when even these do not fit: fewer nodes would.
    """
    access = new_access(keys, [node.name for node in allocation.nodes])
    folder = _make_folder(site, allocation, access)
    limit = site.driver.info.document_limit
    rendered: dict[NodeName, bytes] = {}
    for offered in (access, replace(access, hosts={}), None):
        lines = () if offered else (*keys, access.cluster.public)
        rendered = {node.name: vc_out.document(allocation, node, lines, offered) for node in allocation.nodes}
        if limit and _longest(rendered) > limit:
            rendered = {name: _INDENTS.sub(b"><", text) for name, text in rendered.items()}
        if not limit or _longest(rendered) <= limit:
            break
        _log.info("the documents have up to %d bytes, the engine takes %d: leaving keys out", _longest(rendered), limit)
    else:
        raise CapacityError(
            f"{len(allocation.nodes)} nodes are too many for this site: the longest of their documents has"
            f" {_longest(rendered)} bytes, and its engine hands out {limit} at most",
            resolution="ask for fewer and larger nodes, or have the engine's limit raised",
        )
    for name, text in rendered.items():
        files.write_atomic(folder / "vc-out" / f"{name}.xml", text, 0o600, durable=False)
    return Prepared({}, {}, reports=False, documents=rendered)


def _longest(rendered: Mapping[NodeName, bytes]) -> int:
    return max(map(len, rendered.values()))


def _workers(site: Site) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(site.settings.clusters.parallel, "prepare")


def _make_folder(site: Site, allocation: Allocation, access: Access) -> Path:
    state = site.settings.site.state
    folder = files.make_folder(state.cluster(allocation.cluster), 0o711)  # the hypervisor writes the consoles' logs
    files.make_folder(folder / "vc-out", 0o700)
    files.write_atomic(folder / "key", access.cluster.private, 0o600)
    files.write_atomic(folder / "key.pub", access.cluster.public + "\n")
    return folder


def _known_hosts(allocation: Allocation, access: Access) -> str:
    lines = []
    for node in allocation.nodes:
        names = [node.name, *(str(nic.address.ip) for nic in node.nics)]
        if node is allocation.frontend:
            names.append(allocation.fqdn)
        lines.append(f"{','.join(names)} {access.hosts[node.name].public}\n")
    return "".join(lines)


def _look_into(
    site: Site, allocation: Allocation, label: str, source: LocalDisk
) -> tuple[GuestProfile, KernelBoot | None]:
    with site.disks.inspect(source) as guest:
        profile = with_wireguard(guest, inspect(guest)) if allocation.overlay else inspect(guest)
        for warning in profile.warnings:
            _log.warning("image %s: %s", source.path.name, warning)
        return profile, kernels.kernel_of(site, allocation.cluster, label, guest)


def _fill(
    site: Site, guest: Guest, profile: GuestProfile, *, allocation: Allocation, node: NodeAllocation, access: Access
) -> None:
    folder = site.settings.site.state.cluster(allocation.cluster)
    keys = (*access.user_keys, access.cluster.public)
    document = vc_out.document(allocation, node, keys)
    files.write_atomic(folder / "vc-out" / f"{node.name}.xml", document, 0o600, durable=False)
    guest.apply(edits(profile, allocation, node, access, document))
