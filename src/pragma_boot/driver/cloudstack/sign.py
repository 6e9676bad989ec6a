"""How requests are written and signed (cloudstack.md a.2 and a.3). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

EXPIRY = 600
"""Seconds that a signature holds: what the strictest server allows is 900."""

Value = str | int | bool | None | Sequence[str] | Mapping[str, str | int] | Sequence[Mapping[str, str | int]]
"""What a parameter may be: a list is sent with commas, a mapping or a list of mappings as ``name[0].field``."""


def encoded(value: str) -> str:
    """A value as Java's URLEncoder writes it, with ``%20`` for a blank: ``*`` stays, ``~`` does not."""
    return quote(value, safe="*").replace("~", "%7E")


def flat(parameters: Mapping[str, Value]) -> dict[str, str]:
    """Parameters as they are sent: names in lower case, but for a mapping's fields; None is left out."""
    sent: dict[str, str] = {}
    for given, value in parameters.items():
        name = given.lower()
        match value:
            case None:
                pass
            case bool():
                sent[name] = str(value).lower()
            case str() | int():
                sent[name] = str(value)
            case Mapping():
                sent |= {f"{name}[0].{field}": str(content) for field, content in value.items()}
            case _ if value and isinstance(value[0], Mapping):
                for index, item in enumerate(value):
                    assert isinstance(item, Mapping)
                    sent |= {f"{name}[{index}].{field}": str(content) for field, content in item.items()}
            case _:
                sent[name] = ",".join(map(str, value))
    return sent


def text_to_sign(sent: Mapping[str, str]) -> str:
    """What the signature is over: names as they are sent, sorted; everything in lower case at the end."""
    return "&".join(f"{name}={encoded(sent[name])}" for name in sorted(sent)).lower()


def signature(sent: Mapping[str, str], secretkey: str) -> str:
    """HMAC-SHA1 in base64."""
    digest = hmac.new(secretkey.encode(), text_to_sign(sent).encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def body(parameters: Mapping[str, Value], command: str, apikey: str, secretkey: str, now: float) -> bytes:
    """A request's body, signed to hold until EXPIRY seconds after *now* (seconds since 1970)."""
    expires = datetime.fromtimestamp(now + EXPIRY, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    sent = flat(parameters) | {
        "command": command,
        "response": "json",
        "apikey": apikey,
        "signatureversion": "3",
        "expires": expires,
    }
    sent["signature"] = signature(sent, secretkey)
    return "&".join(f"{quote(name, safe='[]')}={encoded(value)}" for name, value in sent.items()).encode()
