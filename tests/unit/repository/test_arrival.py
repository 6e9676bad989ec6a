"""A file is read while it arrives."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from fakes.web import Fault, WebServer
from pragma_boot.errors import PragmaError
from pragma_boot.repository.arrival import Arrival, Meter, StartedOverError
from pragma_boot.repository.fetch import Item, download
from pragma_boot.repository.patience import Patience, StatusError, TransientError
from pragma_boot.repository.web import Web

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(4 * MIB + 77)
OTHER = random.Random(2).randbytes(4 * MIB + 77)
QUIET = Meter("demo", lambda _: None)


@pytest.fixture
def item(server: WebServer, tmp_path: Path) -> Item:
    return Item(server.put("/vc/disk.img", DATA), tmp_path / "vc" / "disk.img")


def together(web: Web, item: Item, arrival: Arrival) -> bytes:
    """What a reader gets while the file arrives."""
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            arrival.deliver(lambda meter, to: download(web, item, meter, to), QUIET)
        except PragmaError as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    try:
        while True:
            try:
                return b"".join(arrival.read())
            except StartedOverError:
                continue
    finally:
        arrival.stop()
        thread.join()


def test_a_reader_follows_the_download(web: Web, item: Item) -> None:
    assert together(web, item, Arrival()) == DATA
    assert together(web, item, Arrival()) == DATA  # it is here already


def test_a_reader_does_not_notice_a_cut(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(cut=MIB), Fault(cut=MIB))
    arrival = Arrival()
    thread = threading.Thread(target=arrival.deliver, args=(lambda meter, to: download(web, item, meter, to), QUIET))
    thread.start()
    assert b"".join(arrival.read()) == DATA
    thread.join()


def test_a_reader_gets_what_an_interrupted_download_left(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(cut=MIB))
    with pytest.raises(TransientError):
        download(Web(patience=Patience(attempts=1)), item)
    assert together(web, item, Arrival()) == DATA


def test_a_reader_is_told_when_the_object_is_another(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(cut=MIB), Fault(before=lambda: server.put("/vc/disk.img", OTHER)))
    assert together(web, item, Arrival()) == OTHER


def test_a_reader_gets_the_downloaders_error(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(404))
    with pytest.raises(StatusError):
        together(web, item, Arrival())


def test_a_reader_that_stops_ends_the_download(web: Web, item: Item) -> None:
    arrival = Arrival()
    arrival.stop()
    with pytest.raises(PragmaError):
        download(web, item, None, arrival)
    assert not item.target.exists()
