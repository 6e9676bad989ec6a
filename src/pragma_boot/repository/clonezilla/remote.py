"""Where Clonezilla images come from: a folder of this machine, of a web server, or of Google Drive."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import RepositoryError
from pragma_boot.model import ProgressSink, shorten
from pragma_boot.repository import drive
from pragma_boot.repository.arrival import Meter
from pragma_boot.repository.clonezilla.directory import ImageDirectory
from pragma_boot.repository.clonezilla.source import Content
from pragma_boot.repository.fetch import Item as Wanted
from pragma_boot.repository.fetch import download
from pragma_boot.repository.patience import Patience
from pragma_boot.repository.record import Digest
from pragma_boot.repository.source import FileSource, Source, WebSource
from pragma_boot.repository.web import Web

_log = logging.getLogger(__name__)

LISTING_LIMIT = 8 * 1024 * 1024
_MEND = "mend repository_url in site_conf.conf"


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder. place: a path, URL or id. size: None where it is not known yet.

    version: changes when the content does (a digest, an ETag, a time); empty where it is not known yet.
    modified: sorts by time, or is empty.
    """

    name: str
    is_folder: bool
    place: str
    size: int | None = None
    version: str = ""
    modified: str = ""


class Remote(Protocol):
    """Folders that are read."""

    def items(self, folder: Item | None = None) -> tuple[Item, ...]:
        """What is in the folder, or in the repository's own. Raises RepositoryError when it cannot be read."""

    def known(self, item: Item) -> Item:
        """A file with its size and version. Raises RepositoryError when it cannot be read."""

    def source(self, item: Item) -> Source:
        """A file's bytes (`known` gave the item)."""

    def download(self, item: Item, target: Path, subject: str, progress: ProgressSink) -> Path:
        """A whole file on this machine; *target*, or where it is anyway. Raises as `fetch.download`."""


def open_remote(settings: RepositorySettings, patience: Patience | None = None) -> Remote:
    """What `repository_url` names. Raises RepositoryError when it names nothing of these."""
    others = settings.others
    url, ca_file = str(others.get("repository_url") or ""), others.get("ca_file")
    certificates = ca_file if isinstance(ca_file, Path) else None
    folder = drive.parse_folder(url)
    if folder:
        return _drive(others, folder, certificates, patience)
    if url.startswith(("http://", "https://")):
        return WebFolder(Web(ca_file=certificates, patience=patience), url)
    path = Path(unquote(urlsplit(url).path) if url.startswith("file://") else url)
    if not path.is_absolute():
        raise RepositoryError(
            f"{shorten(url)!r} is no place of Clonezilla images",
            resolution=f"{_MEND}: a Google Drive folder's URL or id, an http(s) URL, or a folder's full path",
        )
    return LocalFolder(path)


def _drive(
    others: Mapping[str, object], folder: tuple[str, str], ca_file: Path | None, patience: Patience | None
) -> Remote:
    endpoint, credentials = str(others.get("google_api_endpoint")), others.get("google_credentials")
    plain = Web(ca_file=ca_file, patience=patience)  # asks for tokens, so it has none
    account = drive.ServiceAccount.read(credentials, plain) if isinstance(credentials, Path) else None
    key = str(others.get("google_api_key") or "")
    if not key and not account:
        raise RepositoryError(
            "a Google Drive folder needs an API key",
            resolution="set google_api_key or google_credentials in site_conf.conf; docs/repositories.md says how to"
            " get one",
        )
    access = drive.DriveAccess(endpoint, key, account)
    web = Web(access, ca_file=ca_file, patience=patience)
    keys = others.get("resource_keys")
    known = {str(ident): str(value) for ident, value in keys.items()} if isinstance(keys, Mapping) else {}
    return DriveFolder(
        drive.Drive(web, access, endpoint, known | {folder[0]: folder[1] or known.get(folder[0], "")}), web, folder[0]
    )


class LocalFolder:
    """A folder of this machine, or one that is mounted here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def items(self, folder: Item | None = None) -> tuple[Item, ...]:
        """See `Remote.items`. Links are followed for the repository's own folder only."""
        path = Path(folder.place) if folder else self._path
        try:
            found = sorted(entry for entry in path.iterdir() if entry.is_dir() or entry.is_file())
            return tuple(_local(entry) for entry in found if not entry.is_symlink())
        except OSError as error:
            raise RepositoryError(
                f"the folder {path} cannot be read", details=error.strerror, resolution=f"mount it, or {_MEND}"
            ) from error

    def known(self, item: Item) -> Item:
        """See `Remote.known`."""
        return item

    def source(self, item: Item) -> Source:
        """See `Remote.source`."""
        return FileSource(Path(item.place))

    def download(self, item: Item, target: Path, subject: str, progress: ProgressSink) -> Path:
        """See `Remote.download`: it is here."""
        return Path(item.place)


def _local(path: Path) -> Item:
    status = path.stat()
    version = f"mtime:{status.st_mtime_ns}"
    size = None if path.is_dir() else status.st_size
    return Item(path.name, path.is_dir(), str(path), size, version, f"{status.st_mtime_ns:024d}")


class WebFolder:
    """A folder of a web server that lists it as a page of links (nginx, Apache httpd, Python, …)."""

    def __init__(self, web: Web, url: str) -> None:
        self._web, self._url = web, url.rstrip("/") + "/"

    def items(self, folder: Item | None = None) -> tuple[Item, ...]:
        """See `Remote.items`: links to direct children; folders end in a slash."""
        url = folder.place if folder else self._url
        page = _Links()
        page.feed(self._web.document(url, LISTING_LIMIT).decode(errors="replace"))
        return tuple({item.place: item for link in page.links if (item := _child(url, link))}.values())

    def known(self, item: Item) -> Item:
        """See `Remote.known`: asks the server."""
        with self._web.open(item.place, method="HEAD") as reply:
            version = reply.headers.get("etag") or reply.headers.get("last-modified", "")
            return replace(item, size=reply.length, version=version)

    def source(self, item: Item) -> Source:
        """See `Remote.source`."""
        return WebSource(self._web, item.place)

    def download(self, item: Item, target: Path, subject: str, progress: ProgressSink) -> Path:
        """See `Remote.download`."""
        return _download(self._web, Wanted(item.place, target, item.size), subject, progress)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _child(folder: str, link: str) -> Item | None:
    """The item that a link names; None for what is not directly in *folder*."""
    try:
        whole = urljoin(folder, link)
        rest = urlsplit(whole)
    except ValueError:
        return None
    base = urlsplit(folder)
    inside = rest[:2] == base[:2] and rest.path.startswith(base.path) and not rest.query
    name = unquote(rest.path.removeprefix(base.path)) if inside else ""
    is_folder, name = name.endswith("/"), name.removesuffix("/")
    return Item(name, is_folder, whole.partition("#")[0]) if name and "/" not in name else None


class DriveFolder:
    """A folder of Google Drive."""

    def __init__(self, api: drive.Drive, web: Web, folder: str) -> None:
        self._drive, self._web, self._folder = api, web, folder

    def items(self, folder: Item | None = None) -> tuple[Item, ...]:
        """See `Remote.items`."""
        found = self._drive.items(folder.place if folder else self._folder)
        return tuple(
            Item(one.name, one.is_folder, one.id, one.size, one.digest or one.modified, one.modified) for one in found
        )

    def known(self, item: Item) -> Item:
        """See `Remote.known`."""
        return item

    def source(self, item: Item) -> Source:
        """See `Remote.source`."""
        source = WebSource(self._web, self._drive.url(item.place))
        source.name = item.name
        return source

    def download(self, item: Item, target: Path, subject: str, progress: ProgressSink) -> Path:
        """See `Remote.download`; verified by the digest that Drive tells."""
        algorithm, _, value = item.version.partition(":")
        digest = Digest(algorithm, value) if algorithm in ("md5", "sha256") else None
        return _download(self._web, Wanted(self._drive.url(item.place), target, item.size, digest), subject, progress)


def _download(web: Web, wanted: Wanted, subject: str, progress: ProgressSink) -> Path:
    download(web, wanted, Meter(subject, progress))
    return wanted.target


class RemoteFiles(Mapping[str, Content]):
    """The files of a bare image directory; the server is asked about one when it is needed."""

    def __init__(self, remote: Remote, items: Mapping[str, Item]) -> None:
        self._remote, self._items = remote, items
        self._contents: dict[str, Content] = {}

    def __getitem__(self, name: str) -> Content:
        if name not in self._contents:
            item = self._remote.known(self._items[name])
            source = self._remote.source(item)
            size = source.size if item.size is None else item.size
            self._contents[name] = Content(name, source, ((0, size),))
        return self._contents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def image_directory(remote: Remote, folder: Item) -> ImageDirectory:
    """A bare image directory there. Raises RepositoryError when it cannot be listed."""
    items = {item.name: item for item in remote.items(folder) if not item.is_folder}
    return ImageDirectory(folder.name, RemoteFiles(remote, items))
