import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.overlay import join_information
from pragma_boot import files
from pragma_boot.errors import ExchangeError, JoinInformationError, UsageError
from pragma_boot.network.overlay.exchange import Exchange
from pragma_boot.network.overlay.opening import open_exchange

HERE = Path(__file__).resolve()
PYTHON = [sys.executable, "-c"]
PATHS = os.pathsep.join([str(HERE.parents[4] / "src"), str(HERE.parents[3])])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ov info"


@pytest.fixture
def exchange(path: Path) -> Exchange:
    return open_exchange(f"file://{path}")


def test_nothing_is_left_of_an_overlay_that_was_withdrawn(exchange: Exchange, path: Path) -> None:
    exchange.publish(join_information())
    exchange.claim("a@192.0.2.1", ["a"])
    exchange.withdraw(join_information().hub_key)
    exchange.release("a@192.0.2.1")
    assert list(path.parent.iterdir()) == []


def test_both_files_are_the_owners_alone(exchange: Exchange, path: Path) -> None:
    before = os.umask(0)
    try:
        exchange.publish(join_information())
        exchange.claim("a", ["a"])
    finally:
        os.umask(before)
    assert sorted(one.name for one in path.parent.iterdir()) == ["ov info", "ov info.claims"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
    assert join_information().seed.hex() not in (path.parent / "ov info.claims").read_text()


def test_an_empty_file_that_was_made_beforehand_is_not_there_yet(exchange: Exchange, path: Path) -> None:
    path.write_text("  \n")
    assert exchange.fetch() is None


def test_a_file_that_others_may_read_is_told(exchange: Exchange, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exchange.publish(join_information())
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING, "pragma_boot"):
        assert exchange.fetch() == join_information()
    assert "chmod 600" in caplog.text
    assert join_information().preshared not in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", '{"overlay": "MARK", "slots": {"x": ["a", "b"]}}', '{"slots": {}}'])
def test_claims_that_cannot_be_read_are_never_overwritten(exchange: Exchange, path: Path, content: str) -> None:
    exchange.publish(join_information())
    exchange.claim("a", ["a"])
    claims = path.with_name("ov info.claims")
    mark = json.loads(claims.read_text())["overlay"]
    claims.write_text(content.replace("MARK", mark))
    with pytest.raises(ExchangeError, match="cannot be read") as caught:
        exchange.claim("b", ["b"])
    assert "remove it" in str(caught.value.resolution)
    assert claims.read_text() == content.replace("MARK", mark)


def test_clean_ends_even_when_the_file_is_spoilt_or_gone(exchange: Exchange, path: Path) -> None:
    exchange.publish(join_information())
    exchange.claim("a", ["a"])
    path.write_text("spoilt\n")
    with pytest.raises(JoinInformationError):
        exchange.fetch()
    exchange.release("a")
    exchange.withdraw(join_information().hub_key)
    assert path.read_text() == "spoilt\n"  # nobody knows whose it is
    for one in path.parent.iterdir():
        one.unlink()
    path.parent.rmdir()
    exchange.release("a")
    exchange.withdraw("any")
    with pytest.raises(ExchangeError, match="is not a folder"):
        exchange.fetch()


def test_a_lock_that_is_held_long_is_told(path: Path) -> None:
    exchange = open_exchange(str(path))
    exchange.publish(join_information())
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with files.lock(path.with_name("ov info.claims")):
            entered.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        assert entered.wait(10)
        claimed = ThreadPoolExecutor(1).submit(exchange.claim, "a", ["a"])
        assert not claimed.done()
        leave.set()
        assert claimed.result(10) == (1,)


def test_claims_of_many_processes_never_meet(exchange: Exchange, path: Path) -> None:
    exchange.publish(join_information(slots=40))
    code = (
        "import sys\n"
        "from pragma_boot.network.overlay.opening import open_exchange\n"
        "e = open_exchange(sys.argv[1])\n"
        "for n in range(5):\n"
        "    e.claim(f'{sys.argv[2]}-{n}', ['', ''])\n"
        "    e.release(f'{sys.argv[2]}-{n}')\n"
        "    e.claim(f'{sys.argv[2]}-{n}', ['', ''])\n"
    )
    running = [
        subprocess.Popen([*PYTHON, code, str(path), name], env={**os.environ, "PYTHONPATH": PATHS}) for name in "abcd"
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    members = exchange.members()
    assert sorted(members) == list(range(1, 41))
    assert {
        sum(member.holder == f"{name}-{n}" for member in members.values()) for name in "abcd" for n in range(5)
    } == {2}


def test_a_hub_killed_while_it_publishes_leaves_the_old_or_the_new(exchange: Exchange, path: Path) -> None:
    exchange.publish(join_information(0))
    code = (
        "import sys\n"
        "from fakes.overlay import join_information\n"
        "from pragma_boot.network.overlay.opening import open_exchange\n"
        "e, both = open_exchange(sys.argv[1]), [join_information(0), join_information(1)]\n"
        "print('begun', flush=True)\n"
        "while True:\n"
        "    for one in both: e.publish(one)\n"
    )
    for _ in range(3):
        process = subprocess.Popen(
            [*PYTHON, code, str(path)], env={**os.environ, "PYTHONPATH": PATHS}, stdout=subprocess.PIPE
        )
        assert process.stdout
        with process.stdout:
            process.stdout.readline()
        for _ in range(50):
            assert exchange.fetch() in (join_information(0), join_information(1))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert exchange.fetch() in (join_information(0), join_information(1))
        exchange.claim("after", ["x"])  # the kernel let go of the lock
    left = [one for one in path.parent.iterdir() if one.name.startswith(files.UNFINISHED)]
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in left)


def test_a_first_slot_that_was_told_needs_no_claims(path: Path) -> None:
    exchange = open_exchange(f"file://{str(path).replace(' ', '%20')}#first=4")
    with pytest.raises(ExchangeError, match="no join information"):
        exchange.claim("a", ["x"])
    open_exchange(str(path)).publish(join_information(slots=6))
    assert exchange.claim("a", ["x", "y", "z"]) == (4, 5, 6)
    with pytest.raises(ExchangeError, match="slots 4 to 7, the overlay has 6"):
        exchange.claim("a", ["x"] * 4)
    exchange.release("a")
    assert exchange.members() == {}
    again = open_exchange(exchange.ticket)
    assert again.claim("a", ["x"]) == (4,)
    assert again.shown == exchange.shown == f"file://{path}#first=4"


@pytest.mark.parametrize(
    "text",
    ["", "file:", "file://", "file://host/x", "file:///x?y", "/", "/tmp", "/x#", "/x#first=0", "/x#first=a",
     "/x#first=1&first=2", "/x#first", "/x#other=1", "/x#first=99999999", "a\0b", "a\nb"],
)  # fmt: skip
def test_what_is_no_file(text: str) -> None:
    if text == "/x#":
        assert open_exchange(text).shown == "file:///x"
        return
    with pytest.raises(UsageError):
        open_exchange(text)


def test_a_plain_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_exchange("info").shown == f"file://{tmp_path}/info"
    assert open_exchange("file://localhost/a%20b").shown == "file:///a b"


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExchangeError, match="no plain file"):
        open_exchange(f"file://{tmp_path}/pipe").fetch()
    with pytest.raises(ExchangeError, match="no plain file"):
        open_exchange("file:///dev/zero").fetch()


def test_slots_are_not_taken_for_given_back_where_nobody_can_look(exchange: Exchange, path: Path) -> None:
    exchange.publish(join_information())
    exchange.claim("a", ["a"])
    path.unlink()
    os.mkfifo(path)  # something in the way that is not the hub's word
    with pytest.raises(ExchangeError, match="no plain file"):
        exchange.release("a")
    path.unlink()
    exchange.publish(join_information())
    assert exchange.members()
