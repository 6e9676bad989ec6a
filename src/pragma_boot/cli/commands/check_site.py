"""`pragma check site`: everything that is wrong with this site, at once, each with its mend."""

from __future__ import annotations

from pragma_boot.cli import render
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import JSON
from pragma_boot.cli.session import Session


def _run(session: Session, *, json: bool) -> int:
    faults = session.site.check()
    if json:
        session.out(render.as_json(render.faults_json(faults)))
    else:
        session.out(render.fault_list(faults) if faults else "the site is in order\n")
        for fact in session.site.facts():
            session.note(fact)
    return 1 if faults else 0


COMMAND = Command(
    "check site",
    "Tell all that is wrong with this site, and its mends",
    _run,
    (JSON,),
    body=("Looks at the configuration, the programs, the daemons and the networks, and notes how nodes' disks are"
          " edited here. Changes nothing. Exit status 1 when there is a fault.",),
    examples=(
        ("pragma check site", "before the first boot, and when a boot is refused"),
        ("pragma check site --json", "the faults as an array, for a program"),
    ),
)  # fmt: skip
