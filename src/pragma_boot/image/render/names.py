"""Host name, hosts, resolver, machinefile (guest.md 8.6)."""

from __future__ import annotations

import re

from pragma_boot.image.base import Edit, Write
from pragma_boot.image.render import overlay
from pragma_boot.image.render.backends import assigned
from pragma_boot.image.render.target import SEARCH, Target, block, without_block
from pragma_boot.model import PRIVATE, PUBLIC, NodeAllocation, Role

_LOCALHOST = "127.0.0.1 localhost localhost.localdomain"


def identity(target: Target) -> list[Edit]:
    """Who the node is, and whom it knows by name."""
    edits: list[Edit] = [
        Write("/etc/hostname", f"{target.hostname}\n".encode()),
        Write("/etc/hosts", hosts(target).encode()),
    ]
    old = target.profile.text("/etc/sysconfig/network")
    if old:
        wanted = {"NETWORKING": "yes", "HOSTNAME": target.hostname, "GATEWAY": None, "GATEWAYDEV": None}
        edits.append(Write("/etc/sysconfig/network", assigned(old, wanted).encode()))
    if target.profile.resolver_ours:
        lines = [f"search {SEARCH}", *(f"nameserver {ip}" for ip in target.dns)]
        edits.append(Write("/etc/resolv.conf", ("\n".join(lines) + "\n").encode()))
    return edits + _machinefile(target)


def hosts(target: Target) -> str:
    """/etc/hosts: all nodes of the cluster in a block of ours, before the image's own lines.

    First in the file, because the first line that has a name wins. Of the image's lines only those go that give one
    of our names to the loopback: MPI would resolve its own host to it.
    """
    lines = [line for node in target.allocation.nodes for line in _lines_of(target, node)]
    ours = {name for line in lines for name in line.split()[1:]}
    foreign = []
    for line in without_block(target.profile.text("/etc/hosts")).splitlines():
        words = line.partition("#")[0].split()
        if not (words and re.match(r"127\.|::1$", words[0]) and ours.intersection(words[1:])):
            foreign.append(line)
    known = any("localhost" in line.partition("#")[0].split() for line in foreign)
    return "".join((block(lines), "" if known else f"{_LOCALHOST}\n", *(f"{line}\n" for line in foreign)))


def names_of(target: Target, node: NodeAllocation) -> tuple[str, ...]:
    """The names by which *node* is known on its private address, the canonical one first, as this target sees it."""
    if node.role is Role.COMPUTE:
        return (f"{node.name}.{SEARCH}", node.name)
    local = (f"{node.name}.{SEARCH}", str(node.name))
    if target.is_frontend:  # there the full name is the public address's
        return local
    return tuple(dict.fromkeys((target.allocation.fqdn, str(node.name), local[0])))


def _lines_of(target: Target, node: NodeAllocation) -> list[str]:
    lines = []
    for nic in node.nics:
        if nic.network == PRIVATE:
            names = names_of(target, node)
        elif nic.network == PUBLIC:
            names = (target.allocation.fqdn,) if target.is_frontend else ()
        else:
            names = (f"{node.name}.{nic.network}",)
        if names:
            lines.append(f"{nic.address.ip} {' '.join(names)}")
    return lines + overlay.hosts_line(target, node)


def _machinefile(target: Target) -> list[Edit]:
    if not target.is_frontend:
        return []
    slots = "".join(f"{node.name}\n" * node.cpus for node in target.allocation.computes).encode()
    edits: list[Edit] = [Write("/etc/pragma/machinefile", slots)]
    if target.profile.systemd:  # which empties /tmp at boot
        rule = "C /tmp/machinefile 0644 root root - /etc/pragma/machinefile\n"
        return [*edits, Write("/etc/tmpfiles.d/pragma.conf", rule.encode())]
    return [*edits, Write("/tmp/machinefile", slots)]  # noqa: S108 - a path in the guest
