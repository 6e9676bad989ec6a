"""`pragma exchange token`: lets a group of clusters use this machine's exchange."""

from __future__ import annotations

from pathlib import Path

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import DATABASE
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import FileName, Text


def _run(session: Session, *, job: str, file: Path | None, database: Path | None) -> None:
    from pragma_boot import files  # noqa: PLC0415 - help and completion do without it
    from pragma_boot.exchange.jobs import Jobs, default_database, job_name  # noqa: PLC0415

    jobs = Jobs(database or default_database())
    if not file:
        session.out(f"{jobs.renew_token(job_name(job))}\n")
        return
    with files.unfinished(file, 0o600) as temporary:  # whether it can be written is known before a token is void
        temporary.write_text(f"{jobs.renew_token(job_name(job))}\n")
    session.out(f"the token of job {job} is in {file}\n")


COMMAND = Command(
    "exchange token",
    "Make a job of the exchange, or a new token for it",
    _run,
    (
        Positional("job", Text("job"), "What to call the overlay: letters, digits, '.', '_' and '-'."),
        Parameter("file", FileName(), "Write the token there, for its owner alone.", unsaid="it is printed"),
        DATABASE,
    ),
    body=("Whoever has the token may publish in the job and join its overlay. A token that the job had is void; what"
          " is published stays.",),
    examples=(
        ("pragma exchange token biolab file=biolab.token", "hand that file to the sites of the group"),
        ("pragma exchange token biolab", "print one; the earlier one is void then"),
    ),
)  # fmt: skip
