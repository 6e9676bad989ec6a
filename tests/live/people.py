"""Plain users of this machine, made for a test: in no group, with no way to libvirt's system socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from live.site import CHECKOUT, PROGRAM, ROOM, Ran
from pragma_boot.files import StateFolder

_BARE = """
set -e
ip link set lo up
mount -t tmpfs none /dev/net
mkdir -p /run/libvirt 2>/dev/null || :
[ ! -d /run/libvirt ] || mount -t tmpfs none /run/libvirt
[ ! -e /dev/fuse ] || mount --bind /dev/null /dev/fuse
exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs -- "$@"
"""
"""Run as root of a user namespace, in network and mount namespaces of its own: what is left is nobody's."""


@dataclass(frozen=True)
class Person:
    """One user, whose home is *home*; *bare*: whether their commands run in namespaces without any capability."""

    name: str
    uid: int
    home: Path

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.home / ".local/state/pragma_boot")

    def words(self, words: Sequence[str | Path], *, bare: bool = False) -> list[str]:
        """The words that run others as this user."""
        ours = ["setpriv", "--reuid", self.name, "--regid", self.name, "--clear-groups", "--", "env", "-i"]
        ours += [f"HOME={self.home}", f"USER={self.name}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NO_COLOR=1"]
        ours += ["PYTHONDONTWRITEBYTECODE=1", f"TMPDIR={self.home}/tmp"]
        inner = ["unshare", "-Urnm", "sh", "-c", _BARE, "sh"] if bare else []
        return [*ours, *inner, *map(str, words)]

    def start(self, *words: str | Path, bare: bool = False) -> subprocess.Popen[str]:
        """Start a program; its outputs are pipes."""
        pipe = subprocess.PIPE
        argv = self.words(words, bare=bare)
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, cwd=self.home, start_new_session=True
        )

    def run(self, *words: str | Path, bare: bool = False, timeout: float = 900) -> Ran:
        """Run a program to its end."""
        with self.start(*words, bare=bare) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate()
                raise AssertionError(f"{words} hung\n{out}\n{err}") from None
        return Ran(process.returncode, out, err)

    def pragma(self, *words: str | Path, timeout: float = 900) -> Ran:
        """Run `pragma` to its end."""
        return self.run(PROGRAM, *words, timeout=timeout)

    def processes(self) -> list[int]:
        """What runs as this user; what has ended and was not fetched by its parent does not."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ended = (path / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
                if path.stat().st_uid == self.uid and not ended:
                    found.append(int(path.name))
        return found

    def left(self) -> list[str]:
        """All that clusters have left behind; empty when nothing."""
        found = [Path(f"/proc/{each}/cmdline").read_text().replace("\0", " ") for each in self.processes()]
        for folder in ("clusters", "disks", "machines"):
            found += [str(path) for path in (self.state.root / folder).glob("*")]
        return found


def unfit() -> str | None:
    """Why plain users cannot be made, or cannot run anything, here; None when they can."""
    if os.geteuid() != 0:
        return "only root can make users"
    if not all(map(shutil.which, ("useradd", "userdel", "setpriv", "unshare"))):
        return "needs useradd, userdel, setpriv and unshare"
    words = ["setpriv", "--reuid", "65534", "--clear-groups", "--", "test", "-r", str(PROGRAM)]
    if subprocess.run(words, check=False).returncode:
        return f"other users cannot read {CHECKOUT}"
    return None


@contextmanager
def person(letter: str) -> Iterator[Person]:
    """A user who did not exist before and does not afterwards, nor anything of theirs."""
    reason = unfit()
    if reason:
        pytest.skip(reason)
    name = f"pbt{os.getpid()}{letter}"
    home = ROOM / name
    ROOM.mkdir(exist_ok=True)
    subprocess.run(["useradd", "--no-log-init", "-M", "-d", home, "-s", "/bin/sh", name], check=True)
    uid = int(subprocess.run(["id", "-u", name], capture_output=True, check=True).stdout)
    made = Person(name, uid, home)
    try:
        for folder in (home, home / "tmp"):
            folder.mkdir(mode=0o700)
            os.chown(folder, uid, uid)
        yield made
    finally:
        deadline = time.monotonic() + 20
        while (left := made.processes()) and time.monotonic() < deadline:
            for each in left:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            time.sleep(0.1)
        subprocess.run(["userdel", name], check=True, capture_output=True)
        shutil.rmtree(home)
