"""From what `enable-ipop-server=` and `enable-ipop-client=` say to an exchange.

``file:///PATH`` or a plain path; after ``#`` may stand ``first=17``, the cluster's first slot, for want of claims.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pragma_boot.errors import UsageError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.exchange import Exchange, FixedSlots
from pragma_boot.network.overlay.shared_file import SharedFile

_OPTIONS = ("first",)
_FORMS = "give file:///PATH"


def open_exchange(text: str) -> Exchange:
    """The exchange of that URL or path. Nothing is asked of it. Raises UsageError for what is no such URL."""
    address, _, words = text.partition("#")
    options = _options(words)
    exchange = _file(address)
    return FixedSlots(exchange, _first(options["first"])) if "first" in options else exchange


def _options(words: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(words, keep_blank_values=True):
        if key not in _OPTIONS or key in options or not value:
            raise UsageError(
                f"the exchange's URL has {key!r} after '#', twice or without its value"
                if key in _OPTIONS
                else "the exchange's URL has something after '#' that is not known",
                resolution=f"after '#' may stand {', '.join(f'{one}=…' for one in _OPTIONS)}, with '&' between them",
            )
        options[key] = value
    if words and not options:
        raise UsageError(
            "the exchange's URL has something after '#' that is not known",
            resolution=f"after '#' may stand {', '.join(f'{one}=…' for one in _OPTIONS)}, with '&' between them",
        )
    return options


def _first(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 2**16:
        raise UsageError("first= of the exchange's URL is no slot", resolution="give a number from 1, as in #first=17")
    return int(text)


def _file(address: str) -> SharedFile:
    """The file that a URL or a plain path names."""
    text = address
    if address.startswith("file:"):
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost") or parts.query:
            raise UsageError(
                f"{shorten(address)!r} names no file of this machine", resolution="write file:///PATH, three slashes"
            )
        text = unquote(parts.path)
    if not text or "\0" in text or text.endswith("/") or not text.isprintable():
        raise UsageError(f"{shorten(address)!r} names no file", resolution=_FORMS)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        raise UsageError(f"{path} is a folder", resolution="name a file in it; it need not exist")
    return SharedFile(path)
