"""WireGuard keys: made at random, or derived from an overlay's seed, one for each slot (guest.md 6.7).

A slot's key is ``clamp(HMAC-SHA256(seed, "slot:" + number))``, so whoever has the join information can compute all of
them, as the hub must, which knows its peers before they exist. Members of an overlay therefore trust each other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

SIZE = 32
"""Bytes of a key, a preshared key or a seed."""

Entropy = Callable[[int], bytes]
"""That many random bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class WireGuardKey:
    """A key pair in WireGuard's own form: 32 bytes in base64, as `wg` reads and shows them."""

    private: str = field(repr=False)
    public: str


def new_key(entropy: Entropy = secrets.token_bytes) -> WireGuardKey:
    """A new key pair."""
    return _pair(entropy(SIZE))


def new_preshared(entropy: Entropy = secrets.token_bytes) -> str:
    """A new preshared key, in base64."""
    return base64.b64encode(entropy(SIZE)).decode()


def new_seed(entropy: Entropy = secrets.token_bytes) -> bytes:
    """A new seed of slot keys."""
    return entropy(SIZE)


def slot_key(seed: bytes, slot: int) -> WireGuardKey:
    """The key pair of a slot, always the same for the same seed; slots count from 1."""
    return _pair(hmac.digest(seed, f"slot:{slot}".encode(), hashlib.sha256))


def is_key(text: str) -> bool:
    """Whether a text is a key in WireGuard's form."""
    try:
        return len(base64.b64decode(text, validate=True)) == SIZE and len(text) == 44
    except (binascii.Error, ValueError):
        return False


def _pair(data: bytes) -> WireGuardKey:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - slow to import

    clamped = bytes([data[0] & 0xF8, *data[1:-1], data[-1] & 0x7F | 0x40])  # RFC 7748, 5
    public = X25519PrivateKey.from_private_bytes(clamped).public_key().public_bytes_raw()
    return WireGuardKey(base64.b64encode(clamped).decode(), base64.b64encode(public).decode())
