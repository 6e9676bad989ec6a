"""`pragma shutdown`: stop a cluster's nodes and keep everything."""

from __future__ import annotations

from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER
from pragma_boot.cli.session import Session


def _run(session: Session, *, vc_name: str) -> None:
    name = session.site.resolve(vc_name, gone=True)
    with session.progress() as progress:
        session.site.shutdown(name, progress)
    session.out(f"{name} is shut down\n")


COMMAND = Command(
    "shutdown",
    "Shut a cluster's nodes down; its disks and addresses stay",
    _run,
    (CLUSTER,),
    body=(
        "Nodes are asked to stop, and after 'shutdown_grace' seconds they are forced. No error when they do not run.",
    ),
    examples=(
        ("pragma shutdown demo", "stop all nodes; 'pragma start demo' goes on"),
        ("pragma shutdown demo -q", "the same without progress"),
    ),
    notes=("Exit status 0 also when the cluster was shut down, or cleaned, before.",),
    keeps_log=True,
)
