"""The folder of a site: its state under a lock, the log of calls, and the folders that are its hosts' file systems.

::

    state.json        the state, replaced as a whole        lock           held by each call while it works
    faults.json       what shall go wrong                    faults.seen    how often each fault met a call
    calls.jsonl       every call of every program            hosts/NAME/    the root folder of a host
    bin/              rocks, ssh and zfs of this site        console/       what real machines print
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .clock import advance
from .model import State

FOLDER = "ROCKS_EMU_DIR"


def find(program: str) -> Path:
    """The site's folder: from the environment, else the one whose ``bin`` the program was called from."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER])
    folder = Path(program).absolute().parent.parent
    if not (folder / "state.json").exists():
        raise SystemExit(f"rocks emulator: no site; set {FOLDER}, or call the programs in a site's bin folder")
    return folder


class Store:
    """The site in *folder*. `state` may be used while the lock is held, and is read anew whenever it is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: State
        self._lock = -1

    @contextmanager
    def locked(self) -> Iterator[State]:
        """Hold the site; what was changed is kept at the end, also when the block raises."""
        self._take()
        try:
            yield self.state
        finally:
            self._leave()

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Within `locked`: keep what was changed and let others in meanwhile; rows held from before are stale."""
        self._leave()
        try:
            yield
        finally:
            self._take()

    def advance(self, tick: float) -> None:
        """Let time pass, and let happen what is due."""
        advance(self, tick)

    def host(self, name: str) -> Path:
        """The root folder of a host."""
        return self.folder / "hosts" / name

    def real(self, host: str, path: str) -> Path:
        """Where a path on *host* really is; paths inside the site's folder are the same on every host."""
        if Path(path).is_relative_to(self.folder):
            return Path(path)
        return self.host(host) / path.lstrip("/")

    def log(self, **record: Any) -> None:
        """Append one call to the log."""
        line = json.dumps({"time": time.time(), "pid": os.getpid(), **record}) + "\n"
        descriptor = os.open(self.folder / "calls.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _take(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.state = State.load((self.folder / "state.json").read_text())

    def _leave(self) -> None:
        try:
            temporary = self.folder / f"state.{os.getpid()}"
            temporary.write_text(self.state.dump())
            temporary.replace(self.folder / "state.json")
        finally:
            os.close(self._lock)
