"""`pragma init`: a working configuration for this host."""

from __future__ import annotations

from pathlib import Path

from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import FileName, YesNo


def _run(session: Session, *, folder: Path | None, user: bool | None, remove: bool, force: bool) -> None:
    lines = session.site.init(folder, user=user, remove=remove, force=force)
    session.out("".join(f"{line}\n" for line in lines))


COMMAND = Command(
    "init",
    "Write a working site configuration for this host",
    _run,
    (
        Parameter(
            "folder", FileName("folder"), "Where the files go.",
            unsaid="$PRAGMA_BOOT_ETC, else etc of the checkout, else /etc/pragma_boot; a user's: ~/.config/pragma_boot",
        ),
        Parameter(
            "user", YesNo(), "A site of your own, whose clusters need nothing of root's (docs/rootless.md).",
            unsaid="if you may not use the system's libvirt, or bridges cannot be made",
        ),
        Parameter("force", YesNo(), "Replace files that are there.", default=False),
        Parameter("remove", YesNo(), "Remove what an earlier 'pragma init' wrote, instead.", default=False),
    ),
    body=(
        "Looks at this host and writes site_conf.conf and libvirt.conf, or qemu.conf for a site of your own;"
        " docs/site-config.md explains every key.",
    ),
    examples=(
        ("pragma init", "then 'pragma check site'"),
        ("pragma init --user", "clusters of your own, without root"),
    ),
)  # fmt: skip
