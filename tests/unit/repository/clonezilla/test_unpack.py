"""Unpacking ahead of the writer, and packers that are not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pragma_boot.errors import ImageError
from pragma_boot.repository.clonezilla.unpack import ahead, unpack


def test_pieces_come_in_order_and_faults_where_they_belong() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (bytes([number]) for number in range(50))
        raise KeyError("fault")

    taken = []
    with pytest.raises(KeyError):
        taken.extend(ahead(pieces()))
        pytest.fail("no fault")
    assert taken == [] or taken == [bytes([number]) for number in range(50)]


def test_the_thread_ends_when_nobody_takes_any_more() -> None:
    before = set(threading.enumerate())  # threads of other tests may end meanwhile
    output = ahead(iter([b"x"] * 1000))
    assert next(output) == b"x"
    output.close()
    assert set(threading.enumerate()) <= before


def test_a_packer_that_is_not_installed_is_named() -> None:
    with pytest.raises(ImageError) as caught:
        list(unpack(iter([b"x"]), "lrz", "image", {"lrz": ("no-such-packer", "-d")}))
    assert "no-such-packer, which is not installed" in (caught.value.details or "")
    assert caught.value.resolution == "install no-such-packer, then repeat"


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "lzma", "zst", "lz4", "lzo", "lzip", "lrz"])
def test_a_page_in_place_of_packed_data_is_refused(packing: str) -> None:
    with pytest.raises(ImageError):
        list(unpack(iter([b"<html>an error page</html>" * 50]), packing, "image"))
