"""User data, in whatever wrapping a cloud or a person gave it, down to the vc-out document in it (guest.md 8.4).

Known are the document itself, base64 of it, gzip, a MIME message with it as a part, and cloud-config whose
`write_files` holds it, each inside the others to a small depth. Everything is bounded: user data is untrusted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from contextlib import suppress

from pragma_boot.agent.document import LIMIT
from pragma_boot.errors import GuestError

_DEPTH = 4
_PARTS = 32
_PATH = "/root/vc-out.xml"
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}")
_MIME = re.compile(rb"(?:[A-Za-z-]+: [^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:content-type|mime-version):", re.IGNORECASE)


def unpacked(data: bytes, depth: int = _DEPTH) -> bytes:
    """The document in *data*, as text of XML; whether it is a good one is for `document.parse` to say.

    Raises GuestError when there is none, or more than `LIMIT` bytes of it.
    """
    if len(data) > LIMIT:
        raise GuestError(f"user data is larger than {LIMIT} bytes")
    text = data.strip(b"\xef\xbb\xbf\0 \t\r\n")
    if not text:
        raise GuestError("user data is empty")
    if depth == 0:
        raise GuestError("user data is wrapped too often")
    if text.startswith(b"<"):
        return text + b"\n"
    if data.startswith(b"\x1f\x8b"):
        return unpacked(_inflated(data), depth - 1)
    if text.startswith((b"#cloud-config", b"## template: jinja")):
        return _of_cloud_config(text.decode("utf-8", "replace"), depth)
    if _MIME.match(text):
        return _of_mime(text, depth)
    if _BASE64.fullmatch(text):
        return unpacked(_decoded(text), depth - 1)
    raise GuestError("user data holds no vc-out document", details=f"it begins with {text[:40]!r}")


def _inflated(data: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj(wbits=31)
        found = inflater.decompress(data, LIMIT + 1)
    except zlib.error as error:
        raise GuestError("user data is broken gzip", details=str(error)) from error
    if len(found) > LIMIT:
        raise GuestError(f"user data unpacks to more than {LIMIT} bytes")
    if not inflater.eof:
        raise GuestError("user data is cut off gzip")
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise GuestError("user data is broken base64", details=str(error)) from error


def _of_mime(text: bytes, depth: int) -> bytes:
    """The first part of a message that holds a document."""
    from email import message_from_bytes  # noqa: PLC0415 - dear, and rarely needed

    try:
        parts = [part for part in message_from_bytes(text).walk() if not part.is_multipart()]
    except RecursionError as error:
        raise GuestError("user data is a message with too many levels") from error
    for part in parts[:_PARTS]:
        content = part.get_payload(decode=True)
        try:
            return unpacked(content if isinstance(content, bytes) else b"", depth - 1)
        except GuestError:
            continue  # scripts and other configuration are for somebody else
    raise GuestError("user data holds no vc-out document", details=f"none of its {len(parts)} parts is one")


def _of_cloud_config(text: str, depth: int) -> bytes:
    """The file /root/vc-out.xml of cloud-config's `write_files`."""
    for entry in _written_files(text.splitlines()):
        if entry.get("path") == _PATH and "content" in entry:
            content = entry["content"].encode()
            words = set(re.split(r"[+_ ]", entry.get("encoding", "text").lower()))
            if words & {"b64", "base64"}:
                content = _decoded(content)
            if words & {"gz", "gzip"}:
                content = _inflated(content)
            return unpacked(content, depth - 1)
    raise GuestError("user data holds no vc-out document", details=f"its write_files has no {_PATH}")


def _written_files(lines: list[str]) -> list[dict[str, str]]:
    """The entries of `write_files` with their texts, as far as block-style YAML goes (there is no YAML in Python)."""
    entries: list[dict[str, str]] = []
    start = next((number for number, line in enumerate(lines) if line.rstrip() == "write_files:"), len(lines))
    number = start + 1
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith((" ", "-")):
            break  # the next key
        found = re.fullmatch(r"( *)(- +)?([a-z_]+):(.*)", line)
        if not found:
            continue
        if found.group(2):
            entries.append({})
        indent = len(found.group(1)) + len(found.group(2) or "")
        value = found.group(4).strip(" ")
        if re.fullmatch(r"[|>][-+0-9]*", value):
            block, number = _block(lines, number, indent)
            value = block if value.startswith("|") else " ".join(block.split("\n"))
        if entries:
            entries[-1][found.group(3)] = _unquoted(re.sub(r"^!!binary +", "", value))
    return entries


def _block(lines: list[str], number: int, indent: int) -> tuple[str, int]:
    """The lines from *number* on that are indented by more than *indent*, and the number of the first that is not."""
    taken = []
    while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > indent):
        taken.append(lines[number])
        number += 1
    margin = min((_indent(line) for line in taken if line.strip()), default=0)
    return "\n".join(line[margin:] for line in taken), number


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) > 1 and value[0] == value[-1] == '"':
        with suppress(ValueError):
            return str(json.loads(value))
    return value
