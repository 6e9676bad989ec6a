"""ssh keys in dropbear's own format."""

from __future__ import annotations

import base64
import struct

from pragma_boot.model import KeyPair


def dropbear_key(pair: KeyPair) -> bytes:
    """An ed25519 private key in dropbear's own format: its type, then seed and public key as one string.

    OpenSSH's file ends (before comment and padding) with the same two, so they are cut out of it.
    """
    body = "".join(line for line in pair.private.splitlines() if not line.startswith("-----"))
    data = base64.b64decode(body)
    kind = struct.pack(">I", 11) + b"ssh-ed25519"
    start = data.rindex(kind) + len(kind) + 4 + 32  # after the type: the public key, then what we want
    return kind + data[start : start + 4 + 64]
