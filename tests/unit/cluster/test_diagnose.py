"""From console text, report and state to a cause: one line per fault that a person may meet."""

from __future__ import annotations

import pytest

from pragma_boot.cluster.diagnose import diagnose, fatal_sign
from pragma_boot.model import NodeState

BOOTED = "[    0.000000] Linux version 6.1.0-21-cloud-amd64\r\n[    0.1] Command line: console=ttyS0\r\n"

CONSOLES = {
    "no-init": "[    1.9] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.\r\n",
    "no-root": "[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n",
    "kernel-panic": "[    2.1][    T1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n",
    "late-timer": "[    0.036] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n",
    "no-boot-device": "Booting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n",
    "boot-loader": "error: no such partition.\r\nEntering rescue mode...\r\ngrub rescue> ",
    "emergency-mode": "You are in emergency mode. After logging in, type \"journalctl -xb\" to view logs.\r\n",
    "bad-filesystem": "/dev/vda1: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\r\n(initramfs) ",
    "out-of-memory": "[    0.9] Kernel panic - not syncing: System is deadlocked on memory\r\n",
}  # fmt: skip


@pytest.mark.parametrize(("code", "console"), CONSOLES.items(), ids=CONSOLES)
def test_fatal_console_is_recognised_and_ends_the_wait(code: str, console: str) -> None:
    cause = diagnose(BOOTED + console, None, NodeState.ACTIVE)
    assert (cause.code, cause.fatal) == (code, True)
    assert cause.mend
    sign = fatal_sign(console)
    assert sign is not None
    assert sign.code == code


def test_a_panic_is_told_with_the_kernels_own_reason() -> None:
    assert "(Attempted to kill init! exitcode" in diagnose(CONSOLES["kernel-panic"], None, NodeState.ACTIVE).text


def test_a_root_that_is_still_waited_for_is_the_cause_at_the_deadline() -> None:
    console = "initramfs: Waiting for UUID=0b1c to appear...\r\n"
    cause = diagnose(console, None, NodeState.ACTIVE)
    assert (cause.code, cause.fatal) == ("no-root", False)
    assert diagnose(console, "no-sshd", NodeState.ACTIVE).code == "no-sshd"


@pytest.mark.parametrize(
    "console",
    [
        "Gave up waiting for root file system device.  Common problems:\r\n",
        "ALERT!  UUID=0b1c does not exist.  Dropping to a shell!\r\n",
        "BusyBox built-in shell (ash)\r\n/bin/sh: can't access tty; job control turned off\r\n(initramfs) ",
        "dracut:/# ",
        "initramfs: Timeout while waiting for devices for / (and possibly /usr) filesystems to appear\r\n",
    ],
)
def test_initramfs_shells_mean_no_root(console: str) -> None:
    assert diagnose(BOOTED + console, None, NodeState.ACTIVE).code == "no-root"


def test_a_bare_shell_in_place_of_init_means_no_init() -> None:
    console = (
        "BusyBox v1.35.0 (Debian) built-in shell (ash)\r\n\r\n/bin/sh: can't access tty; job control turned off\r\n/ # "
    )
    assert diagnose(console, None, NodeState.ACTIVE).code == "no-init"


@pytest.mark.parametrize(
    ("code", "console"),
    [
        ("out-of-memory", "[   9.1] Out of memory: Killed process 212 (sshd) total-vm:1300kB\r\n"),
        ("out-of-memory", "[   9.1] systemd invoked oom-killer\r\n[   9.2] oom-kill:constraint=CONSTRAINT_NONE\r\n"),
        ("disk-full", "sshd: /var/run/sshd.pid: No space left on device\r\n"),
        ("bad-filesystem", "[   3.3] EXT4-fs error (device vda1): ext4_lookup:1851: inode #2\r\n"),
        ("bad-filesystem", "[   3.3] EXT4-fs (vda1): Remounting filesystem read-only\r\n"),
    ],
)
def test_soft_signs_explain_a_report_but_do_not_end_the_wait(code: str, console: str) -> None:
    cause = diagnose(BOOTED + console, "no-sshd", NodeState.ACTIVE)
    assert (cause.code, cause.fatal) == (code, False)
    assert fatal_sign(console) is None


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("no-device public", "no interface for the network public"),
        ("no-carrier private", "interface private has no carrier"),
        ("no-address 10.1.1.1", "address 10.1.1.1"),
        ("disk-full", "file system is full"),
        ("no-key", "authorized keys"),
        ("no-sshd", "no ssh server"),
        ("no-frontend", "does not reach the frontend"),
        ("no-compute compute-1", "cannot log in on compute-1"),
        ("no-nat", "address translation"),
        ("no-overlay 172.20.4.2", "address 172.20.4.2 in the overlay"),
        ("no-hub 172.20.4.1", "hub of the overlay, 172.20.4.1"),
        ("no-names", "names of the overlay's other nodes"),
        ("no-banner refused", "ssh port does not answer (refused)"),
        ("no-such-word 7", "'no-such-word 7'"),
    ],
)
def test_report_becomes_a_sentence_and_a_mend(report: str, words: str) -> None:
    cause = diagnose(BOOTED, report, NodeState.ACTIVE)
    assert words in cause.text
    assert cause.mend
    assert not cause.fatal


@pytest.mark.parametrize(
    ("state", "code", "fatal"),
    [
        (NodeState.SHUTDOWN, "stopped", True),
        (NodeState.CRASHED, "crashed", True),
        (NodeState.MISSING, "vanished", True),
        (NodeState.PAUSED, "paused", False),
    ],
)
def test_a_node_that_does_not_run_is_told_by_its_state(state: NodeState, code: str, fatal: bool) -> None:
    cause = diagnose(BOOTED, "no-sshd", state)
    assert (cause.code, cause.fatal) == (code, fatal)


def test_a_node_that_powered_off_is_told_from_one_that_was_killed() -> None:
    console = BOOTED + "The system is going down NOW!\r\n[    3.1] reboot: Power down\r\n"
    assert diagnose(console, None, NodeState.SHUTDOWN).code == "switched-off"


def test_a_panic_explains_a_node_that_stopped() -> None:
    assert diagnose(CONSOLES["kernel-panic"], None, NodeState.SHUTDOWN).code == "kernel-panic"


def test_silence_under_kvm_suspects_kvm() -> None:
    assert "accel" in diagnose("", None, NodeState.ACTIVE, "kvm").mend
    silent = diagnose("\r\n", None, NodeState.ACTIVE, "tcg")
    assert silent.code == "silent"
    assert "accel" not in silent.mend


def test_a_node_that_boots_but_never_reports() -> None:
    assert diagnose(BOOTED, None, NodeState.ACTIVE).code == "no-report"


@pytest.mark.parametrize("start", [BOOTED, "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16)\r\nBooting from ROM..."])
def test_a_node_that_restarts_again_and_again(start: str) -> None:
    assert diagnose(start * 3, None, NodeState.ACTIVE).code == "restarts"


@pytest.mark.parametrize(
    ("code", "console"),
    [
        ("no-boot-device", "\x1b[2J\x1b[01;01H\x1b[0;37mNo bootable device.\r\n"),
        (
            "kernel-panic",
            "Booting from ROM..\x1bc\x1b[?7l\x1b[2J[    1.84] Kernel panic - not syncing: Fatal exception\r\n",
        ),
        ("boot-loader", "GRUB loading.\x1b[4;1Herror: no such partition.\x1b[5;1Hgrub rescue> "),
    ],
)
def test_screen_control_does_not_hide_a_sign(code: str, console: str) -> None:
    cause = fatal_sign(console)
    assert cause is not None
    assert cause.code == code


@pytest.mark.parametrize(
    "harmless",
    [
        "a page about 'Kernel panic - not syncing' was printed\r\n",
        "[    0.5] pstore: will tell of a Kernel panic - not syncing\r\n",
        "error: no such device: 0b1c-77.\r\n",
        "systemd[1]: emergency.target: not needed\r\n",
    ],
)
def test_harmless_lines_are_no_fatal_sign(harmless: str) -> None:
    assert fatal_sign(harmless) is None


def test_a_reports_word_cannot_bring_control_characters_into_a_message() -> None:
    cause = diagnose(BOOTED, "no-compute \x1b[31mevil{0}\x07" + "x" * 500, NodeState.ACTIVE)
    assert cause.text.isprintable()
    assert len(cause.text) < 150
