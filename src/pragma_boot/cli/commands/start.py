"""`pragma start`: run a cluster again that was shut down."""

from __future__ import annotations

from pragma_boot.cli import render
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER, JSON, WAIT
from pragma_boot.cli.session import Session


def _run(session: Session, *, vc_name: str, wait: float | None, json: bool) -> None:
    name = session.site.resolve(vc_name)
    with session.progress() as progress:
        cluster = session.site.start(name, wait, progress)
    session.out(render.as_json(render.cluster_json(cluster)) if json else render.booted(cluster))


COMMAND = Command(
    "start",
    "Start a cluster that was shut down",
    _run,
    (CLUSTER, WAIT, JSON),
    body=("Starts the nodes that do not run, the frontend first, and waits until all are ready.",),
    examples=(
        ("pragma start demo", "start all nodes that do not run"),
        ("pragma start demo wait=no", "return as soon as they are started"),
    ),
    keeps_log=True,
)
