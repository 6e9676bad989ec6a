"""`pragma image publish`: an image of the repository, as a template of the site's cloud."""

from __future__ import annotations

from pragma_boot.cli.args import Parameter, Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Image, Text
from pragma_boot.model import ImageName, Role


def _run(session: Session, *, name: ImageName, url: str | None, compute_url: str | None, checksum: str | None) -> None:
    urls = {Role.FRONTEND: url or "", Role.COMPUTE: compute_url or ""}
    with session.progress([name]) as progress:
        templates = session.site.publish(name, urls, checksum or "", progress)
    session.out(f"image {name} is ready in the cloud: {', '.join(templates)}\nboot it:  pragma boot {name} 2\n")


COMMAND = Command(
    "image publish",
    "Have the site's cloud fetch an image as its template",
    _run,
    (
        Positional("name", Image(), "The image, as the repository's catalog has it."),
        Parameter("url", Text("URL"), "Where the cloud gets the frontend's disk (http or https)."),
        Parameter("compute-url", Text("URL"), "The computes' disk, where the image has another for them."),
        Parameter("checksum", Text("SHA256"), "SHA-256 of the frontend's disk, for the cloud to compare."),
    ),
    body=("For sites whose nodes are made from templates of a cloud. A template is called as the disk in the image's"
          " description, up to its first dot. The command waits until it is ready; one that is ready already is left"
          " alone.",),
    examples=(
        ("pragma image publish demo url=https://example.org/d.qcow2", "make it a template"),
        ("pragma image publish lab url=URL compute-url=URL", "an image of two disks"),
    ),
    keeps_log=True,
)  # fmt: skip
