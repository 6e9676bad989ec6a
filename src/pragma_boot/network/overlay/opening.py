"""From what `enable-ipop-server=` and `enable-ipop-client=` say to an exchange.

``file:///PATH``, a plain path, or ``http(s)://HOST/PATH?jobId=JOB``; after ``#``, with ``&`` between them:

* ``first=17``: the cluster's first slot, at exchanges that keep no claims;
* ``token-file=/PATH``: a file with the job's token, mode 0600. ``token=TOKEN`` is the token itself: every user of this
  machine sees it in the list of processes. Without either, `TOKEN_VARIABLE` of the environment has it, or none is sent;
* ``ca-file=/PATH``: certificates (PEM) to trust beside the system's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pragma_boot import connect, log
from pragma_boot.errors import UsageError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.exchange import Exchange, FixedSlots
from pragma_boot.network.overlay.shared_file import SharedFile
from pragma_boot.network.overlay.web_service import WebService

TOKEN_VARIABLE = "PRAGMA_EXCHANGE_TOKEN"  # noqa: S105 - a variable's name
"""The environment's variable with the token of an exchange."""

_FIRST, _TOKEN, _TOKEN_FILE, _CA_FILE = "first", "token", "token-file", "ca-file"
_OF_ALL, _OF_WEB = (_FIRST,), (_TOKEN, _TOKEN_FILE, _CA_FILE)
_FORMS = "give file:///PATH, or http(s)://HOST/PATH?jobId=JOB (docs/exchange.md)"


def open_exchange(text: str, environ: Mapping[str, str] = os.environ) -> Exchange:
    """The exchange of that URL or path. Nothing is asked of it; its token is read now, and hidden in logs from now on.

    environ: where `TOKEN_VARIABLE` may be.
    Raises UsageError for what is no such URL, and for a token file that cannot be read or that others may read.
    """
    address, _, words = text.partition("#")
    is_web = "://" in address and not address.startswith("file:")
    options = _options(words, (*_OF_ALL, *_OF_WEB) if is_web else _OF_ALL)
    exchange = _web(address, options, environ) if is_web else _file(address)
    return FixedSlots(exchange, _first(options[_FIRST])) if _FIRST in options else exchange


def _options(words: str, known: tuple[str, ...]) -> dict[str, str]:
    found = parse_qsl(words, keep_blank_values=True)
    options = dict(found)
    if not set(options) <= set(known) or len(options) < len(found) or "" in options.values():
        raise UsageError(
            "what stands after '#' in the exchange's URL cannot be read",
            resolution=f"write {' or '.join(f'{one}=…' for one in known)}, each once, with '&' between them",
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
        parts = _split(address)
        if parts.netloc not in ("", "localhost") or parts.query:
            raise UsageError(
                f"{shorten(address)!r} names no file of this machine", resolution="write file:///PATH, three slashes"
            )
        text = unquote(parts.path)
    if not text or text.endswith("/") or not text.isprintable():
        raise UsageError(f"{shorten(address)!r} names no file", resolution=_FORMS)
    return SharedFile(_path(text))


def _web(address: str, options: Mapping[str, str], environ: Mapping[str, str]) -> WebService:
    parts = _split(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or not address.isascii() or " " in address:
        raise UsageError(f"{connect.shown(address)!r} names no exchange", resolution=_FORMS)
    if parts.password:
        log.hide([parts.password, unquote(parts.password)])
    token = _token(options, environ)
    # the query's own token is sent with it; it must be in no log either
    log.hide([token, *(value for key, value in parse_qsl(parts.query) if key == _TOKEN)])
    ca_file = _path(options[_CA_FILE]) if _CA_FILE in options else None
    return WebService(address, token, connect.Connections(ca_file))


def _token(options: Mapping[str, str], environ: Mapping[str, str]) -> str:
    if _TOKEN in options and _TOKEN_FILE in options:
        raise UsageError("the exchange's URL names two tokens", resolution="leave token= or token-file= out")
    if _TOKEN_FILE in options:
        token, where = _read_token(_path(options[_TOKEN_FILE])), options[_TOKEN_FILE]
    else:
        token, where = options.get(_TOKEN) or environ.get(TOKEN_VARIABLE, ""), "the exchange's token"
    if token and not re.fullmatch(r"[\x21-\x7e]{1,512}", token):
        raise UsageError(f"{where} is no token", resolution="give the one line that 'pragma exchange token' printed")
    return token


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"the token file {path} is open to others", resolution=f"chmod 600 {path}")
            return file.read(1024).decode("utf-8", "replace").strip()
    except OSError as error:
        raise UsageError(
            f"cannot read the token file {path}", details=error.strerror, resolution="mend token-file= in the URL"
        ) from error


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port  # parsed only now
    except ValueError:
        raise UsageError(f"{connect.shown(address)!r} is no URL", resolution=_FORMS) from None
    return parts


def _path(text: str) -> Path:
    try:
        path = Path(text).expanduser().absolute()
        if not path.is_dir():
            return path
    except (RuntimeError, ValueError):
        pass  # no such user; a NUL
    raise UsageError(f"{shorten(text)!r} names no file", resolution="give the path of a file")
