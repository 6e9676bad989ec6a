"""`pragma exchange list`: the jobs of this machine's exchange."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pragma_boot.cli import render
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import DATABASE, JSON
from pragma_boot.cli.session import Session


def _run(session: Session, *, database: Path | None, json: bool) -> None:
    from pragma_boot.exchange.jobs import Jobs, default_database  # noqa: PLC0415 - help and completion do without it

    jobs = Jobs(database or default_database()).listed()
    if json:
        session.out(render.as_json([{**asdict(job), "published": job.published or None} for job in jobs]))
        return
    rows = [("JOB", "CREATED", "PUBLISHED", "SLOTS")]
    rows += [(job.name, job.created, job.published or "-", _held(job.claimed, job.slots)) for job in jobs]
    session.out(render.columns(rows, (8, 7, 9)))


def _held(claimed: int, slots: int | None) -> str:
    return "-" if slots is None else f"{claimed} of {slots}"


COMMAND = Command(
    "exchange list",
    "List the jobs of the exchange",
    _run,
    (DATABASE, JSON),
    body=("Tokens and what is published are not shown.",),
    examples=(
        ("pragma exchange list", "jobs, and how many slots their clusters hold"),
        ("pragma exchange list --json", "the same for a program"),
    ),
)
