"""`pragma sync repository`: have every image of the catalog ready on this machine."""

from __future__ import annotations

import logging

from pragma_boot.cli import render
from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import JSON
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import YesNo
from pragma_boot.errors import ClusterBusyError, RepositoryError
from pragma_boot.repository.base import SyncReport

_log = logging.getLogger(__name__)


def _run(session: Session, *, prune: bool, dry_run: bool, json: bool) -> None:
    try:
        with session.progress() as progress:
            report = session.site.sync(dry_run=dry_run, prune=prune, progress=progress)
    except ClusterBusyError as busy:
        session.note(f"{busy.message}: this one does nothing")
        report = SyncReport(())
    for image in report.images:
        _log.info("%s: %s%s", image.name, image.outcome, f": {image.reason}" if image.reason else "")
    session.out(render.as_json(render.sync_json(report)) if json else render.sync_list(report))
    if report.failed:
        raise RepositoryError(
            f"{len(report.failed)} of {len(report.images)} images failed",
            details="\n".join(f"{image.name}: {image.reason}" for image in report.failed),
            resolution="mend or remove these images, then repeat; the others are ready",
        )


COMMAND = Command(
    "sync repository",
    "Make every image of the repository ready to boot",
    _run,
    (
        Parameter(
            "prune", YesNo(), "Also remove disks that are offered no more and that no cluster uses.", default=False
        ),
        Parameter("dry-run", YesNo(), "Say what would be done and change nothing.", default=False),
        JSON,
    ),
    body=(
        "One image that fails does not stop the others; the exit status is 1 then. Fit for cron: a second one ends at"
        " once, boots go on beside it, and what was interrupted goes on where it was.",
    ),
    examples=(
        ("pragma sync repository dry-run=yes", "what would be fetched"),
        ("pragma sync repository --prune quiet=yes", "from cron: up to date, and nothing old left behind"),
    ),
    notes=("The log is `sync.log` in log_directory, to which each run appends.",),
    keeps_log="sync.log",
)
