"""`pragma image build`: an image made from Debian's own packages, put into the site's repository."""

from __future__ import annotations

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Choice, NewImage, Size, Text
from pragma_boot.model import ImageName


def _run(session: Session, *, name: ImageName, flavour: str, size: int | None, release: str | None) -> None:
    with session.progress([name]) as progress:
        document = session.site.build_image(name, flavour, release, size, progress)
    session.out(f"image {name} is in the repository: {document}\nboot it:  pragma boot {name} 2\n")


COMMAND = Command(
    "image build",
    "Build a Debian image and put it into the site's repository",
    _run,
    (
        Positional("name", NewImage(), "What to call the image."),
        Parameter(
            "flavour", Choice(("demo", "tiny", "tiny-overlay")),
            "demo is a small Debian with systemd and ssh; tiny is a kernel, BusyBox and ssh, for tests; variants of it"
            " have more.",
            default="demo",
        ),
        Parameter("size", Size(), "The disk's virtual size.", unsaid="the flavour's"),
        Parameter("release", Text("codename"), "The Debian release.", unsaid="the host's own"),
    ),
    body=("Runs as root on Debian with mmdebstrap and GRUB's tools installed. It takes minutes; an image that exists"
          " is never replaced.",),
    examples=(
        ("pragma image build demo", "then 'pragma boot demo 2'"),
        ("pragma image build small flavour=tiny size=256M", "an image that boots in seconds"),
    ),
    keeps_log=True,
)  # fmt: skip
