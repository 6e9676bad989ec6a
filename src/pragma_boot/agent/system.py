"""What the agent asks of the running system: programs, events, names. The only file of the agent that starts programs.

Everything else gets a `System`, so that tests can give it one of their own.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence

_log = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C", "HOME": "/root"}
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE = 0x1, 0x10, 0x40  # groups of rtnetlink(7)


class System:
    """The machine that we run on."""

    def __init__(self) -> None:
        self._events: socket.socket | None = None

    def run(self, argv: Sequence[str], timeout: float = 60) -> bool:
        """Run a program to its end; whether it went well. One that is missing, or hangs, did not."""
        return self.output(argv, timeout) is not None

    def output(self, argv: Sequence[str], timeout: float = 60) -> str | None:
        """What a program writes to its standard output; None when it fails."""
        quoted = " ".join(argv)
        try:
            done = subprocess.run(  # noqa: UP022 - Python 3.6
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("%s: %s", quoted, error)
            return None
        if done.returncode != 0:
            _log.warning("%s: status %d: %s", quoted, done.returncode, done.stderr.decode("utf-8", "replace").strip())
            return None
        _log.info("%s", quoted)
        return done.stdout.decode("utf-8", "replace")

    def start(self, argv: Sequence[str]) -> None:
        """Start a program that outlives us."""
        subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
        )

    def has(self, program: str) -> bool:
        """Whether a program is installed."""
        return shutil.which(program, path=_PATH) is not None

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until something happens to a link, an IPv4 address or a route, at most *seconds*.

        What happened since the last call counts: nothing is missed between a look and the wait for a change.
        """
        events = self._listen()
        if events is None:
            time.sleep(seconds)
            return
        if select.select([events], [], [], max(seconds, 0))[0]:
            while select.select([events], [], [], 0)[0]:
                try:
                    events.recv(65536)
                except OSError:  # more than its buffer holds
                    break

    def _listen(self) -> socket.socket | None:
        if self._events is None:
            try:
                self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
                self._events.bind((0, _LINK | _IPV4_ADDRESS | _IPV4_ROUTE))
            except OSError as error:
                _log.warning("no events of the network: %s", error)
        return self._events

    def set_hostname(self, name: str) -> None:
        """Name the running machine."""
        socket.sethostname(name)

    def resolve(self, name: str) -> list[str]:
        """The IPv4 addresses of *name*; none when it has none."""
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return []
        return [str(entry[4][0]) for entry in found]

    def say(self, line: str) -> None:
        """Write a line to the console, on a line of its own."""
        for console in ("/dev/ttyS0", "/dev/console"):
            try:
                descriptor = os.open(console, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                os.write(descriptor, f"\n{line}\n".encode())
                return
            except OSError:
                continue
            finally:
                os.close(descriptor)
