import base64
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.network.overlay.keys import is_key, new_key, slot_key

ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
"""RFC 7748, 6.1: Alice's private key."""
KEY = base64.b64encode(ALICE).decode()


def test_public_keys_are_those_of_x25519() -> None:
    key = new_key(lambda size: ALICE[:size])
    assert base64.b64decode(key.public).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


def test_a_slots_key_is_the_clamped_digest() -> None:
    seed = bytes(range(32))
    key = slot_key(seed, 17)
    # printf 'slot:17' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f, its ends clamped by hand
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{seed.hex()}", "-binary"],
        input=b"slot:17",
        capture_output=True,
        check=True,
    ).stdout
    private = base64.b64decode(key.private)
    assert private[1:31] == digest[1:31]
    assert private[0] == digest[0] & 0xF8
    assert private[31] == (digest[31] & 0x7F) | 0x40


@pytest.mark.skipif(not shutil.which("wg"), reason="wireguard-tools is not installed")
def test_wireguards_own_tool_derives_the_same_public_key() -> None:
    key = slot_key(b"s" * 32, 3)
    shown = subprocess.run(["wg", "pubkey"], input=key.private, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == key.public


@given(seed=st.binary(min_size=32, max_size=32), first=st.integers(1, 999), second=st.integers(1, 999))
def test_slots_share_no_key(seed: bytes, first: int, second: int) -> None:
    one, other = slot_key(seed, first), slot_key(seed, second)
    assert (one == other) == (first == second)
    assert is_key(one.private)
    assert is_key(one.public)


def test_private_parts_are_in_no_representation() -> None:
    key = new_key()
    assert key.private not in repr(key)
    assert key.public in repr(key)


@pytest.mark.parametrize("text", ["", "abc", "A" * 43, "A" * 44, f"{KEY}\n", KEY[:-1] + "é", f" {KEY}"])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)
