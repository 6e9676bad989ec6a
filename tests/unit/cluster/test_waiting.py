from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.cluster_site import make_site
from fakes.engine import LIBVIRT
from pragma_boot import accel
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.config.settings import Accel
from pragma_boot.errors import NotReadyError
from pragma_boot.files import StateFolder
from pragma_boot.model import ImageName, NodeName


def prove_kvm(state: StateFolder) -> None:
    """Have the state folder say that KVM was proved to work since this machine started."""
    qemu = accel.emulator()
    if qemu is None or not os.access(accel.DEVICE, os.R_OK | os.W_OK):
        pytest.skip("needs QEMU and /dev/kvm")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = {"boot": boot_id, "qemu": str(qemu), "qemu_mtime_ns": qemu.stat().st_mtime_ns, "works": True, "why": ""}
    state.root.mkdir(parents=True, exist_ok=True)
    state.accel.write_text(json.dumps(known))


def silent_boot(root: Path, wish: Accel) -> NotReadyError:
    """The error of a boot whose frontend says nothing on its console."""
    site = make_site(root, wait=0.3, silent=frozenset({NodeName("demo")}))
    site.settings = replace(site.settings, libvirt=replace(LIBVIRT, accel=wish))
    with pytest.raises(NotReadyError) as caught:
        boot(site, BootRequest(ImageName("demo"), 0))
    return caught.value


def test_a_silent_node_under_kvm_gets_the_hint(tmp_path: Path) -> None:
    prove_kvm(StateFolder(tmp_path / "state"))
    assert "KVM may not work" in str(silent_boot(tmp_path, Accel.AUTO).resolution)


def test_a_silent_node_without_kvm_gets_no_such_hint(tmp_path: Path) -> None:
    prove_kvm(StateFolder(tmp_path / "state"))
    assert "KVM may not work" not in str(silent_boot(tmp_path, Accel.TCG).resolution)
