"""The private network of one cluster: a switch between QEMU processes, on a Unix socket in a folder of the user's own.

It is run as a program (``python -I -S lan.py DESCRIPTOR``, which listens), so it imports nothing but the standard
library. Each node's QEMU is connected to it and sends Ethernet frames, each after its length (4 bytes, big-endian;
QEMU's ``-netdev socket``). It learns which address is behind which connection, like any switch; frames for everybody,
or for somebody unknown, go to all others. Nothing of the host is in the network, and nobody but the folder's owner gets
to the socket. A receiver that does not keep up loses frames, as on any wire; it never holds up the others.

Descriptors that it inherits beside that one (the cluster's lock, the claims of its ports) are held for as long as it
runs.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
from collections.abc import Callable

_READ = 1 << 16
_WAITING = 1 << 21
"""Bytes that may wait for one receiver."""
_SMALLEST, _LARGEST = 12, 1 << 17
"""Lengths of frames that QEMU may send, bytes."""
_ADDRESSES = 4096
_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")


class Port:
    """One node's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.rest = b""
        self.waiting = bytearray()

    def send(self, frames: memoryview) -> bool:
        """Pass whole frames on; False when some have to wait. Raises OSError when the node is gone."""
        if self.waiting:
            if len(self.waiting) + len(frames) <= _WAITING:
                self.waiting += frames
            return False
        try:
            sent = self.socket.send(frames)
        except BlockingIOError:
            sent = 0
        self.waiting += frames[sent:]
        return not self.waiting

    def send_waiting(self) -> bool:
        """Go on with what waits; True when nothing does any more. Raises OSError as `send`."""
        del self.waiting[: self.socket.send(self.waiting)]
        return not self.waiting


class Switch:
    """All ports, and what is known of where addresses are."""

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._ports: set[Port] = set()
        self._known: dict[bytes, Port] = {}
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Pass frames on until *until* says so (asked after each round of events), or for ever."""
        while not until():
            for key, events in self._selector.select(None):
                if key.data is None:
                    self._accept()
                else:
                    self._serve(key.data, events)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # gone again, or no descriptor left for it
        _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.geteuid():
            connection.close()
            return
        connection.setblocking(False)
        port = Port(connection)
        self._ports.add(port)
        self._selector.register(connection, selectors.EVENT_READ, port)

    def _serve(self, port: Port, events: int) -> None:
        if port not in self._ports:
            return  # it went in this very round
        try:
            if events & selectors.EVENT_WRITE and port.send_waiting():
                self._selector.modify(port.socket, selectors.EVENT_READ, port)
            if events & selectors.EVENT_READ:
                data = port.socket.recv(_READ)
                if not data:
                    raise ConnectionResetError
                self._take(port, port.rest + data if port.rest else data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._drop(port)

    def _take(self, port: Port, data: bytes) -> None:
        """Pass on the whole frames of *data*: those that follow each other to the same port in one go.

        Raises ValueError for what no QEMU sends.
        """
        view = memoryview(data)
        start = at = 0
        towards: Port | None = None
        while len(data) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, at)
            if not _SMALLEST <= size <= _LARGEST:
                raise ValueError("no frame")
            after = at + _LENGTH.size + size
            if after > len(data):
                break
            target = self._known.get(data[at + 4 : at + 10])
            source = data[at + 10 : at + 16]
            if self._known.get(source) is not port:
                self._learn(source, port)
            if target is not towards:
                self._pass_on(port, towards, view[start:at])
                start, towards = at, target
            at = after
        self._pass_on(port, towards, view[start:at])
        port.rest = data[at:]

    def _learn(self, source: bytes, port: Port) -> None:
        if source[0] & 1:
            return  # nobody's address
        if len(self._known) >= _ADDRESSES:
            self._known.clear()
        self._known[source] = port

    def _pass_on(self, source: Port, target: Port | None, frames: memoryview) -> None:
        if not frames or target is source:
            return
        for port in (target,) if target else tuple(self._ports - {source}):
            try:
                if not port.send(frames):
                    self._selector.modify(port.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, port)
            except OSError:
                self._drop(port)

    def _drop(self, port: Port) -> None:
        if port not in self._ports:
            return
        self._ports.discard(port)
        self._selector.unregister(port.socket)
        port.socket.close()
        self._known = {address: where for address, where in self._known.items() if where is not port}


if __name__ == "__main__":
    Switch(socket.socket(fileno=int(sys.argv[1]))).run()
