"""From a wish to a plan: pure arithmetic, nothing of the site is touched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from pragma_boot.errors import NotAvailableError, PragmaError
from pragma_boot.model import ClusterName, FileSource, Image, ImageName, NodeName, NodeSpec, Plan, Role, VolumeSource

_ROOM_FOR_SUFFIX = 56


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large nodes are: compute CPUs in all, at most *cpus_per_node* in one; memory per role in MiB."""

    cpus: int
    cpus_per_node: int
    frontend_memory_mib: int
    compute_memory_mib: int
    frontend_cpus: int = 1


def spread(cpus: int, per_node: int) -> tuple[int, ...]:
    """CPUs of each compute node: full nodes first, the rest in the last. ``spread(5, 2)`` is ``(2, 2, 1)``."""
    full, rest = divmod(cpus, per_node)
    return (per_node,) * full + ((rest,) if rest else ())


def make_plan(
    cluster: ClusterName, image: ImageName, sizes: Sizes, private: IPv4Interface, keys: tuple[str, ...]
) -> Plan:
    """Name and size every node: the frontend bears the cluster's name, computes are ``compute-0`` upwards."""
    frontend = NodeSpec(NodeName(cluster), Role.FRONTEND, sizes.frontend_cpus, sizes.frontend_memory_mib)
    computes = (
        NodeSpec(NodeName(f"compute-{index}"), Role.COMPUTE, cpus, sizes.compute_memory_mib)
        for index, cpus in enumerate(spread(sizes.cpus, sizes.cpus_per_node))
    )
    return Plan(cluster, image, (frontend, *computes), private, keys)


def check_architecture(image: Image, machine: str) -> None:
    """Raise PragmaError when the image is for another processor than *machine* (as `uname -m` says)."""
    same = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
    if same.get(image.arch, image.arch) != same.get(machine, machine):
        raise PragmaError(
            f"unsupported architecture {image.arch} of image {image.name}: this site runs {machine}",
            resolution="choose an image for this processor, or boot it at another site",
        )


def check_volumes(image: Image, available: bool) -> None:
    """Raise NotAvailableError for an image on volumes, at a site whose driver has none *available*."""
    for role in Role:
        source = image.for_role(role).source
        if isinstance(source, VolumeSource) and not available:
            raise NotAvailableError(
                f"the {role} of image {image.name} is a volume ({source.pool}/{source.volume}): this site has none",
                resolution='choose an image whose disks are files (<source file="…"/> in its vc-in document)',
            )


def templates_of(image: Image) -> dict[Role, str]:
    """What an engine with images of its own calls this one's disks: each file's name up to its first dot."""

    def name(source: FileSource | VolumeSource) -> str:
        text = source.volume if isinstance(source, VolumeSource) else source.file
        return text.rpartition("/")[2].partition(".")[0] or image.name

    return {role: name(image.for_role(role).source) for role in Role}


def name_after_image(image: ImageName) -> str:
    """A cluster name made from an image's: ``hku_biolinux`` gives ``hku-biolinux``; always valid."""
    text = re.sub(r"[^a-z0-9]+", "-", image.lower()).strip("-")[:_ROOM_FOR_SUFFIX].strip("-")
    return text if text[:1].isalpha() and not re.fullmatch(r"compute-\d+|frontend|local(host)?", text) else f"vc-{text}"


def check_private(image: Image, private: IPv4Interface, public: IPv4Network) -> None:
    """Raise PragmaError when the private network lies over the site's public one: nodes could not route."""
    if private.network.overlaps(public):
        raise PragmaError(
            f"the private network {private.network} overlaps the public network {public}",
            details=f"it comes from {image.origin}" if image.private_network else None,
            resolution="set another 'private_network'"
            + (", or take the network out of the image's description" if image.private_network else ""),
        )
