"""`pragma repository index`: for publishers: the checksums of a repository, and its catalog where there is none."""

from __future__ import annotations

from pathlib import Path

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import FileName


def _run(session: Session, *, folder: Path, sign_key: Path | None) -> None:
    from pragma_boot.repository.index import write_index  # noqa: PLC0415 - help and completion do without it

    with session.progress() as progress:
        done = write_index(folder, sign_key, progress)
    names = ", ".join(path.name for path in done.written)
    images = f"{done.images} image{'s'[: done.images != 1]}"
    session.out(f"{images}, {done.size / 1024**2:.0f} MiB: wrote {names} in {folder}\n")


COMMAND = Command(
    "repository index",
    "Write the checksums of a repository that you publish",
    _run,
    (
        Positional("folder", FileName("folder"), "The repository: the catalog and a folder for each image."),
        Parameter("sign-key", FileName(), "An ssh private key that signs the index.", unsaid="not signed"),
    ),
    body=("Sites that fetch from it then check every file. Needs no configuration; docs/repositories.md tells how to"
          " publish.",),
    examples=(
        ("pragma repository index /srv/www/pragma", "write vcdb.json and SHA256SUMS there"),
        ("pragma repository index /srv/www/pragma sign-key=~/.ssh/publisher", "and sign the index"),
    ),
)  # fmt: skip
