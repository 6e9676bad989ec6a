import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pragma_boot import run
from pragma_boot.errors import CommandError


def test_output_and_status_come_back() -> None:
    done = run.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.status, done.text, done.stderr) == (3, "out\n", b"err\n")


def test_a_failure_shows_the_end_of_what_it_said() -> None:
    with pytest.raises(CommandError) as caught:
        run.run(["sh", "-c", "echo it is broken >&2; exit 1"], resolution="mend it")
    assert "status 1" in caught.value.message
    assert "it is broken" in str(caught.value.details)
    assert caught.value.resolution == "mend it"


def test_no_shell_reads_the_words() -> None:
    assert run.run(["printf", "%s", "$HOME; `id` *"]).text == "$HOME; `id` *"


def test_stdin_is_closed_unless_given() -> None:
    assert run.run(["cat"]).text == ""
    assert run.run(["cat"], stdin=b"secret").text == "secret"


def test_a_missing_program_names_the_mend() -> None:
    with pytest.raises(CommandError) as caught:
        run.run(["no-such-program-here"])
    assert "check site" in str(caught.value.resolution)


def test_a_slow_program_is_ended() -> None:
    with pytest.raises(CommandError, match=r"within 0.1 seconds"):
        run.run(["sleep", "30"], timeout=0.1)


def test_the_environment_is_built_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_NOT", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    seen = run.run(["env"], env={"EXTRA": "1"}).text.splitlines()
    assert "EXTRA=1" in seen
    assert "LC_ALL=C.UTF-8" in seen
    assert not any(line.startswith("LD_PRELOAD_NOT") for line in seen)


def test_the_quoted_command_is_logged(logged: list[str]) -> None:
    run.run(["echo", "two words"])
    assert any("echo 'two words'" in line for line in logged)


def test_a_background_program_ends_with_its_block() -> None:
    with run.background(["sleep", "60"]) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM


def test_a_deaf_background_program_is_killed() -> None:
    with run.background(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], grace=0.2) as process:
        assert process.stdout
        process.stdout.readline()
    assert process.returncode == -signal.SIGKILL


def test_a_background_program_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import sys,os,time; sys.path[:0]={sys.path!r}\nfrom pragma_boot import run\n"
    code += (
        f"with run.background(['sleep', '60']) as p: open({os.fspath(note)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    for _ in range(500):
        if note.exists() and note.read_text():
            break
        time.sleep(0.02)
    child = int(note.read_text())
    time.sleep(0.1)  # the child becomes what it runs
    parent.kill()
    parent.wait()
    for _ in range(500):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the child still runs")


def test_output_may_go_through_a_file(tmp_path: Path) -> None:
    done = run.run(["sh", "-c", "printf one; printf two"], output=tmp_path / "out")
    assert (done.stdout, (tmp_path / "out").read_bytes()) == (b"onetwo", b"onetwo")
    with pytest.raises(CommandError):
        run.run(["sh", "-c", "echo no; exit 3"], output=tmp_path / "out")


def test_a_filter_takes_and_gives_pieces_of_any_amount() -> None:
    pieces = (bytes([number % 256]) * 100_000 for number in range(100))
    assert b"".join(run.filtered(["cat"], pieces)) == b"".join(bytes([n % 256]) * 100_000 for n in range(100))


def test_a_filter_that_fails_shows_what_it_said() -> None:
    with pytest.raises(CommandError) as caught:
        list(run.filtered(["sh", "-c", "echo it is broken >&2; exit 3"], iter([b"x" * 1_000_000] * 10)))
    assert "it is broken" in (caught.value.details or "")


def test_a_fault_of_the_pieces_goes_through_a_filter() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise KeyError("more")

    with pytest.raises(KeyError):
        list(run.filtered(["cat"], pieces()))


def test_a_filter_that_nobody_reads_any_more_ends() -> None:
    output = run.filtered(["cat"], (b"x" * 1_000_000 for _ in range(10**6)))
    assert next(output)
    output.close()  # would hang


def test_a_program_that_is_fed_tells_its_failure() -> None:
    with run.feeding(["sh", "-c", "head -c 10 >/dev/null; echo full >&2; exit 1"]) as program:
        with pytest.raises(CommandError, match="status 1") as caught:
            for _ in range(1000):
                program.write(b"x" * 100_000)
        assert "full" in (caught.value.details or "")


def test_a_program_that_is_left_half_fed_is_ended() -> None:
    with run.feeding(["sh", "-c", "cat >/dev/null; sleep 60"]) as program:
        program.write(b"x")
