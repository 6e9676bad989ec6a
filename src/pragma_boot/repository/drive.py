"""Google Drive, API v3: the folders of a shared folder, their files, and ranges of these (repositories.md 4).

Access is by an API key (folders shared with everybody) or a service account's key file. Resource keys, which shared
items of before 2017 need, are taken from the folder's URL, from the settings and from listings. Keys travel in header
lines only, so that no URL, log or message has them.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pragma_boot import log
from pragma_boot.errors import ImageError, PragmaError, RepositoryError
from pragma_boot.model import shorten
from pragma_boot.repository.patience import StatusError, TransientError, Tries, retry_after
from pragma_boot.repository.web import Access, Request, Web, read_all

_log = logging.getLogger(__name__)

FOLDER = "application/vnd.google-apps.folder"
_SHORTCUT = "application/vnd.google-apps.shortcut"
_FIELDS = (
    "nextPageToken,incompleteSearch,files(id,name,mimeType,size,md5Checksum,sha256Checksum,modifiedTime,"
    "resourceKey,shortcutDetails)"
)
_SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_ID = re.compile(r"[A-Za-z0-9_-]{10,200}")
_PAGE_LIMIT, _PAGES = 8 * 1024 * 1024, 1000
_TOKEN_LIFE, _TOKEN_SPARE = 3600, 120  # seconds
_QUOTA = ("rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded", "backendError", "internalError")
_REASONS = {
    "downloadQuotaExceeded": (
        "too many people downloaded this file: Google Drive refuses it for up to a day",
        "repeat tomorrow; what is here already is kept",
    ),
    "dailyLimitExceeded": ("the daily limit of the API key is used up", "repeat tomorrow, or raise its quota"),
    "cannotDownloadAbusiveFile": (
        "Google took the file for malware; only its owner can still download it",
        "ask the owner to copy it elsewhere, or use a service account that owns it",
    ),
    "notFound": (
        "there is no such item, it is not shared with you, or it needs a resource key",
        "mend repository_url; old shared folders need their key: add '?resourcekey=…' to the URL, or set resource_keys",
    ),
    "accessNotConfigured": (
        "the Google Drive API is not enabled for this key",
        "enable it in the key's project: console.cloud.google.com, APIs & Services",
    ),
}
_BAD_KEY = "mend google_api_key or google_credentials in site_conf.conf; docs/repositories.md says how to get them"


@dataclass(frozen=True, slots=True)
class DriveItem:
    """A file or folder. digest: `sha256:…` or `md5:…` in hexadecimal, or empty. size: None for folders."""

    id: str
    name: str
    is_folder: bool
    size: int | None = None
    digest: str = ""
    modified: str = ""


def parse_folder(url: str) -> tuple[str, str] | None:
    """(id, resource key or empty) of a folder's URL or bare id; None when it is neither."""
    if _ID.fullmatch(url):
        return url, ""
    parts = urlsplit(url)
    if parts.hostname not in ("drive.google.com", "docs.google.com"):
        return None
    query = parse_qs(parts.query)
    found = re.search(r"/folders/([^/]+)", parts.path)
    ident = found[1] if found else (query.get("id") or [""])[0]
    return (ident, (query.get("resourcekey") or [""])[0]) if _ID.fullmatch(ident) else None


class DriveAccess(Access):
    """Adds the key or token, and resource keys, to requests at *endpoint*; reads Google's refusals."""

    def __init__(self, endpoint: str, key: str = "", account: ServiceAccount | None = None) -> None:
        self._endpoint, self._key, self._account = endpoint.rstrip("/"), key, account
        self._resource_keys: dict[str, str] = {}
        log.hide([key])

    def know(self, keys: Mapping[str, str]) -> None:
        """Remember resource keys by item id."""
        usable = {ident: key for ident, key in keys.items() if key and _ID.fullmatch(ident) and key.isprintable()}
        self._resource_keys |= usable
        log.hide(usable.values())

    def prepare(self, url: str) -> Request:
        """See `Access.prepare`."""
        headers: dict[str, str] = {}
        if url.startswith(f"{self._endpoint}/"):
            if self._account:
                headers["Authorization"] = f"Bearer {self._account.token()}"
            elif self._key:
                headers["X-Goog-Api-Key"] = self._key
            pairs = [f"{ident}/{key}" for ident, key in self._resource_keys.items() if ident in url]
            if pairs:
                headers["X-Goog-Drive-Resource-Keys"] = ",".join(pairs)
        return Request(url, headers)

    def judge(self, status: int, headers: Mapping[str, str], body: bytes) -> PragmaError | None:
        """See `Access.judge`."""
        reason, message = _reason(body)
        if reason in _QUOTA or status == 429:
            busy = TransientError("Google Drive wants us to slow down", details=reason, resolution="repeat later")
            busy.wait = retry_after(headers)
            return busy
        if reason in _REASONS:
            why, mend = _REASONS[reason]
            return StatusError(f"Google Drive refuses: {why}", details=message, resolution=mend)
        if status in (400, 401, 403):
            if status == 401 and self._account:
                self._account.forget()
            return StatusError("Google Drive does not accept the key", details=message or reason, resolution=_BAD_KEY)
        return None


class Drive:
    """Folders and files behind *web*, whose access is *access*. keys: resource keys by id, from the settings."""

    def __init__(self, web: Web, access: DriveAccess, endpoint: str, keys: Mapping[str, str] | None = None) -> None:
        self._web, self._access, self._files = web, access, f"{endpoint.rstrip('/')}/drive/v3/files"
        access.know(keys or {})

    def items(self, folder: str) -> tuple[DriveItem, ...]:
        """What is in a folder, in the order in which it was put there; shortcuts lead to what they mean.

        Raises RepositoryError, StatusError (with what Google says and its mend) or TransientError.
        """
        return tuple(item for page in self._pages(folder) for item in map(self._item, page) if item)

    def url(self, item: str) -> str:
        """Where a file's content is; ranges of it may be read."""
        return f"{self._files}/{quote(item)}?alt=media&supportsAllDrives=true"

    def again(self, item: DriveItem) -> DriveItem:
        """A file as it is now; before a download is gone on with."""
        fields = "id,name,mimeType,size,md5Checksum,sha256Checksum,modifiedTime,resourceKey"
        query = urlencode({"fields": fields, "supportsAllDrives": "true"})
        found = self._item(self._json(f"{self._files}/{quote(item.id)}?{query}"))
        return replace(found, name=item.name) if found else item

    def _pages(self, folder: str) -> Iterator[Sequence[Any]]:
        query = {
            "q": f"'{folder}' in parents and trashed=false",
            "fields": _FIELDS,
            "pageSize": "1000",
            "orderBy": "createdTime",  # what is added while we read comes last
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
        }
        for _ in range(_PAGES):
            page = self._json(f"{self._files}?{urlencode(query)}")
            files = page.get("files", [])
            yield files if isinstance(files, list) else []
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = str(page["nextPageToken"])
        raise RepositoryError("the Google Drive folder has no end", resolution="mend repository_url in site_conf.conf")

    def _json(self, url: str) -> dict[str, Any]:
        try:
            found = json.loads(self._web.document(url, _PAGE_LIMIT))
        except ValueError as error:
            raise _no_answer() from error
        if not isinstance(found, dict):
            raise _no_answer()
        return found

    def _item(self, found: Any) -> DriveItem | None:
        """One entry of a listing; None for what is no file: documents of Google's have no content."""
        if not isinstance(found, dict):
            raise _no_answer()
        kind, ident = str(found.get("mimeType", "")), str(found.get("id", ""))
        key = str(found.get("resourceKey", ""))
        if kind == _SHORTCUT:
            return self._target(found)
        self._access.know({ident: key})
        if not _ID.fullmatch(ident) or (kind.startswith("application/vnd.google-apps.") and kind != FOLDER):
            _log.debug("%s is no file, it is skipped", shorten(str(found.get("name"))))
            return None
        size = str(found.get("size", ""))
        return DriveItem(
            id=ident,
            name=str(found.get("name", "")),
            is_folder=kind == FOLDER,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 20 else None,
            digest=_digest(found),
            modified=str(found.get("modifiedTime", "")),
        )

    def _target(self, found: dict[str, Any]) -> DriveItem | None:
        details = found.get("shortcutDetails")
        details = details if isinstance(details, dict) else {}
        ident, kind = str(details.get("targetId", "")), str(details.get("targetMimeType", ""))
        self._access.know({ident: str(details.get("targetResourceKey", ""))})
        if not _ID.fullmatch(ident) or kind == _SHORTCUT:
            return None
        item = DriveItem(ident, str(found.get("name", "")), kind == FOLDER, modified=str(found.get("modifiedTime", "")))
        return item if item.is_folder else self.again(item)


@dataclass(slots=True)
class ServiceAccount:
    """Makes tokens from a service account's key. Safe to use from several threads."""

    email: str
    key: str
    token_url: str
    web: Web
    _token: str = ""
    _until: float = 0.0
    _lock: threading.Lock | None = None

    @classmethod
    def read(cls, path: Path, web: Web) -> ServiceAccount:
        """From Google's JSON file. Raises RepositoryError when it cannot be read, or is no such file."""
        try:
            if path.stat().st_mode & 0o077:
                _log.warning("%s can be read by others: chmod 600 %s", path, path)
            found = json.loads(path.read_bytes())
            account = cls(found["client_email"], found["private_key"], found["token_uri"], web, _lock=threading.Lock())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RepositoryError(
                f"the credentials {path} cannot be used",
                details=error.strerror if isinstance(error, OSError) else "they are no service account's JSON file",
                resolution=_BAD_KEY,
            ) from error
        log.hide([account.key])
        return account

    def token(self) -> str:
        """A token that is good for some minutes at least. Raises RepositoryError when Google gives none."""
        assert self._lock
        with self._lock:
            if time.time() > self._until - _TOKEN_SPARE:
                self._token = self._exchange()
                self._until = time.time() + _TOKEN_LIFE
                log.hide([self._token])
            return self._token

    def forget(self) -> None:
        """The token is not accepted any more."""
        self._until = 0.0

    def _exchange(self) -> str:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        body = urlencode({"grant_type": grant, "assertion": self._assertion()}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        tries = Tries(self.web.patience)
        while True:
            try:
                with self.web.open(self.token_url, headers, method="POST", body=body) as reply:
                    return str(json.loads(read_all(reply, 64 * 1024))["access_token"])
            except TransientError as error:
                tries.failed(error)
            except (ValueError, KeyError, TypeError) as error:
                raise _no_answer() from error
            except StatusError as error:
                clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
                raise RepositoryError(
                    f"Google does not accept the key of the service account {self.email}",
                    details=f"{error.details}; the clock here says {clock}",
                    resolution="see that the account's key is not revoked and that this clock is right",
                ) from error

    def _assertion(self) -> str:
        """A JSON web token, signed with RS256."""
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        now = int(time.time())
        claims = {"iss": self.email, "scope": _SCOPE, "aud": self.token_url, "iat": now, "exp": now + _TOKEN_LIFE}
        text = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        try:
            key = load_pem_private_key(self.key.encode(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
        except (ValueError, TypeError, AssertionError) as error:
            raise RepositoryError(
                f"the key of the service account {self.email} cannot be read", resolution=_BAD_KEY
            ) from error
        return b".".join((text, _base64(key.sign(text, padding.PKCS1v15(), hashes.SHA256())))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _digest(found: Mapping[str, Any]) -> str:
    for name, field in (("sha256", "sha256Checksum"), ("md5", "md5Checksum")):
        value = str(found.get(field, "")).lower()
        if re.fullmatch(r"[0-9a-f]{32,64}", value):
            return f"{name}:{value}"
    return ""


def _reason(body: bytes) -> tuple[str, str]:
    """(reason, message) of Google's refusal; empty when it is none."""
    try:
        error = json.loads(body)["error"]
        first = (error.get("errors") or [{}])[0]
        return str(first.get("reason") or error.get("status") or ""), shorten(str(error.get("message", "")), 300)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "", ""


def _no_answer() -> ImageError:
    return ImageError("Google Drive's answer makes no sense", resolution="mend google_api_endpoint in site_conf.conf")
