"""An image that configures itself from user data: `tiny` with Python and our guest agent, made once for each source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from live.site import ROOM, built_image, forget_unused
from pragma_boot.build.agent_image import add_agent
from pragma_boot.build.inject import program
from pragma_boot.files import lock
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.model import DiskFormat, ImageName, LocalDisk, LocalImage
from pragma_boot.repository import vc_in

NAME = ImageName("tiny-agent")


@contextmanager
def agent_image() -> Iterator[Path]:
    """The vc-in document of the image `tiny-agent`; its disk is the qcow2 file beside it, which is never written to.

    It is made of the flavour `tiny-python` by what `pragma image agent` does, and made anew when either changes.
    """
    with ExitStack() as used:
        document = used.enter_context(built_image("tiny-python"))
        folder = ROOM / "agent" / sha256(f"{document} {program()}".encode()).hexdigest()[:16]
        made = folder / NAME / f"{NAME}.xml"
        with lock(ROOM / "agent.lock"):
            used.enter_context(lock(folder.with_suffix(".lock"), shared=True))
            if not made.exists():
                forget_unused(folder.parent)
                shutil.rmtree(folder, ignore_errors=True)
                _make(document, folder)
        yield made


def _make(document: Path, folder: Path) -> None:
    path = document.with_suffix(".img")
    disk = LocalDisk(path, DiskFormat.RAW, path.stat().st_size)
    image = vc_in.load(document, ImageName(document.stem))
    store = FileDiskStore(folder / "scratch", lambda: "tcg")
    add_agent(LocalImage(image, disk, disk), NAME, folder, store)
