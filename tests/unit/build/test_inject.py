"""The agent in an image: what starts it, with which Python, and images that cannot have it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from fakes import images
from fakes.disks import ext_disk, fsck, local, sh
from fakes.guest import FakeGuest
from fakes.machine import build
from pragma_boot.build.agent_image import add_agent
from pragma_boot.build.inject import UNITS, agent_edits, program, shipped
from pragma_boot.errors import GuestError, NotAvailableError, PragmaError
from pragma_boot.image.base import Write
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import AGENT
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.image.render.agent import applied_mark
from pragma_boot.model import (
    Disk,
    DiskFormat,
    ImageName,
    LocalDisk,
    LocalImage,
    NodeName,
    VolumeSource,
)
from pragma_boot.repository import vc_in

NAME = ImageName("demo-agent")
PYTHON = {"/usr/bin/python3": "-> python3.11", "/usr/bin/python3.11": ""}


def injected(name: str, **more: str | bytes | None) -> FakeGuest:
    guest = images.root(name, **{**PYTHON, **more})
    guest.apply(agent_edits(guest))
    return guest


def test_systemd_starts_it() -> None:
    guest = injected("netplan")
    for unit in UNITS:
        folder = "sysinit" if "local" in unit else "multi-user"
        assert guest.readlink(f"/etc/systemd/system/{folder}.target.wants/{unit}") == f"/etc/systemd/system/{unit}"
        assert guest.exists(f"/etc/systemd/system/{unit}")
    assert guest.read(AGENT).startswith(b"#!/usr/bin/python3 -IS\n")
    assert guest.tree()[AGENT][0] == 0o755
    assert inspect(guest).agent


def test_the_units_are_in_order(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit).write_bytes(shipped(unit).replace(AGENT.encode(), b"/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / unit for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "pragma-guest" in line]) == (0, [])


def test_python_is_started_only_when_something_is_to_be_done(tmp_path: Path) -> None:
    unit = shipped("pragma-guest-local.service").decode()
    line = next(line for line in unit.splitlines() if line.startswith("ExecCondition="))
    words = shlex.split(line.partition("=")[2].replace("$$", "$"))
    top, mark = tmp_path / "top", "/var/lib/pragma-guest/applied.sha256"

    def start() -> bool:
        script = words[2].replace("/var/lib", f"{top}/var/lib").replace("/root/", f"{top}/root/")
        return subprocess.run([*words[:2], script], check=False, capture_output=True).returncode == 0

    build(str(top), {"/root/vc-out.xml": (0o600, b"<vc/>"), "/etc/hosts": (0o644, b"")})
    assert start(), "nothing was applied"
    build(str(top), {mark: (0o600, applied_mark(b"<vc/>", [Write(f"{top}/etc/hosts", b"")]).data)})
    assert not start()
    (top / "etc/hosts").unlink()
    assert start(), "a file is gone"
    (top / "etc/hosts").touch()
    (top / "root/vc-out.xml").write_bytes(b"<vc></vc>")
    assert start(), "another document"


@pytest.mark.parametrize("name", ["pragma-guest.openrc", "pragma-guest-late.openrc", "pragma-guest.sysv"])
def test_scripts_are_posix(name: str) -> None:
    subprocess.run(["dash", "-n"], input=shipped(name), check=True)


def test_openrc_starts_it() -> None:
    guest = injected("script", **{"/etc/runlevels/default/local": "-> /etc/init.d/local"})
    assert guest.readlink("/etc/runlevels/boot/pragma-guest") == "/etc/init.d/pragma-guest"
    assert guest.readlink("/etc/runlevels/default/pragma-guest-late") == "/etc/init.d/pragma-guest-late"


def test_old_init_starts_it_before_and_after_the_network() -> None:
    guest = injected("script", **{"/etc/rc.d/init.d/network": ""})
    assert guest.readlink("/etc/rc.d/rc3.d/S05pragma-guest") == "../init.d/pragma-guest"
    assert guest.readlink("/etc/rc.d/rc5.d/S12pragma-guest-late") == "../init.d/pragma-guest"


def test_an_init_that_names_it_needs_nothing() -> None:
    guest = injected("busybox", **{"/etc/init.d/boot": f"#!/bin/sh\n{AGENT} local\n"})
    assert not [path for path in guest.tree() if "pragma-guest" in path and path != AGENT]


def test_what_makes_a_machine_itself_goes_and_its_network_stays() -> None:
    guest = injected("networkd", **{"/root/vc-out.xml": "<vc/>", "/var/lib/pragma-guest/applied.sha256": "x"})
    gone = ("/root/vc-out.xml", "/var/lib/pragma-guest/applied.sha256", "/etc/ssh/ssh_host_rsa_key")
    assert not [path for path in (*gone, "/var/lib/systemd/random-seed") if guest.exists(path)]
    assert guest.read("/etc/machine-id") == b""
    assert guest.exists("/etc/systemd/network/20-wired.network")


@pytest.mark.parametrize("name", ["networkd", "networkmanager", "wicked", "ifcfg"])
def test_the_second_time_changes_nothing(name: str) -> None:
    guest = injected(name)
    before = guest.tree()
    guest.apply(agent_edits(guest))
    assert guest.tree() == before


REFUSED = {
    "an old consumer": ({"/opt/vc-out-parser/x.py": ""}, "reads vc-out by itself"),
    "no Python": ({"/usr/bin/python3": "-> gone"}, "no Python 3"),
    "an old Python": ({"/usr/bin/python3": "-> python3.5", "/usr/bin/python3.5": ""}, r"Python 3\.5 is too old"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_cannot_have_it(case: str) -> None:
    more, why = REFUSED[case]
    with pytest.raises(GuestError, match=why):
        injected("networkd", **more)


def test_an_init_that_we_do_not_know_is_told() -> None:
    with pytest.raises(GuestError, match="nothing in the image would start the agent"):
        injected("script")


def test_an_enterprise_python_is_found() -> None:
    guest = images.root("networkmanager", **{"/usr/libexec/platform-python": "-> platform-python3.6",
                                             "/usr/libexec/platform-python3.6": ""})  # fmt: skip
    guest.apply(agent_edits(guest))
    assert guest.read(AGENT).startswith(b"#!/usr/libexec/platform-python -IS\n")


# ------------------------------------------------------------------------------------------------------ real disks

CONTEXTS = """/.* system_u:object_r:default_t:s0
/usr/libexec/.* -- system_u:object_r:bin_t:s0
/etc/systemd/system(/.*)? system_u:object_r:systemd_unit_file_t:s0
"""


@pytest.fixture
def source(tmp_path: Path) -> LocalImage:
    policy = "/etc/selinux/targeted/contexts/files/file_contexts"
    guest = images.root("networkmanager", **PYTHON, **{policy: CONTEXTS})
    build(str(tmp_path / "tree"), guest.tree())
    return local(ext_disk(tmp_path / "demo.img", tmp_path / "tree", options="-I 256"))


@pytest.fixture
def store(tmp_path: Path) -> FileDiskStore:
    return FileDiskStore(tmp_path / "disks", lambda: "tcg")


def test_a_copy_has_the_agent_and_the_source_is_untouched(
    source: LocalImage, store: FileDiskStore, tmp_path: Path
) -> None:
    before = source.frontend.path.read_bytes()
    document = add_agent(source, NAME, tmp_path / "repository", store)
    assert source.frontend.path.read_bytes() == before
    made = vc_in.load(document, NAME)
    disk = document.parent / "demo-agent.qcow2"
    assert made.for_role(made_role()).source.file == disk.name
    fsck(disk)
    facts = sh("qemu-img", "info", "--output=json", disk).stdout
    assert "backing-filename" not in facts
    with store.inspect(LocalDisk(disk, DiskFormat.QCOW2, source.frontend.size)) as guest:
        assert guest.read(AGENT).decode() == program("/usr/bin/python3 -IS")
        assert inspect(guest).agent


def made_role() -> object:
    from pragma_boot.model import Role

    return Role.COMPUTE


def test_what_is_put_in_has_its_selinux_label(source: LocalImage, store: FileDiskStore, tmp_path: Path) -> None:
    document = add_agent(source, NAME, tmp_path / "repository", store)
    raw = tmp_path / "raw.img"
    sh("qemu-img", "convert", "-O", "raw", document.with_suffix(".qcow2"), raw)
    for path, label in ((AGENT, "bin_t"), (f"/etc/systemd/system/{UNITS[0]}", "systemd_unit_file_t")):
        told = sh("debugfs", "-R", f"ea_get {path} security.selinux", f"{raw}?offset={1024 * 1024}").stdout
        assert label in told


def test_the_second_time_nothing_happens(source: LocalImage, store: FileDiskStore, tmp_path: Path) -> None:
    document = add_agent(source, NAME, tmp_path / "repository", store)
    disk = document.with_suffix(".qcow2")
    before = disk.stat()
    assert add_agent(source, NAME, tmp_path / "repository", store) == document
    assert disk.stat() == before
    source.frontend.path.touch()
    with pytest.raises(PragmaError, match="is there already"):
        add_agent(source, NAME, tmp_path / "repository", store)


def test_an_image_that_cannot_have_it_leaves_nothing(store: FileDiskStore, tmp_path: Path) -> None:
    build(str(tmp_path / "tree"), images.root("networkd").tree())
    image = local(ext_disk(tmp_path / "demo.img", tmp_path / "tree"))
    with pytest.raises(GuestError, match="no Python 3"):
        add_agent(image, NAME, tmp_path / "repository", store)
    assert list((tmp_path / "repository").iterdir()) == []


def test_volumes_are_refused(source: LocalImage, store: FileDiskStore, tmp_path: Path) -> None:
    volume = LocalDisk(Path("/nas/tank/vol"), DiskFormat.RAW, 0, VolumeSource("tank", "vol", "nas"))
    with pytest.raises(NotAvailableError, match="are volumes"):
        add_agent(LocalImage(source.image, volume, volume), NAME, tmp_path / "repository", store)


def test_a_disk_of_their_own_for_computes_is_copied_too(
    source: LocalImage, store: FileDiskStore, tmp_path: Path
) -> None:
    (tmp_path / "other.img").write_bytes(source.frontend.path.read_bytes())
    compute = LocalDisk(tmp_path / "other.img", DiskFormat.RAW, source.frontend.size)
    document = add_agent(LocalImage(source.image, source.frontend, compute), NAME, tmp_path / "repository", store)
    made = vc_in.load(document, NAME)
    assert made.compute is not None
    assert made.compute.source.file == "demo-agent-compute.qcow2"
    both = (document.parent / name for name in ("demo-agent.qcow2", "demo-agent-compute.qcow2"))
    disks = tuple(Disk(NodeName(f"n{i}"), path, DiskFormat.QCOW2, compute) for i, path in enumerate(both))
    with store.edit(disks) as guests:
        assert [inspect(guest).agent for guest in guests] == [True, True]
