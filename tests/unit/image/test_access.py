"""Key files of every kind, and the keys that a cluster gets."""

from __future__ import annotations

import base64
import logging
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fakes import images
from pragma_boot.errors import UsageError
from pragma_boot.image.access import SIZE_LIMIT, new_access, read_public_keys
from pragma_boot.image.render.dropbear import dropbear_key
from pragma_boot.model import NodeName

BLOB = base64.b64encode(struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + bytes(32)).decode()
KEY = f"ssh-ed25519 {BLOB} user@example.org"


def keys_of(folder: Path, content: str | bytes) -> tuple[str, ...]:
    path = folder / "key.pub"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_public_keys(path)


def test_several_keys_comments_blank_lines_and_crlf(tmp_path: Path) -> None:
    second = f"ssh-ed25519 {BLOB} operator"
    assert keys_of(tmp_path, f"# mine\r\n\r\n{KEY}\r\n  {second}  \r\n{KEY}\r\n") == (KEY, second)


def test_options_before_a_key_are_kept(tmp_path: Path) -> None:
    line = f'from="192.0.2.0/24",no-pty ssh-ed25519 {BLOB} x'
    assert keys_of(tmp_path, line) == (line,)


def test_a_bare_blob_that_is_a_key_gets_its_type(tmp_path: Path) -> None:
    assert keys_of(tmp_path, BLOB) == (f"ssh-ed25519 {BLOB}",)


def test_a_bare_blob_that_is_none_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert keys_of(tmp_path, f"AAAAB3NzaC1yc2EAAAADAQABAAABAQC1\n{KEY}\n") == (KEY,)
    assert "line 1" in caplog.text


@pytest.mark.parametrize("kind", ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_private_key_is_refused_and_quoted_nowhere(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError, match="holds a private key") as caught:
        keys_of(tmp_path, f"{KEY}\n-----BEGIN {kind}-----\nc2VjcmV0LXNlY3JldA==\n-----END {kind}-----\n")
    said = f"{caught.value} {caught.value.details} {caught.value.resolution} {caplog.text}"
    assert "c2VjcmV0" not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no public key"),
        ("# nothing\n", "holds no public key"),
        ("hello world\n", "line 1: not a public key"),
        (f"{KEY}\nssh-ed25519 AAAA!!\n", "line 2: not a public key"),
        (f"ssh-rsa {BLOB} the type does not fit\n", "line 1: not a public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\0\n", "not a text file"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "not in OpenSSH's format"),
        ("x" * (SIZE_LIMIT + 1), "larger than 64 KiB"),
    ],
)
def test_bad_files_are_told_with_a_mend(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        keys_of(tmp_path, content)
    assert caught.value.resolution


@pytest.mark.parametrize("name", ["missing", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the key file"):
        read_public_keys(tmp_path / name)


def test_an_endless_device_is_not_read_to_its_end() -> None:
    with pytest.raises(UsageError, match="larger than"):
        read_public_keys(Path("/dev/zero"))


def test_comments_become_ascii(tmp_path: Path) -> None:
    assert keys_of(tmp_path, "\ufeff" + KEY + "é\n") == (KEY + "?",)


def test_every_node_has_a_host_key_of_its_own() -> None:
    access = new_access((KEY,), [NodeName("vc1"), NodeName("compute-0")], "vc1")
    pairs = [access.cluster, *access.hosts.values()]
    assert len({pair.public for pair in pairs}) == len({pair.private for pair in pairs}) == 3
    assert access.user_keys == (KEY,)
    assert access.cluster.private not in repr(access)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")
def test_openssh_reads_our_private_keys(tmp_path: Path) -> None:
    pair = new_access((), []).cluster
    path = tmp_path / "key"
    path.write_text(pair.private)
    path.chmod(0o600)
    read = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True).stdout
    assert read.split()[:2] == pair.public.split()[:2]


@pytest.mark.skipif(not shutil.which("dropbearkey"), reason="no dropbearkey here")
def test_dropbear_reads_our_private_keys(tmp_path: Path) -> None:
    pair = images.pair(7, "x")
    path = tmp_path / "key"
    path.write_bytes(dropbear_key(pair))
    read = subprocess.run(["dropbearkey", "-y", "-f", path], capture_output=True, text=True, check=True).stdout
    assert pair.public.split()[1] in read


def test_a_dropbear_key_is_type_then_seed_and_public_key() -> None:
    pair = images.pair(7, "x")
    public = base64.b64decode(pair.public.split()[1])[-32:]
    assert dropbear_key(pair) == b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes([7]) * 32 + public
