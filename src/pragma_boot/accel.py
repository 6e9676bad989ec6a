"""Whether KVM really works on this machine, proved once per boot of it.

`/dev/kvm` that opens is not KVM that works: in nested and para-virtualised machines the device opens, a virtual
machine can be made, the firmware even runs to its end, and every kernel then hangs at 100 % CPU (hardware that is
emulated an instruction at a time). So a tiny guest does what a kernel does first, and has a few seconds for it:
paging and long mode, CPUID, a table of interrupts, three ticks of the timer, 67 million turns of a loop, SSE2. It
says ``OK`` on its serial port and resets. Measured: 0.5 s with TCG, never with a KVM that lies.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pragma_boot.errors import CommandError, Fault, PreflightError
from pragma_boot.files import StateFolder, lock, write_atomic
from pragma_boot.run import run, which

_log = logging.getLogger(__name__)

KVM = "kvm"
TCG = "tcg"
LIMIT = 5.0
"""Seconds that the tiny guest has; a KVM that works needs about 0.2."""

DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BINARIES = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")

# A multiboot image for 0x100000: page tables at 0x101000–0x103000, interrupt table at 0x104000, stack up to 0x106000.
_LISTING = """
02b0ad1b00000100fe4f51e4                  ; multiboot: magic, flags (addresses follow), checksum
0000100000001000                          ;   header and load address 0x100000
4e011000006010004800100000000000          ;   end of file, end of memory, entry; (and the empty first descriptor)
00000000                                  ;
ffff0000009aaf00ffff00000092cf00          ; descriptors: 08 code 64 bit, 10 data
170020001000                              ; gdtr: limit 23, at 0x100020
ff0f0040100000000000                      ; idtr: limit 4095, at 0x104000
fa fc 0f011538001000                      ; entry: cli; cld; lgdt
c7050010100003201000                      ; one 2-MiB page that maps itself: level 4
c7050020100003301000                      ;   level 3
c7050030100083000000                      ;   level 2
b800101000 0f22d8                         ; cr3 = 0x101000
0f20e0 0d20060000 0f22e0                  ; cr4 |= PAE, OSFXSR, OSXMMEXCPT
b9800000c0 0f32 0d00010000 0f30           ; EFER |= LME
0f20c0 83e0fb 0d03000080 0f22c0           ; cr0: no EM; PG, MP, PE
ea a5001000 0800                          ; jmp 08:long
b810000000 8ed0 8ed8 bc00601000           ; long: ss, ds = 10; esp = 0x106000
b801000000 0fa2 0fbae21a 7378             ; cpuid 1; without SSE2: fail
0f011c253e001000                          ; lidt
c704250042100043010800                    ; vector 20 (the timer): an interrupt gate to tick
c7042504421000008e1000                    ;
b011e620 b020e621 b004e621 b001e621       ; interrupt controller: from vector 20 on
b0fee621 b0ffe6a1                         ;   only the timer
b034e643 b0a9e640 b004e640                ; timer: 1 kHz
4531ff fb                                 ; r15 = 0; sti
f4 4183ff03 72f9                          ; wait: hlt until r15 is 3
b900000004 ffc9 75fc                      ; 0x4000000 turns, with the timer ticking
b815000000 66480f6ec0 660fd4c0 66480f7ec0 ; 0x15 + 0x15 in SSE2 registers
83f82a 750a                               ; not 0x2a: fail
66baf803 b04f ee b04b ee                  ; serial port: "OK"
66baf90c b006 ee                          ; fail: reset the machine
fa f4 ebfc                                ; cli; hlt for ever
50 41ffc7 b020e620 58 48cf                ; tick: r15 += 1; acknowledge; iretq
"""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was found, and what it depends on: the boot of the machine, the QEMU program and its age."""

    boot: str
    qemu: str
    qemu_mtime_ns: int
    works: bool
    why: str


def probe_guest() -> bytes:
    """The tiny guest: a multiboot image that QEMU's ``-kernel`` starts."""
    return bytes.fromhex("".join(line.partition(";")[0] for line in _LISTING.splitlines()))


def works(state: StateFolder, wish: str = "auto", *, device: Path = DEVICE, limit: float = LIMIT) -> str:
    """How machines shall be accelerated here: `kvm` or `tcg`.

    wish: `auto` (KVM if it is proved to work), `kvm` or `tcg`. limit: seconds for the proof.

    The proof is done once for each boot of the machine and QEMU program, and kept in ``state.accel``; of several
    processes one proves and the others wait. Raises PreflightError when *wish* is `kvm` and it does not work.
    """
    if wish == TCG:
        return TCG
    why = _device_fault(device)
    if why is None:
        answer = _known_or_proved(state, limit)
        why = None if answer.works else answer.why
    if why is None:
        return KVM
    if wish == KVM:
        mend = "set accel = 'auto' or 'tcg' (slow), or enable (nested) virtualization for this machine"
        raise PreflightError("KVM does not work on this machine", [Fault("accel", why, mend)])
    _log.info("machines run without KVM: %s", why)
    return TCG


def emulator() -> Path | None:
    """The QEMU system emulator of this machine, or None."""
    return next(filter(None, map(which, _BINARIES)), None)


def prove(qemu: Path, accel: str, limit: float = LIMIT) -> str | None:
    """Run the tiny guest with *accel*; None when it did all its work in *limit* seconds, else why not."""
    with tempfile.NamedTemporaryFile(prefix="pragma-probe-") as guest:
        guest.write(probe_guest())
        guest.flush()
        cpu = "host" if accel == KVM else "max"
        argv: list[str | Path] = [
            *(qemu, "-accel", accel, "-machine", "q35", "-cpu", cpu, "-m", "64", "-kernel", guest.name),
            *("-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
        ]
        try:
            done = run(argv, timeout=limit, check=False)
        except CommandError as error:
            return f"a tiny guest did not come to its end within {limit:g} s ({error.message})"
    if b"OK" in done.stdout:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "a tiny guest failed: " + (said[0] if said else f"QEMU ended with status {done.status}")


def _device_fault(device: Path) -> str | None:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return None


def _known_or_proved(state: StateFolder, limit: float) -> _Answer:
    qemu = emulator()
    if qemu is None:
        return _Answer("", "", 0, works=False, why="QEMU is not installed")
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    age = qemu.stat().st_mtime_ns
    with lock(state.locks / "accel.lock"):
        known = _recall(state.accel)
        if known and (known.boot, known.qemu, known.qemu_mtime_ns) == (boot, str(qemu), age):
            return known
        why = prove(qemu, KVM, limit)
        answer = _Answer(boot, str(qemu), age, works=why is None, why=why or "")
        write_atomic(state.accel, json.dumps(asdict(answer), indent=1) + "\n")
    return answer


def _recall(path: Path) -> _Answer | None:
    """The kept answer; None when there is none, or a file that we did not write."""
    try:
        answer = _Answer(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return answer if isinstance(answer.works, bool) else None
