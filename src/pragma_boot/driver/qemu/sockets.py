"""Unix sockets in folders whose paths may be longer than a socket's may (107 bytes, unix(7))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pragma_boot.files import refused

_BACKLOG = 64


def connected(path: Path, limit: float | None = None) -> socket.socket:
    """A stream connection to the socket at *path*; *limit*: seconds for each later call. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(limit)
        with _short(path) as name:
            made.connect(name)
    except BaseException:
        made.close()
        raise
    return made


def listening(path: Path) -> socket.socket:
    """A stream socket that listens at *path*, in place of what was there. Raises PragmaError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with _short(path) as name:
            made.bind(name)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise refused("listen at", path, error) from error
    return made


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
