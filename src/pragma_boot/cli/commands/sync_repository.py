"""`pragma sync repository`: have every image of the catalog ready on this machine."""

from __future__ import annotations

from pragma_boot.cli import render
from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import JSON
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import YesNo
from pragma_boot.errors import RepositoryError


def _run(session: Session, *, dry_run: bool, json: bool) -> None:
    with session.progress() as progress:
        report = session.site.sync(dry_run=dry_run, progress=progress)
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
    (Parameter("dry-run", YesNo(), "Say what would be done and change nothing.", default=False), JSON),
    body=("One image that fails does not stop the others; the exit status is 1 then.",),
    examples=(
        ("pragma sync repository", "fetch and unpack what is missing or old"),
        ("pragma sync repository dry-run=yes", "what would be fetched"),
    ),
    keeps_log=True,
)
