"""`pragma clean`: remove a cluster; the only command that deletes one."""

from __future__ import annotations

from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import CLUSTER
from pragma_boot.cli.session import Session


def _run(session: Session, *, vc_name: str) -> None:
    name = session.site.resolve(vc_name, gone=True)
    session.site.clean(name)
    session.out(f"{name} is removed\n")


COMMAND = Command(
    "clean",
    "Remove every trace of a cluster that is shut down or broken",
    _run,
    (CLUSTER,),
    body=("Its disks are deleted and its addresses become free. A cluster whose nodes run is refused.",),
    examples=(
        ("pragma clean demo", "after 'pragma shutdown demo'"),
        ("pragma clean demo logfile=clean.log loglevel=DEBUG", "with a log of every step"),
    ),
    notes=(
        "Exit status 0 also when the cluster was cleaned before; 1 while its nodes run; 3 when a cloud removes the rest"
        " by itself later: `clean` after that finishes it.",
    ),
    keeps_log=True,
)
