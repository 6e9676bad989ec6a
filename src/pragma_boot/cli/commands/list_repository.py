"""`pragma list repository`: the images that may be booted."""

from __future__ import annotations

from pragma_boot.cli import render
from pragma_boot.cli.command import Command
from pragma_boot.cli.commands.rows import JSON
from pragma_boot.cli.session import Session


def _run(session: Session, *, json: bool) -> None:
    catalog = session.site.catalog()
    session.warn(*catalog.warnings)
    for note in catalog.notes:
        session.note(note)
    session.out(render.as_json(render.catalog_json(catalog)) if json else render.catalog_list(catalog))


COMMAND = Command(
    "list repository",
    "List the images that the site's repository offers",
    _run,
    (JSON,),
    examples=(
        ("pragma list repository", "the names, one a line below a heading"),
        ("pragma list repository --json", "names and documents, for a program"),
    ),
    notes=("The heading is `VIRTUAL IMAGE`. Warnings about the catalog go to standard error.",),
)
