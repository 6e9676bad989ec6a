"""Repositories without a catalog: a public bucket of an object store lists what is in it (S3's ListObjectsV2).

An image is what has a document ``NAME/NAME.xml``, where a publisher would put it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from pragma_boot.connect import shown
from pragma_boot.errors import RepositoryError, UsageError
from pragma_boot.model import image_name
from pragma_boot.repository import markup
from pragma_boot.repository.markup import Element
from pragma_boot.repository.patience import StatusError
from pragma_boot.repository.web import Web

PAGES = 100
"""How many pages of a listing are read, a thousand objects each."""


def catalog(web: Web, url: str) -> str | None:
    """Catalog lines of all images below *url*; None when the server lists nothing there.

    Raises TransientError, and RepositoryError for a listing that is broken or has no end.
    """
    for place, prefix in _places(url):
        names: list[str] = []
        token = ""
        for _ in range(PAGES):
            page = _page(web, place, prefix, token)
            if page is None:
                break
            keys = [key.text for found in page.all("Contents") for key in found.all("Key")]
            names += [name for name in (_image(key.removeprefix(prefix)) for key in keys) if name]
            following = page.find("NextContinuationToken")
            if following is None or not following.text:
                return "".join(f"{name},{name}/{name}.xml\n" for name in sorted(names))
            token = following.text
        else:
            raise RepositoryError(
                f"{shown(url)} lists more than {PAGES} pages of objects",
                resolution="put a catalog there: 'pragma repository index' writes one",
            )
    return None


def _places(url: str) -> Iterator[tuple[str, str]]:
    """Where the listing may be, and the prefix of our keys: the bucket is the host, or the path's first folder."""
    parts = urlsplit(url)
    folders = [unquote(part) for part in parts.path.split("/") if part]
    for bucket in range(min(len(folders), 1) + 1):
        top = "/".join(["", *map(quote, folders[:bucket]), ""])
        yield urlunsplit((parts.scheme, parts.netloc, top, "", "")), "".join(f"{one}/" for one in folders[bucket:])


def _page(web: Web, place: str, prefix: str, token: str) -> Element | None:
    query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
    try:
        data = web.document(f"{place}?{urlencode(query)}", markup.SIZE_LIMIT)
    except StatusError:
        return None
    root = markup.read(data, f"{shown(place)} (listing)") if data.lstrip().startswith(b"<?xml") else None
    return root if root and root.tag == "ListBucketResult" else None


def _image(key: str) -> str:
    """The image whose document *key* is, or empty."""
    path = PurePosixPath(key)
    if len(path.parts) != 2 or path.suffix != ".xml" or path.stem != path.parts[0]:
        return ""
    try:
        return image_name(path.stem)
    except UsageError:
        return ""
