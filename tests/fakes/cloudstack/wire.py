"""The protocol below the commands: parameters, signatures, typed arguments."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from .errors import ApiError, bad

Pairs = list[tuple[str, str]]
_CONTROL = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
_ENTRY = re.compile(r"([A-Za-z0-9]+)\[(\d+)\]\.([^\[\]]+)")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|[+-]\d\d:?\d\d)")
SECRET = frozenset({"apikey", "signature", "secretkey", "userdata", "password"})


def encode(value: str) -> str:
    """As Java's URLEncoder with %20 for a space: everything but letters, digits and ``.-_*`` is escaped."""
    return quote(value, safe="*").replace("~", "%7E")


def text_to_sign(pairs: Iterable[tuple[str, str]]) -> str:
    """Names as they were sent, sorted by UTF-16 code units, not escaped; all in lower case."""
    signed = sorted(
        (pair for pair in pairs if pair[0].lower() != "signature"), key=lambda pair: pair[0].encode("utf-16-be")
    )
    return "&".join(f"{name}={encode(value)}" for name, value in signed).lower()


def sign(pairs: Iterable[tuple[str, str]], secret: str) -> str:
    """HMAC-SHA1 in base64."""
    return base64.b64encode(hmac.new(secret.encode(), text_to_sign(pairs).encode(), hashlib.sha1).digest()).decode()


def received(method: str, target: str, body: bytes) -> Pairs:
    """All parameters; those of the query win over those of the form, the last of a repeated one wins."""
    found: dict[str, str] = {}
    if method == "POST":
        found.update(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    found.update(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    return list(found.items())


def expiry(text: str) -> float | None:
    """Seconds since 1970, or None where it is no date that the server reads."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def lowered(pairs: Pairs) -> dict[str, str]:
    """Names in lower case but for the part after a dot; raises 431 for control characters, 430 for broken maps."""
    made: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if "[" in name or "]" in name:
            match = _ENTRY.fullmatch(name)
            if match is None:
                raise ApiError(
                    430,
                    f"Unable to decode parameter {name}; if specifying an object array, please use "
                    "parameter[index].field=XXX, e.g. userGroupList[0].group=httpGroup",
                )
            key = f"{match[1].lower()}[{match[2]}].{match[3]}"
        if _CONTROL.search(value):
            raise bad(f"Received value containing illegal ASCII non-printable characters for parameter {key}")
        made[key] = value
    return made


def public(pairs: Pairs) -> dict[str, str]:
    """What may be logged."""
    return {name: "***" if name.lower() in SECRET else value for name, value in pairs}


class Args(Mapping[str, Any]):
    """A command's arguments by their names in lower case, each of the type that the command declares."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def entries(self, name: str) -> list[dict[str, str]]:
        """A list of objects, in the order of their indices."""
        found: dict[int, dict[str, str]] = self._values.get(name) or {}
        return [found[index] for index in sorted(found)]

    def merged(self, name: str) -> dict[str, str]:
        """A map: the fields of all indices together."""
        return {key: value for entry in self.entries(name) for key, value in entry.items()}
