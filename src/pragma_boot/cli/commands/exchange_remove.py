"""`pragma exchange remove`: forgets a job of this machine's exchange."""

from __future__ import annotations

from pathlib import Path

from pragma_boot.cli.args import Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import DATABASE
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Text
from pragma_boot.errors import ExchangeError


def _run(session: Session, *, job: str, database: Path | None) -> None:
    from pragma_boot.exchange.jobs import Jobs, default_database, job_name  # noqa: PLC0415 - help does without it

    if not Jobs(database or default_database()).remove(job_name(job)):
        raise ExchangeError(f"there is no job {job}", resolution="'pragma exchange list' shows the jobs")
    session.out(f"removed job {job}\n")


COMMAND = Command(
    "exchange remove",
    "Remove a job of the exchange, and all that it has",
    _run,
    (Positional("job", Text("job"), "The job."), DATABASE),
    body=("Its token, what is published and all claims. Clusters that have joined stay joined; no further one can.",),
    examples=(
        ("pragma exchange remove biolab", "when its clusters are gone"),
        ("pragma exchange remove biolab database=/srv/exchange.db", "of an exchange that keeps it there"),
    ),
)
