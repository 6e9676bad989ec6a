"""Disks are filled side by side, and the first failure is the boot's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.cluster_site import FakeDisks, go_on, make_site, traces
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Edit, Guest
from pragma_boot.model import Disk, ImageName

REQUEST = BootRequest(ImageName("demo"), 6)


class Watched:
    """A guest whose edits are told to *before* first."""

    def __init__(self, guest: Guest, disk: Disk, before: Callable[[str], None]) -> None:
        self.guest, self.disk, self.before = guest, disk, before

    def apply(self, edits: Sequence[Edit]) -> None:
        self.before(self.disk.node)
        self.guest.apply(edits)


class WatchedDisks(FakeDisks):
    def __init__(self, root: Path, before: Callable[[str], None]) -> None:
        super().__init__(root, go_on)
        self.before = before

    @contextmanager
    def edit(self, disks: Sequence[Disk]) -> Iterator[Sequence[Guest]]:
        with super().edit(disks) as guests:
            yield [Watched(guest, disk, self.before) for guest, disk in zip(guests, disks, strict=True)]  # type: ignore[misc]


def site(root: Path, before: Callable[[str], None]) -> Site:
    made = make_site(root)
    disks = WatchedDisks(root / "disks", before)
    return Site(made.settings, repository=lambda: made.repository, driver=lambda: made.driver, disks=lambda: disks)


def test_disks_are_filled_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(4)  # the frontend and three computes: as many as the site allows

    def meet(_node: str) -> None:
        together.wait(10)

    assert len(boot(site(tmp_path, meet), REQUEST).nodes) == 4


def test_a_disk_that_cannot_be_filled_ends_the_boot_and_nothing_is_left(tmp_path: Path) -> None:
    def fail(node: str) -> None:
        if node == "compute-1":
            raise GuestError("its disk is full")

    with pytest.raises(GuestError, match="its disk is full"):
        boot(site(tmp_path, fail), REQUEST)
    assert traces(tmp_path) == set()
