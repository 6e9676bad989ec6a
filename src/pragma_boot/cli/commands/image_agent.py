"""`pragma image agent`: a copy of an image of the repository, with our guest agent in it."""

from __future__ import annotations

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Image, NewImage
from pragma_boot.model import ImageName, image_name


def _run(session: Session, *, image: ImageName, name: ImageName | None) -> None:
    wanted = name or image_name(f"{image}-agent")
    with session.progress([wanted]) as progress:
        document = session.site.add_agent(image, wanted, progress)
    session.out(f"image {wanted} is in the repository: {document}\n")


COMMAND = Command(
    "image agent",
    "Copy an image and put the guest agent into the copy",
    _run,
    (
        Positional("image", Image(), "The image to copy; it is only read."),
        Parameter("name", NewImage(), "What to call the copy.", unsaid="the image's, with -agent"),
    ),
    body=("Machines of the copy configure themselves from user data or /root/vc-out.xml: for clouds whose disks nobody"
          " can edit. The image needs Python 3.6 or later; the copy is a qcow2 file. A copy that is there already and"
          " right is left alone.",),
    examples=(
        ("pragma image agent debian", "make debian-agent"),
        ("pragma image agent debian name=debian-cloud", "call it debian-cloud"),
    ),
    keeps_log=True,
)  # fmt: skip
