"""accel: KVM is proved, not believed."""

import json
from pathlib import Path

import pytest

from pragma_boot import accel
from pragma_boot.errors import PreflightError
from pragma_boot.files import StateFolder

needs_qemu = pytest.mark.skipif(accel.emulator() is None, reason="needs QEMU")


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device that opens; whether KVM works is then the recorded answer's to say."""
    path = tmp_path / "kvm"
    path.touch()
    return path


def remember(state: StateFolder, proved: bool, **changes: object) -> None:
    qemu = accel.emulator()
    assert qemu
    answer = {
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "qemu": str(qemu),
        "qemu_mtime_ns": qemu.stat().st_mtime_ns,
        "works": proved,
        "why": "" if proved else "it hangs",
    }
    state.accel.write_text(json.dumps({**answer, **changes}))


def test_the_listing_is_a_multiboot_image_of_its_declared_length() -> None:
    image = accel.probe_guest()
    magic, flags, checksum = (int.from_bytes(image[at : at + 4], "little") for at in (0, 4, 8))
    assert (magic + flags + checksum) % 2**32 == 0
    assert int.from_bytes(image[20:24], "little") == 0x100000 + len(image)
    assert len(image) < 4096


@needs_qemu
def test_the_tiny_guest_does_its_work_under_tcg() -> None:
    assert accel.prove(accel.emulator(), "tcg", limit=30) is None  # type: ignore[arg-type]


@needs_qemu
def test_a_guest_that_is_too_slow_is_no_proof() -> None:
    why = accel.prove(accel.emulator(), "tcg", limit=0.05)  # type: ignore[arg-type]
    assert why
    assert "0.05 s" in why


def test_a_wish_for_tcg_asks_nobody(state: StateFolder) -> None:
    assert accel.works(state, "tcg") == "tcg"
    assert not list(state.root.iterdir())


def test_no_device_is_tcg_at_once(state: StateFolder, tmp_path: Path) -> None:
    assert accel.works(state, device=tmp_path / "none") == "tcg"
    assert not state.accel.exists()


def test_a_wish_for_kvm_without_it_is_a_fault_with_its_mend(state: StateFolder, tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as caught:
        accel.works(state, "kvm", device=tmp_path / "none")
    assert "cannot be opened" in caught.value.faults[0].what
    assert "accel = 'auto'" in caught.value.faults[0].mend


@needs_qemu
@pytest.mark.parametrize(("works", "expected"), [(True, "kvm"), (False, "tcg")])
def test_the_answer_is_kept_for_this_boot(state: StateFolder, device: Path, works: bool, expected: str) -> None:
    remember(state, works)
    assert accel.works(state, device=device, limit=0.01) == expected


@needs_qemu
@pytest.mark.parametrize("change", [{"boot": "another"}, {"qemu_mtime_ns": 1}, {"works": "yes"}, {"more": 1}])
def test_an_answer_of_another_boot_or_program_is_proved_again(
    state: StateFolder, device: Path, change: dict[str, object]
) -> None:
    remember(state, True, **change)
    assert accel.works(state, device=device, limit=0.01) == "tcg"
    assert json.loads(state.accel.read_text())["works"] is False


@pytest.mark.live
@needs_qemu
def test_what_is_said_of_this_machine_is_what_a_second_proof_finds(state: StateFolder) -> None:
    said = accel.works(state)
    assert (accel.prove(accel.emulator(), "kvm") is None) == (said == "kvm")  # type: ignore[arg-type]
