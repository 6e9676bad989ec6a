"""Results and errors as text: tables as schedulers read them (guest.md 9.2), JSON for programs.

What comes from images, catalogs and consoles is untrusted: `log.printable` keeps it from steering a terminal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pragma_boot.errors import Fault, PragmaError
from pragma_boot.log import masked, printable
from pragma_boot.model import Catalog

if TYPE_CHECKING:
    from pathlib import Path

    from pragma_boot.cluster.boot import Preview
    from pragma_boot.cluster.view import ClusterView, NodeView
    from pragma_boot.repository.base import SyncReport

HEADER = ("FRONTEND", "COMPUTE NODES", "STATUS", "PUBLIC IP")
_LEAST = (9, 13, 7)
_PORT = "PORT"
_NO_PORT = "-" * 5
_NO_COMPUTE = "-" * 13
_NO_ADDRESS = "-" * 15
_RED, _PLAIN = "\x1b[1;31m", "\x1b[0m"


def cluster_table(clusters: Iterable[ClusterView]) -> str:
    """The table of `list cluster`: the frontend's line, then its computes' lines, which begin with a colon.

    Schedulers take the address at the end of a line and look for "active": nothing follows it, no line is empty.
    A column with the ports of the frontends' ssh servers comes before it where one of them is not 22.
    """
    rows = [(*HEADER[:-1], _PORT, HEADER[-1])]
    for cluster in clusters:
        rows += _cluster_rows(cluster)
    if all(row[-2] in (_PORT, _NO_PORT, "22") for row in rows):
        return columns([(*row[:-2], row[-1]) for row in rows], _LEAST)
    return columns(rows, (*_LEAST, len(_NO_PORT)))


def columns(rows: Sequence[Sequence[str]], least: Sequence[int]) -> str:
    """A table; each column but the last is as wide as its widest cell, and at least so many characters."""
    widths = [max(width, *(len(row[column]) for row in rows)) for column, width in enumerate(least)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) + "\n"
        for row in rows
    )


def catalog_list(catalog: Catalog) -> str:
    """The text of `list repository`: a heading, then one name a line."""
    return "".join(f"{line}\n" for line in ["VIRTUAL IMAGE", *(entry.name for entry in catalog.entries)])


def booted(cluster: ClusterView) -> str:
    """What `boot` and `start` leave on standard output: what there is, and how to log in."""
    lines = [f"{cluster.name} is {cluster.state}: {_size(cluster.nodes)}"]
    if cluster.public_ip:
        port = f"-p {cluster.ssh_port} " if cluster.ports else ""
        lines.append(f"log in:  ssh {port}root@{cluster.public_ip}")
        lines.append(f"    or:  pragma ssh {cluster.name}")
    lines += _further(cluster.nodes[0] if cluster.nodes else None)
    return "".join(f"{line}\n" for line in lines)


def previewed(preview: Preview) -> str:
    """What `boot dry-run=yes` says."""
    lines = [
        f"would boot {preview.cluster} from {preview.image}: {_size(preview.nodes)}",
        f"public address: {preview.public_ip or 'what the cloud assigns'} ({preview.fqdn})",
    ]
    lines += _further(preview.nodes[0])
    width = max(len(node.name) for node in preview.nodes)
    lines += [
        f"  {node.name.ljust(width)}  {node.role.value.ljust(8)}  {_count(node.cpus, 'CPU')}, {node.memory_mib} MB"
        for node in preview.nodes
    ]
    return "".join(f"{line}\n" for line in [*lines, "nothing was changed"])


def sync_list(report: SyncReport) -> str:
    """One line an image: its name and what was done."""
    width = max((len(image.name) for image in report.images), default=0)
    return "".join(
        f"{image.name.ljust(width)}  {image.outcome}{f': {printable(image.reason)}' if image.reason else ''}\n"
        for image in report.images
    )


def fault_list(faults: Sequence[Fault]) -> str:
    """Every fault of a site with its mend below it."""
    lines = []
    for fault in faults:
        lines.append(f"{printable(fault.where)}: {printable(fault.what)}")
        if fault.mend:
            lines.append(f"    mend: {printable(fault.mend)}")
    return "".join(f"{line}\n" for line in lines)


# ------------------------------------------------------------------------------------- JSON (docs/output.schema.json)


def as_json(value: Any) -> str:
    """JSON text of one result: ASCII, indented, ends in a newline."""
    return json.dumps(value, indent=2) + "\n"


def cluster_json(cluster: ClusterView) -> dict[str, Any]:
    """A cluster; what is unknown is null."""
    return {
        "name": cluster.name,
        "image": cluster.image or None,
        "state": cluster.state,
        "fqdn": cluster.fqdn or None,
        "public_ip": cluster.public_ip or None,
        "ports": {str(inside): outside for inside, outside in cluster.ports.items()},
        "created": cluster.created or None,
        "owner": cluster.owner or None,
        "note": cluster.note or None,
        "nodes": [_node_json(node) for node in cluster.nodes],
    }


def preview_json(preview: Preview) -> dict[str, Any]:
    """What a boot would make."""
    return {
        "name": preview.cluster,
        "image": preview.image,
        "state": "planned",
        "fqdn": preview.fqdn or None,
        "public_ip": preview.public_ip or None,
        "nodes": [_node_json(node) for node in preview.nodes],
    }


def catalog_json(catalog: Catalog) -> list[dict[str, Any]]:
    """The images of a repository."""
    return [{"name": entry.name, "document": str(entry.path)} for entry in catalog.entries]


def sync_json(report: SyncReport) -> list[dict[str, Any]]:
    """The outcome of each image."""
    return [{"name": image.name, "outcome": image.outcome, "reason": image.reason or None} for image in report.images]


def faults_json(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """The faults of a site; empty when there is none."""
    return [{"where": fault.where, "what": fault.what, "mend": fault.mend or None} for fault in faults]


# --------------------------------------------------------------------------------------------------------------- errors


def error(failure: PragmaError, stream: TextIO, logfile: Path | None = None) -> None:
    """Write a failure: the message, what was seen (indented), what to do, and where the log is."""
    mark = f"{_RED}error:{_PLAIN}" if coloured(stream) else "error:"
    lines = [f"pragma: {mark} {printable(masked(failure.message))}"]
    if failure.details:
        lines += [f"  {printable(line)}".rstrip() for line in masked(failure.details).splitlines()]
    arrow = "→" if (stream.encoding or "").lower().replace("-", "") == "utf8" else "->"
    if failure.resolution:
        first, *more = masked(failure.resolution).splitlines()
        lines += [f"{arrow} {printable(first)}", *(f"  {printable(line)}" for line in more)]
    if logfile:
        lines.append(f"  log: {logfile}")
    stream.write("\n".join([*lines, ""]))
    stream.flush()


def coloured(stream: TextIO) -> bool:
    """Whether colour is wanted on *stream*: a terminal that can, and nobody said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _cluster_rows(cluster: ClusterView) -> list[tuple[str, str, str, str, str]]:
    frontend = cluster.nodes[0] if cluster.nodes and cluster.nodes[0].role == "frontend" else None
    port = str(cluster.ssh_port)
    rows = [(f"{cluster.name}:", _NO_COMPUTE, cluster.state, port, cluster.public_ip or _NO_ADDRESS)]
    computes = cluster.nodes[1:] if frontend else cluster.nodes
    return rows + [(":", node.name, node.state, _NO_PORT, _NO_ADDRESS) for node in computes]


def _node_json(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "role": node.role.value,
        "state": node.state,
        "ip": node.ip or None,
        "cpus": node.cpus,
        "memory_mib": node.memory_mib,
        "host": node.host or None,
        "networks": dict(node.networks),
    }


def _further(frontend: NodeView | None) -> list[str]:
    """A line for each further network: the frontend's address; computes have those after it."""
    return [f"network {name}: from {address}" for name, address in frontend.networks.items()] if frontend else []


def _size(nodes: Sequence[NodeView]) -> str:
    return f"1 frontend, {_count(len(nodes) - 1, 'compute node')}"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
