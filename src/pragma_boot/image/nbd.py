"""A client of the Network Block Device protocol that writes: as much of it as QEMU's storage daemon needs.

The protocol is NetworkBlockDevice/nbd's doc/proto.md: fixed newstyle negotiation, EXPORT_NAME, simple replies.
"""

from __future__ import annotations

import os
import socket
import struct

_HELLO = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_EXPORT = struct.Struct(">QH")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_EXPORT_NAME = 1
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_WRITE, _DISCONNECT = 1, 2
_LARGEST = 32 * 1024 * 1024
"""Most bytes of one request that every server takes."""


class Writer:
    """A connection to one export. Every call raises OSError: what the server says, or that it is gone."""

    def __init__(self, connection: socket.socket, export: str) -> None:
        self._socket = connection
        magic, option, flags = _HELLO.unpack(self._receive(_HELLO.size))
        if (magic, option) != (b"NBDMAGIC", b"IHAVEOPT") or not flags & _FIXED_NEWSTYLE:
            raise ConnectionAbortedError("no NBD server")
        name = export.encode()
        self._socket.sendall(
            struct.pack(">I", flags & (_FIXED_NEWSTYLE | _NO_ZEROES))
            + _OPTION.pack(b"IHAVEOPT", _EXPORT_NAME, len(name))
            + name
        )
        self.size, _ = _EXPORT.unpack(self._receive(_EXPORT.size))
        if not flags & _NO_ZEROES:
            self._receive(124)

    def write(self, offset: int, data: bytes) -> None:
        """Write *data* at *offset*; it is the server's afterwards, not yet the medium's."""
        for at in range(0, len(data), _LARGEST):
            piece = data[at : at + _LARGEST]
            self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _WRITE, 0, offset + at, len(piece)) + piece)
            magic, error, _ = _REPLY.unpack(self._receive(_REPLY.size))
            if magic != _REPLY_MAGIC:
                raise ConnectionAbortedError("no NBD reply")
            if error:
                raise OSError(error, os.strerror(error))

    def close(self) -> None:
        """End the session in order."""
        self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError("the NBD server has ended")
            data += more
        return data
