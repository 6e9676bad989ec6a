"""`ssh` into an emulated host: the command runs with the host's folder as its root.

Namespaces of its own give the command the machine's programs read-only, a few devices, the site's folder under its
real name, the host's name, and for the rest what lies in ``hosts/NAME``. So whatever a driver may send runs as it is.
Needs root, or unprivileged user namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from .call import suffer
from .errors import AbortError
from .faults import meet
from .hosts import one
from .store import FOLDER, Store, find

HOST = "ROCKS_EMU_HOST"
"""Tells a companion on which host it runs."""

_WITH_VALUE = "bcDEeFIiJLlmOopQRSWw"
_NEWNS, _NEWUTS, _NEWUSER = 0x20000, 0x4000000, 0x10000000
_BIND, _REC, _PRIVATE, _RDONLY, _REMOUNT = 0x1000, 0x4000, 0x40000, 0x1, 0x20
_DEVICES = ("null", "zero", "full", "random", "urandom")


def main() -> int:
    """Be `ssh`: options, a host, a command."""
    started = time.monotonic()
    store = Store(find(sys.argv[0]))
    words = sys.argv[1:]
    fault = meet(store.folder, "ssh", words)
    suffer(fault)
    if fault.when == "before" and (fault.rc is not None or fault.lie_ok or fault.empty):
        status = fault.rc or 0
        sys.stdout.write(fault.stdout)
        sys.stderr.write(fault.stderr)
    else:
        sys.stderr.write(fault.noise)
        sys.stderr.flush()
        status = _connect(store, words, fault.cut)
        status = status if fault.rc is None else fault.rc
    store.log(program="ssh", argv=words, rc=status, seconds=time.monotonic() - started)
    return status


def run(store: Store, host: str, command: str) -> str:
    """What a command prints on a host."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _INSIDE, str(Path(__file__).parents[1]), str(store.folder), host, command],
        text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout + done.stderr


_INSIDE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from emulator import remote, store; "
    "remote.enter(store.Store(Path(sys.argv[2])), *sys.argv[3:])"
)


def _connect(store: Store, words: list[str], cut: int | None) -> int:
    rest = _without_options(words)
    if not rest:
        return _complain("usage: ssh [options] destination [command]")
    name, command = rest[0].rsplit("@", 1)[-1], " ".join(rest[1:])
    with store.locked() as state:
        try:
            host = one(state, name).name
        except AbortError:
            return _complain(f"ssh: Could not resolve hostname {name}: Name or service not known")
        down = host in state.down or not store.host(host).is_dir()
    if down:
        return _complain(f"ssh: connect to host {name} port 22: No route to host")
    data = None if cut is None else sys.stdin.buffer.read(cut)
    status = _spawn(store, host, command, data)
    if data is not None:
        return _complain(f"Connection to {name} closed by remote host.")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _spawn(store: Store, host: str, command: str, data: bytes | None) -> int:
    """Run the command on the host; data: all that reaches its standard input, else it is ours. Returns its status."""
    ends = None if data is None else os.pipe()
    child = os.fork()
    if not child:
        if ends:
            os.dup2(ends[0], 0)
            os.close(ends[1])
        enter(store, host, command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    if ends:
        os.close(ends[0])
        with os.fdopen(ends[1], "wb") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(data or b"")
    return os.waitpid(child, 0)[1]


def _without_options(words: list[str]) -> list[str]:
    index = 0
    while index < len(words) and words[index].startswith("-"):
        if words[index] == "--":
            index += 1
            break
        takes_next = words[index][-1] in _WITH_VALUE and len(words[index]) == 2
        index += 2 if takes_next else 1
    return words[index:]


def _complain(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 255


def enter(store: Store, host: str, command: str) -> NoReturn:
    """Become a shell that runs *command* on *host*."""
    root = store.host(host)
    _own_namespaces(host)
    here = [Path("/usr"), Path(sys.base_prefix), Path(__file__).parents[1]]
    for folder in dict.fromkeys(here):
        if folder == Path("/usr") or not folder.is_relative_to("/usr"):
            _bind(folder, root, readonly=True)
    _bind(Path("/proc"), root)
    for name in _DEVICES:
        _bind(Path("/dev") / name, root)
    _bind(store.folder, root)
    os.chroot(root)
    os.chdir("/root")
    path = f"{store.folder}/bin:/usr/sbin:/usr/bin"
    variables = {"PATH": path, "HOME": "/root", "LC_ALL": "C", HOST: host, FOLDER: str(store.folder)}
    os.execve("/usr/bin/sh", ["sh", "-c", command or ":"], variables)


def _own_namespaces(host: str) -> None:
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()
    if libc.unshare(_NEWNS | _NEWUTS | (0 if user == 0 else _NEWUSER)):
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(None, Path("/"), _REC | _PRIVATE)
    libc.sethostname(host.encode(), len(host))


def _bind(source: Path, root: Path, *, readonly: bool = False) -> None:
    target = root / str(source).lstrip("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, _BIND | _REC)
    if readonly and os.geteuid() == 0:
        _mount(None, target, _BIND | _REMOUNT | _RDONLY)


def _mount(source: Path | None, target: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = os.fsencode(source) if source else None
    if libc.mount(given, os.fsencode(target), None, ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
