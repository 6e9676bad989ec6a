"""`pragma ssh`: log in to a node with the cluster's own key; computes are reached through their frontend."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pragma_boot import run
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER, NODE
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import nearest
from pragma_boot.errors import ClusterError, PragmaError, UsageError

if TYPE_CHECKING:
    from pragma_boot.cluster.view import ClusterView, NodeView


def _run(session: Session, *, vc_name: str, node: str | None, tail: Sequence[str]) -> None:
    name = session.site.resolve(vc_name)
    cluster = session.site.cluster(name)
    run.replace(ssh_command(cluster, find_node(cluster, node), session.site.cluster_folder(name), tail))


def find_node(cluster: ClusterView, wanted: str | None) -> NodeView:
    """The node of that name; the frontend when none is said. Raises UsageError that names the nearest."""
    if not cluster.nodes:
        raise ClusterError(
            f"{cluster.name} has no nodes: it is {cluster.state}", resolution=f"remove it: pragma clean {cluster.name}"
        )
    if wanted in (None, "frontend"):
        return cluster.nodes[0]
    names = [node.name for node in cluster.nodes]
    if wanted in names:
        return cluster.nodes[names.index(wanted)]
    near = nearest(str(wanted), names)
    raise UsageError(
        f"{cluster.name} has no node {wanted!r:.70}",
        details=f"did you mean {near!r}?" if near else None,
        resolution=f"choose one of {', '.join(names)}; a command for the node follows '--'",
    )


def ssh_command(cluster: ClusterView, node: NodeView, folder: Path, tail: Sequence[str]) -> list[str]:
    """The argument list of ssh. Raises ClusterError or PragmaError when there is no way in."""
    frontend = cluster.nodes[0]
    if not cluster.public_ip:
        raise ClusterError(f"the address of {cluster.name} is not known", resolution="'pragma list cluster' shows it")
    options = _options(folder)
    port = ["-p", str(cluster.ssh_port)] if cluster.ports else []
    way = ["ssh", *options, "-o", f"HostKeyAlias={frontend.name}", *port]
    if node is frontend:
        target = cluster.public_ip
    else:
        if not node.ip:
            raise ClusterError(f"the address of {node.name} is not known", resolution="log in to the frontend first")
        # ssh hands the line to a shell and reads % as its own
        jump = shlex.join([*way, "-W", f"{node.ip}:22", f"root@{cluster.public_ip}"]).replace("%", "%%")
        way = ["ssh", *options, "-o", f"HostKeyAlias={node.name}", "-o", f"ProxyCommand={jump}"]
        target = node.ip
    command = [shlex.join(tail)] if len(tail) > 1 else list(tail)
    return [*way, f"root@{target}", *(["--", *command] if command else [])]


def _options(folder: Path) -> list[str]:
    key, known = folder / "key", folder / "known_hosts"
    if not os.access(key, os.R_OK):
        raise PragmaError(
            f"the cluster's key {key} is not there or not yours to read",
            resolution="run as the user who booted the cluster, or use ssh with a key of your own",
        )
    # hosts whose keys we made are never believed blindly; others are remembered at the first visit, each for itself
    ours = known.exists()
    pairs = {
        "IdentityFile": _quoted(key),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _quoted(known if ours else folder / "visited_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes" if ours else "accept-new",
        "ConnectTimeout": "30",  # the greeting included, which takes its time on emulated CPUs
        "LogLevel": "ERROR",
    }
    return [word for name, value in pairs.items() for word in ("-o", f"{name}={value}")]


def _quoted(path: Path) -> str:
    """A path for ssh's options, which split at blanks and expand percent signs."""
    return '"' + str(path).replace("%", "%%") + '"'


COMMAND = Command(
    "ssh",
    "Log in to a node as root, or run a command there",
    _run,
    (CLUSTER, NODE),
    body=(
        "The node is the frontend unless one is named; compute nodes are reached through it. The words after '--' are"
        " run on the node, and their exit status is ours; one single word is given to the node's shell as it is.",
    ),
    examples=(
        ("pragma ssh demo", "a shell on the frontend"),
        ("pragma ssh demo compute-0 -- uptime", "a command on a compute node"),
    ),
    tail=True,
)
