"""`pragma console`: what a node writes on its serial console, also while it cannot be reached."""

from __future__ import annotations

import selectors
import time
from pathlib import Path

from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER, NODE
from pragma_boot.cli.commands.ssh import find_node
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import YesNo
from pragma_boot.errors import ClusterError, PragmaError


def _run(session: Session, *, vc_name: str, node: str | None, follow: bool) -> None:
    name = session.site.resolve(vc_name)
    found = find_node(session.site.cluster(name), node)
    path = session.site.console_log(name, found.name)
    if path is None or not (follow or path.exists()):
        raise ClusterError(
            f"there is no console log of {found.name}",
            resolution="its driver keeps none, or the node has not been started yet",
        )
    try:
        _show(session, path, follow=follow)
    except PermissionError as error:
        raise PragmaError(
            f"cannot read {path}", details=error.strerror, resolution="run as the user who booted the cluster"
        ) from error


def _show(session: Session, path: Path, *, follow: bool) -> None:
    """Write the log's lines, cleaned (guests are untrusted), and then, with *follow*, what is added."""
    from pragma_boot.cluster.console import ConsoleLog, clean  # noqa: PLC0415
    from pragma_boot.cluster.watch import FolderWatch  # noqa: PLC0415 - loads inotify

    console = ConsoleLog(path)
    with selectors.DefaultSelector() as selector, FolderWatch([path.parent], selector) as watch:
        while True:
            while text := console.read():
                session.out("".join(f"{clean(line, 4096)}\n" for line in console.lines(text)))
            if not follow:
                break
            now = time.monotonic()
            if selector.select(watch.due(now) - now):
                watch.drain(time.monotonic())
    console.close()


COMMAND = Command(
    "console",
    "Show what a node writes on its serial console, and follow it",
    _run,
    (
        CLUSTER,
        NODE,
        Parameter("follow", YesNo(), "Go on with what is added, until Ctrl-C.", default=True),
    ),
    body=("The node is the frontend unless one is named.",),
    examples=(
        ("pragma console demo", "watch the frontend boot"),
        ("pragma console demo compute-0 follow=no", "what a compute node has written so far"),
    ),
)
