"""Whether QEMU's user can reach what libvirt will be told to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.engine import CLUSTERS, EmptyDisks, leases, plan
from pragma_boot.driver.libvirt import preflight, reach
from pragma_boot.driver.placing import allocation
from pragma_boot.errors import DriverError
from pragma_boot.model import KernelBoot, PublicSide

SIDE = PublicSide(CLUSTERS.public_network, CLUSTERS.gw, ())

NOBODY = reach.Person("nobody", 65533, frozenset({65533}))


@pytest.fixture
def folder(open_folder: Path) -> Path:
    return open_folder


def test_a_closed_parent_is_named(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True)
    assert reach.closed_folder(folder / "a/b", NOBODY) is None
    (folder / "a").chmod(0o750)
    assert reach.closed_folder(folder / "a/b/not-yet", NOBODY) == folder / "a"


def test_owner_group_and_others_have_their_own_bits(folder: Path) -> None:
    status = folder.stat()
    folder.chmod(0o710)
    member = reach.Person("member", 65533, frozenset({status.st_gid}))
    assert reach.closed_folder(folder, member) is None
    folder.chmod(0o701)
    assert reach.closed_folder(folder, member) == folder
    assert reach.closed_folder(folder, NOBODY) is None


def test_root_reaches_everything(folder: Path) -> None:
    folder.chmod(0o000)
    assert reach.closed_folder(folder, reach.Person("root", 0, frozenset({0}))) is None
    folder.chmod(0o755)


@pytest.mark.parametrize(("label", "uid"), [("+64055:+107", 64055), ("+0:+0", 0)])
def test_a_label_of_libvirt_is_a_person(label: str, uid: int) -> None:
    found = reach.person(label)
    assert found
    assert found.uid == uid


def test_a_label_that_is_none_is_nobody() -> None:
    assert reach.person("system_u:object_r:virt_t") is None


def test_every_fault_of_the_nodes_files_is_told_with_its_mend(folder: Path) -> None:
    wanted = plan("drv-a", 1)
    made = allocation(wanted, leases(wanted), SIDE, {n.name: "" for n in wanted.nodes})
    disks = EmptyDisks(folder).of(made)
    preflight.check_reach(NOBODY, disks.values(), ())
    (folder / "image.raw").chmod(0o600)
    (folder / "boot").mkdir(mode=0o700)
    with pytest.raises(DriverError) as caught:
        preflight.check_reach(NOBODY, disks.values(), [KernelBoot(folder / "boot/vmlinuz", None, "")])
    mend = str(caught.value.resolution)
    assert f"chmod o+r {folder}/image.raw" in mend
    assert f"chmod o+x {folder}/boot" in mend
