"""The switch between QEMU processes: real sockets, no QEMU."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pragma_boot.driver.qemu import lan, sockets

A, B, C = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
ALL = b"\xff" * 6


def frame(to: bytes, source: bytes, load: bytes = b"load") -> bytes:
    data = to + source + b"\x08\x00" + load
    return struct.pack("!I", len(data)) + data


class Wire:
    """One node's end."""

    def __init__(self, path: Path) -> None:
        self.socket = sockets.connected(path, 5)

    def say(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def hear(self) -> bytes:
        """The next frame."""
        (size,) = struct.unpack("!I", self._exactly(4))
        return struct.pack("!I", size) + self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the switch has hung up"
            data += more
        return data

    def hears_nothing(self) -> bool:
        self.socket.settimeout(0.05)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The socket of a running switch, below a path that is too long for a socket's."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    ending = threading.Event()
    listener = sockets.listening(folder / "lan")
    thread = threading.Thread(target=lan.Switch(listener).run, args=(ending.is_set,), daemon=True)
    thread.start()
    yield folder / "lan"
    ending.set()
    sockets.connected(folder / "lan").close()  # wakes it
    thread.join(5)
    assert not thread.is_alive()
    listener.close()


@pytest.fixture
def wires(path: Path) -> list[Wire]:
    """Three nodes, each of which the switch has accepted and learnt the address of."""
    found: list[Wire] = []
    for address in (A, B, C):
        wire = Wire(path)
        if found:
            wire.say(frame(ALL, address))
        for other in found:
            other.hear()
        found.append(wire)
    found[0].say(frame(ALL, A))
    assert found[1].hear() == found[2].hear()
    return found


def test_frames_for_everybody_go_to_all_but_the_sender(wires: list[Wire]) -> None:
    wires[0].say(frame(ALL, A))
    assert wires[1].hear() == wires[2].hear() == frame(ALL, A)
    assert wires[0].hears_nothing()


def test_what_is_learnt_goes_to_one_only(wires: list[Wire]) -> None:
    wires[0].say(frame(B, A))
    assert wires[1].hear() == frame(B, A)
    assert wires[2].hears_nothing()


def test_frames_that_come_in_pieces_and_in_heaps_stay_whole_and_in_order(wires: list[Wire]) -> None:
    sent = [frame(B if number % 3 else ALL, A, bytes([number]) * number * 300) for number in range(200)]
    data = b"".join(sent)
    sender = threading.Thread(target=lambda: [wires[0].say(data[at : at + 4099]) for at in range(0, len(data), 4099)])
    sender.start()
    assert [wires[1].hear() for _ in sent] == sent
    sender.join(5)
    assert [wires[2].hear() for _ in sent[::3]] == sent[::3]


def test_a_node_that_moved_is_found_where_it_is_now(wires: list[Wire]) -> None:
    wires[2].say(frame(ALL, B))
    wires[0].hear()
    wires[1].hear()
    wires[0].say(frame(B, A))
    assert wires[2].hear() == frame(B, A)
    assert wires[1].hears_nothing()


def test_a_node_that_is_gone_is_forgotten_and_a_new_one_is_heard(wires: list[Wire], path: Path) -> None:
    wires[1].socket.close()
    wires[0].say(frame(ALL, A))
    wires[2].hear()
    again = Wire(path)
    again.say(frame(A, B))
    assert wires[0].hear() == frame(A, B)
    wires[0].say(frame(B, A))
    assert again.hear() == frame(B, A)


def test_one_that_does_not_listen_holds_up_nobody(wires: list[Wire]) -> None:
    load = bytes(60_000)
    for _ in range(100):  # 6 MB for B, who reads none of them
        wires[0].say(frame(B, A, load))
    wires[0].say(frame(C, A, b"still"))
    assert wires[2].hear() == frame(C, A, b"still")
    assert wires[1].hear() == frame(B, A, load)


@pytest.mark.parametrize("words", [b"\0\0\0\x01x", b"\xff\xff\xff\xff", struct.pack("!I", 11) + bytes(11)])
def test_who_sends_no_frames_is_cut_off(wires: list[Wire], words: bytes) -> None:
    wires[0].say(words)
    assert wires[0].socket.recv(1) == b""
    wires[1].say(frame(C, B))
    assert wires[2].hear() == frame(C, B)


def test_addresses_that_are_made_up_do_not_fill_its_memory(wires: list[Wire]) -> None:
    for number in range(3 * 4096):
        wires[0].say(frame(C, b"\x06" + number.to_bytes(5, "big")))
    for number in range(3 * 4096):
        assert wires[2].hear()[10:16] == b"\x06" + number.to_bytes(5, "big")
    wires[1].say(frame(ALL, B))
    assert wires[0].hear() == wires[2].hear() == frame(ALL, B)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_not_let_in_even_where_the_folder_is_open(path: Path, wires: list[Wire]) -> None:
    for folder in path.parents[:-2]:
        folder.chmod(0o755)
    path.chmod(0o777)
    code = (
        "import os, socket, sys; os.chdir(sys.argv[1]); os.setgid(65534); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX); s.connect('lan'); s.settimeout(20); print(s.recv(1))"
    )
    words = [sys.executable, "-c", code, path.parent]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "b''\n", done.stderr
    wires[0].say(frame(ALL, A))
    assert wires[1].hear() == frame(ALL, A)


def test_as_a_program_it_serves_what_it_inherits(tmp_path: Path) -> None:
    with sockets.listening(tmp_path / "lan") as listener:
        words = [sys.executable, "-I", "-S", lan.__file__, str(listener.fileno())]
        program = subprocess.Popen(words, pass_fds=[listener.fileno()])
    try:
        one, other = Wire(tmp_path / "lan"), Wire(tmp_path / "lan")
        other.say(frame(ALL, B))
        assert one.hear() == frame(ALL, B)
    finally:
        program.kill()
        program.wait()
    assert one.socket.recv(1) == b""
