"""Keys: those that the user brings, and those that each cluster gets.

Nothing here is ever logged but public keys' line numbers; a private key that turns up in a key file is refused
and quoted nowhere.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import logging
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pragma_boot.errors import UsageError
from pragma_boot.model import Access, KeyPair, NodeName

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_log = logging.getLogger(__name__)

SIZE_LIMIT = 64 * 1024
"""A key file may have that many bytes."""

_TYPE = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]{1,60}")
_BLOB = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_SECRET = ("PRIVATE KEY", "PuTTY-User-Key-File", "SSH PRIVATE KEY FILE")
_FOREIGN = ("BEGIN PUBLIC KEY", "BEGIN SSH2 PUBLIC KEY", "BEGIN RSA PUBLIC KEY")
_NEED = "give a file with one OpenSSH public key a line, such as ~/.ssh/id_ed25519.pub"


def new_access(user_keys: Sequence[str], nodes: Iterable[NodeName], cluster: str = "cluster") -> Access:
    """Make a cluster's key pair and one ssh host key for each node, all ed25519 (some 0.1 ms each).

    user_keys: authorized_keys lines, as `read_public_keys` returns them.
    """
    return Access(tuple(user_keys), _pair(f"pragma-{cluster}"), {node: _pair(node) for node in nodes})


def derived_pair(seed: bytes, comment: str) -> KeyPair:
    """The ed25519 key pair that follows from 32 secret bytes; the same each time, but for padding of its form."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - slow to import

    return _written(Ed25519PrivateKey.from_private_bytes(seed), comment)


def _pair(comment: str) -> KeyPair:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - slow to import

    return _written(Ed25519PrivateKey.generate(), comment)


def _written(key: Ed25519PrivateKey, comment: str) -> KeyPair:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 - slow to import

    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), f"{public.decode()} {comment}")


def read_public_keys(path: Path) -> tuple[str, ...]:
    """The public keys of a file, one authorized_keys line each, in order and without repetition.

    Blank lines, comments and CRLF are tolerated. A line that is only a key's base64 part is completed; one that is
    base64 but no key is left out with a warning (schedulers send such test data, guest.md 9.2).

    Raises UsageError for a file that cannot be read, is too large, holds a private key (which is quoted nowhere),
    a line that is no key, or no line at all.
    """
    text = _read(path)
    if any(word in text for word in _SECRET):
        raise UsageError(f"{path} holds a private key", details="nothing of it was copied or logged", resolution=_NEED)
    if any(word in text for word in _FOREIGN):
        raise UsageError(
            f"{path} is not in OpenSSH's format",
            resolution="convert it with 'ssh-keygen -i -f FILE' and give the result",
        )
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    told = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not told:
        raise UsageError(f"{path} holds no public key", resolution=_NEED)
    keys = [key for number, line in told if (key := _key(path, number, line))]
    return tuple(dict.fromkeys(keys))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}", details=error.strerror, resolution=_NEED) from error
    if len(data) > SIZE_LIMIT:
        raise UsageError(f"the key file {path} is larger than {SIZE_LIMIT // 1024} KiB", resolution=_NEED)
    if b"\0" in data:
        raise UsageError(f"the key file {path} is not a text file", resolution=_NEED)
    return data.decode("utf-8-sig", "replace").encode("ascii", "replace").decode()


def _key(path: Path, number: int, line: str) -> str | None:
    """One line as an authorized_keys line; None when it is to be left out."""
    words = line.split()
    for kind, blob in itertools.pairwise(words):
        if _TYPE.fullmatch(kind) and _kind(blob) == kind:
            return line
    if len(words) == 1 and _BLOB.fullmatch(line):
        kind = _kind(line)
        if kind:
            return f"{kind} {line}"
        _log.warning("%s, line %d: not a public key, left out", path, number)
        return None
    raise UsageError(f"{path}, line {number}: not a public key", resolution=_NEED)


def _kind(blob: str) -> str:
    """The key type that a key's base64 part names; empty when it is none: length and string, over and over."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return ""
    fields = []
    while len(data) >= 4:
        (length,) = struct.unpack(">I", data[:4])
        if length + 4 > len(data):
            return ""
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    kind = fields[0].decode("ascii", "replace") if len(fields) > 1 and not data else ""
    return kind if _TYPE.fullmatch(kind) else ""
