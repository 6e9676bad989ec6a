from html import escape
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fakes.publisher import Publisher
from fakes.web import Asked, WebServer
from pragma_boot.errors import RepositoryError
from pragma_boot.model import image_name
from pragma_boot.repository import bucket
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.web import Web


class Bucket:
    """Answers listings for a bucket whose top is the path *top*; *page* keys at a time."""

    def __init__(self, server: WebServer, top: str, keys: list[str], page: int = 2) -> None:
        self.top, self.keys, self.page = top, keys, page
        server.forbid = self

    def __call__(self, asked: Asked) -> tuple[int, bytes] | None:
        path, _, query = asked.path.partition("?")
        if "list-type" not in query:
            return None
        if path != self.top:
            return 404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
        words = parse_qs(query)
        prefix, begin = words.get("prefix", [""])[0], int(words.get("continuation-token", ["0"])[0])
        keys = [key for key in self.keys if key.startswith(prefix)]
        contents = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys[begin : begin + self.page])
        more = begin + self.page < len(keys)
        token = f"<NextContinuationToken>{begin + self.page}</NextContinuationToken>" if more else ""
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        return 200, f"<?xml version='1.0'?><ListBucketResult {space}>{contents}{token}</ListBucketResult>".encode()


KEYS = ["a/a.xml", "a/disk.img", "b/b.xml", "b/other.xml", "c.xml", "deep/er/er.xml", "bad name/bad name.xml"]


@pytest.mark.parametrize(
    ("top", "url", "keys"),
    [
        ("/", "", KEYS),
        ("/", "/images/x", [f"images/x/{key}" for key in KEYS]),
        ("/bucket/", "/bucket", KEYS),
        ("/bucket/", "/bucket/images/", [f"images/{key}" for key in KEYS]),
    ],
)
def test_documents_in_folders_of_their_name_are_images(
    server: WebServer, web: Web, top: str, url: str, keys: list[str]
) -> None:
    Bucket(server, top, keys)
    assert bucket.catalog(web, server.url + url) == "a,a/a.xml\nb,b/b.xml\n"


def test_a_server_that_lists_nothing_is_no_bucket(server: WebServer, web: Web) -> None:
    assert bucket.catalog(web, f"{server.url}/x") is None
    server.forbid = lambda _: (200, b"<html>")
    assert bucket.catalog(web, f"{server.url}/x") is None


def test_a_listing_without_end_is_refused(server: WebServer, web: Web) -> None:
    server.forbid = lambda _: (
        200,
        b"<?xml version='1.0'?><ListBucketResult><NextContinuationToken>1</NextContinuationToken></ListBucketResult>",
    )
    with pytest.raises(RepositoryError, match="more than 100 pages"):
        bucket.catalog(web, f"{server.url}/x")


def test_a_bucket_without_a_catalog_is_a_repository(server: WebServer, web: Web, tmp_path: Path) -> None:
    publisher = Publisher(server, tmp_path)
    publisher.offer("demo")
    del server.objects["/pragma/vcdb.txt"]
    Bucket(server, "/pragma/", ["demo/demo.xml", "demo/disk.img.gz"])
    repository = HttpRepository(publisher.settings, publisher.locks, web)
    assert [entry.name for entry in repository.catalog().entries] == ["demo"]
    assert repository.fetch(repository.describe(image_name("demo"))).frontend.path.exists()
    assert [one.outcome for one in repository.sync(dry_run=True).images] == ["fresh"]
