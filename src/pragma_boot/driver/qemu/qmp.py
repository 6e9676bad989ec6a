"""QEMU's monitor: commands as JSON over a node's socket; one client at a time, the others wait in the queue."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pragma_boot.driver.qemu import sockets
from pragma_boot.errors import DriverError

_PIECE = 65536


class Monitor:
    """A connection to the monitor at *path*; a context manager. limit: seconds for each answer.

    Every call raises OSError when QEMU is gone or does not answer in time, and DriverError when it refuses.
    """

    def __init__(self, path: Path, limit: float) -> None:
        self._socket = sockets.connected(path, limit)
        self._received = b""
        try:
            self._next()  # the greeting: QEMU is up
            self.command("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next one in; may be called twice."""
        self._socket.close()

    def fileno(self) -> int:
        """For selectors: there is something to read when QEMU tells of an event, or has ended."""
        return self._socket.fileno()

    def command(self, name: str, arguments: Mapping[str, object] | None = None, descriptors: Sequence[int] = ()) -> Any:
        """Run a command and return its answer; *descriptors* go with it (for ``getfd``)."""
        words = json.dumps({"execute": name, "arguments": arguments or {}}).encode()
        socket.send_fds(self._socket, [words], list(descriptors))
        while True:
            answer = self._next()
            if "error" in answer:
                raise DriverError(f"QEMU refused {name}", details=str(answer["error"].get("desc")))
            if "return" in answer:
                return answer["return"]

    def ended(self) -> bool:
        """Read away events; True when QEMU has ended."""
        try:
            return not self._socket.recv(_PIECE)
        except TimeoutError:
            return False
        except OSError:
            return True

    def _next(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            more = self._socket.recv(_PIECE)
            if not more:
                raise ConnectionResetError("QEMU has ended")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConnectionAbortedError("no monitor of QEMU's")
        return found
