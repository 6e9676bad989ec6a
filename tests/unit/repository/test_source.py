import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.web import Fault, WebServer
from pragma_boot.errors import ImageError
from pragma_boot.repository.patience import StatusError, TransientError
from pragma_boot.repository.source import FileSource, Source, WebSource, read_at
from pragma_boot.repository.web import Web

DATA = random.Random(1).randbytes(300_000)


@pytest.fixture(params=["file", "web"])
def source(request: pytest.FixtureRequest, server: WebServer, web: Web, tmp_path: Path) -> Source:
    (tmp_path / "object").write_bytes(DATA)
    return FileSource(tmp_path / "object") if request.param == "file" else WebSource(web, server.put("/object", DATA))


def test_ranges_are_exactly_what_was_asked_for(source: Source) -> None:
    assert source.size == len(DATA)
    for start, length in ((0, 1), (0, len(DATA)), (len(DATA) - 1, 1), (1234, 0), (77_777, 100_000)):
        assert read_at(source, start, length) == DATA[start : start + length]


def test_an_object_that_ends_too_early_is_cut(source: Source) -> None:
    for start, length in ((0, len(DATA) + 1), (len(DATA), 1), (len(DATA) + 9, 1)):
        with pytest.raises(ImageError, match="is cut"):
            read_at(source, start, length)


def test_a_missing_object_is_named(web: Web, server: WebServer, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="none"):
        _ = FileSource(tmp_path / "none").size
    with pytest.raises(StatusError, match="none"):
        _ = WebSource(web, f"{server.url}/none").size


def test_a_cut_range_goes_on_and_only_the_range_is_sent(web: Web, server: WebServer) -> None:
    url = server.put("/object", DATA)
    server.fail("/object", Fault(cut=1000), Fault(503), Fault(cut=500))
    assert read_at(WebSource(web, url), 10_000, 5000) == DATA[10_000:15_000]
    assert [one.range for one in server.asked] == [
        "bytes=10000-14999", "bytes=11000-14999", "bytes=11000-14999", "bytes=11500-14999",
    ]  # fmt: skip
    assert server.sent("/object") == 5000


def test_an_object_that_changes_between_ranges_is_refused(web: Web, server: WebServer) -> None:
    source = WebSource(web, server.put("/object", DATA))
    read_at(source, 0, 10)
    server.put("/object", DATA[::-1])
    with pytest.raises(ImageError, match="was changed while it was read"):
        read_at(source, 10, 10)


def test_a_server_without_ranges_is_refused(web: Web, server: WebServer) -> None:
    server.ranges = False
    with pytest.raises(ImageError, match="cannot be read in parts"):
        read_at(WebSource(web, server.put("/object", DATA)), 10, 10)


def test_patience_has_an_end(web: Web, server: WebServer) -> None:
    url = server.put("/object", DATA)
    server.fail("/object", *[Fault(503)] * 4)
    with pytest.raises(TransientError):
        read_at(WebSource(web, url), 0, 10)


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 400)), max_size=5))
def test_file_ranges_agree_with_slices(ranges: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(DATA[:1400])
        file.flush()
        source = FileSource(Path(file.name))
        for start, length in ranges:
            assert read_at(source, start, length) == DATA[start : start + length]
