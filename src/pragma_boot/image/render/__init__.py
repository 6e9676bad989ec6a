"""What a node needs to come up as a member of its cluster, as plain edits of its disk. Pure: no file is touched here.

Mode L (the image carries an old vc-out consumer): cleaning and /root/vc-out.xml, nothing else. Mode O: everything, in
the native files of whatever the image uses (guest.md 5 and 8).
"""

from __future__ import annotations

from collections.abc import Mapping

from pragma_boot.image.base import Edit, MakeFolder, Write
from pragma_boot.image.profile import Backend, GuestProfile
from pragma_boot.image.render import backends, names, nat, overlay, ready, ssh
from pragma_boot.image.render.agent import applied_mark
from pragma_boot.image.render.ready import can_report
from pragma_boot.image.render.target import Target
from pragma_boot.model import Access, Allocation, Mac, NodeAllocation

VC_OUT = "/root/vc-out.xml"


def edits(
    profile: GuestProfile,
    allocation: Allocation,
    node: NodeAllocation,
    access: Access,
    vc_out: bytes,
    *,
    devices: Mapping[Mac, str] | None = None,
) -> tuple[Edit, ...]:
    """All edits that make a clone of the image into *node*, in order; the same input gives the same edits.

    vc_out: the node's own document (`network.vc_out`), always put at /root/vc-out.xml, 0600.
    devices: see `Target`; our agent in a running guest knows them.
    Edits of an image that was already prepared for this node lead to the same files again.
    """
    document = Write(VC_OUT, vc_out, 0o600)
    if profile.legacy:
        return (*profile.stale, document)
    target = Target(profile, allocation, node, access, devices or {})
    rendered = [
        MakeFolder("/etc/pragma"),
        *backends.network(target),
        *(ready.network_service(target) if profile.backend is Backend.SCRIPT else []),
        *names.identity(target),
        *ssh.access(target),
        *nat.forwarding(target),
        *overlay.overlay(target),
        *_cloud_init(profile),
        *ready.report(target),
    ]
    mark = [applied_mark(vc_out, [document, *rendered])] if profile.agent else []
    return (*profile.stale, *profile.identity, document, *rendered, *mark)


def _cloud_init(profile: GuestProfile) -> list[Edit]:
    """Keep cloud-init away from network, names and keys, and from looking for data over the network (guest.md 8.7).

    With local sources only, and none of them attached, its generator does not start it at all.
    """
    if not profile.cloud_init:
        return []
    lines = (
        "datasource_list: [ NoCloud, ConfigDrive, None ]",
        "network: {config: disabled}",
        "preserve_hostname: true",
        "manage_etc_hosts: false",
        "ssh_deletekeys: false",
        "disable_root: false",
    )
    return [Write("/etc/cloud/cloud.cfg.d/99-pragma.cfg", ("\n".join(lines) + "\n").encode())]


__all__ = ["VC_OUT", "can_report", "edits"]
