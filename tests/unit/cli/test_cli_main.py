from __future__ import annotations

import io
import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.cli import render
from pragma_boot.cli.main import main
from pragma_boot.cluster.boot import BootRequest
from pragma_boot.cluster.view import ClusterView
from pragma_boot.errors import ConfigError, Fault, PragmaError
from pragma_boot.model import ProgressSink


@pytest.mark.parametrize(
    ("line", "message", "mend"),
    [
        (["bot"], "unknown command 'bot'", "did you mean 'pragma boot'?"),
        (["list", "clusters"], "unknown command 'list clusters'", "did you mean 'pragma list cluster'?"),
        (["destroy"], "unknown command 'destroy'", "did you mean 'pragma clean'?"),
        (["qqq"], "unknown command 'qqq'", "'pragma help' lists the commands"),
        (["key=x", "boot"], "unknown parameter before the command 'key=x'", "parameters follow the command"),
        (["list"], "'pragma list' needs one more word", "pragma list repository"),
        (["boot"], "{vc-name} and {num-cpus} are missing", "'pragma help boot' explains"),
        (["clean", "a", "b"], "one word too many: 'b'", "{vc-name}"),
        (["list", "cluster", "jsno=1"], "unknown parameter 'jsno=1'", "did you mean 'json='?"),
        (["boot", "demo", "1", "on-failure=kep"], "on-failure cannot be 'kep'", "did you mean 'keep'?"),
        (["help", "boot", "demo"], "'pragma boot' is a whole command", "'pragma help boot'"),
        (["completion", "tcsh"], "shell cannot be 'tcsh'", "choose one of bash, zsh, fish"),
    ],
)
def test_wrong_lines_exit_2_and_name_what_is_right(pragma: Pragma, line: list[str], message: str, mend: str) -> None:
    done = pragma(*line)
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"pragma: error: {message}"
    assert mend in done.err


def test_a_fault_of_the_program_is_a_short_text_and_a_log(pragma: Pragma, site: FakeSite) -> None:
    site.fails = ZeroDivisionError("oops")
    done = pragma("boot", "demo", "1")
    (log,) = (site.root / "log").iterdir()
    assert done.status == 1
    assert "pragma: error: unexpected ZeroDivisionError: oops\n" in done.err
    assert "Traceback" not in done.err
    assert f"log: {log}" in done.err
    assert "Traceback" in log.read_text()


def test_a_fault_without_a_log_leaves_a_file_of_its_own(
    pragma: Pragma, site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(site.root))
    site.fails = KeyError("x")
    assert pragma("init").status == 1
    (kept,) = site.root.glob("pragma-fault-*.log")
    assert "KeyError" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_the_log_has_the_command_and_the_failure(pragma: Pragma, site: FakeSite, tmp_path: Path) -> None:
    site.fails = PragmaError("no", details="why", resolution="mend")
    log = tmp_path / "my.log"
    done = pragma("boot", "demo", "1", f"logfile={log}", "loglevel=debug", "-q")
    assert f"  log: {log}\n" in done.err
    assert " - pragma_boot.cli.session - INFO - pragma boot demo 1 " in log.read_text()
    assert " - ERROR - no; why; mend\n" in log.read_text()
    assert done.err.count("mend") == 1


def test_a_log_that_cannot_be_written_is_a_failure_when_asked_for(pragma: Pragma, site: FakeSite) -> None:
    done = pragma("boot", "demo", "1", "logfile=/proc/none/x.log")
    assert (done.status, site.requests) == (1, [])
    assert "cannot write the log file" in done.err


def test_a_log_directory_that_cannot_be_written_is_a_warning(pragma: Pragma, site: FakeSite) -> None:
    (site.root / "log").write_text("in the way")
    done = pragma("boot", "demo", "1", "-q")
    assert done.status == 0
    assert done.err.count("pragma: warning: ") == 1
    assert "keeps no log" in done.err


def test_warnings_of_the_layers_below_reach_the_user_once(
    pragma: Pragma, site: FakeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    pragma("shutdown", "demo")
    logging.getLogger("pragma_boot.cluster").warning("the disk is nearly full")
    assert capsys.readouterr().err == "pragma: warning: the disk is nearly full\n"


class _Interrupted(FakeSite):
    """Gets a signal in the midst of its boot, and two more while it undoes."""

    signals: tuple[int, ...] = ()

    def boot(self, request: BootRequest, progress: ProgressSink) -> ClusterView:
        self.undone = ""
        try:
            os.kill(os.getpid(), self.signals[0])
            raise AssertionError("not interrupted")
        except BaseException:
            self.undone = "begun"
            for number in self.signals[1:]:
                os.kill(os.getpid(), number)
            self.undone = "whole"
            raise


@pytest.mark.parametrize(
    ("signals", "status", "undone"),
    [
        ((signal.SIGINT,), 130, "whole"),
        ((signal.SIGTERM,), 143, "whole"),
        ((signal.SIGHUP,), 129, "whole"),
        ((signal.SIGINT, signal.SIGINT), 130, "whole"),
        ((signal.SIGINT, signal.SIGTERM, signal.SIGTERM), 143, "begun"),
    ],
)
def test_signals_interrupt_once_and_do_not_cut_the_undo_short(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], signals: tuple[int, ...], status: int, undone: str
) -> None:
    site = _Interrupted(tmp_path)
    site.signals = signals
    before = signal.getsignal(signal.SIGINT)
    assert main(["boot", "demo", "1"], site) == status
    assert site.undone == undone
    assert "pragma: interrupted by " in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_that_the_caller_ignores_stay_ignored(tmp_path: Path) -> None:
    site = _Interrupted(tmp_path)
    site.signals = (signal.SIGHUP,)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["boot", "demo", "1"], site) == 1  # the AssertionError of the fake
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_is_gone_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "pragma_boot.cli.main", "help"]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files_harm_nobody(tmp_path: Path, closed: str) -> None:
    line = f'"$0" -m pragma_boot.cli.main boot demo 1 logfile="$1" {closed}'
    environment = {**os.environ, "PRAGMA_BOOT_ETC": str(tmp_path)}
    argv = ["sh", "-c", line, sys.executable, str(tmp_path / "log")]
    assert subprocess.run(argv, env=environment, capture_output=True, check=False).returncode == 1
    first, *more = (tmp_path / "log").read_text().splitlines()
    assert "INFO - pragma boot demo 1" in first
    assert all("pragma: " not in line for line in more)


def test_a_result_that_cannot_be_written_is_a_failure() -> None:
    argv = [sys.executable, "-m", "pragma_boot.cli.main", "help"]
    with Path("/dev/full").open("wb") as full:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, check=False, env=buffered)
    assert done.returncode == 1
    assert done.stderr.startswith(b"pragma: error: cannot write the result\n")


def test_configuration_faults_are_all_shown() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    error = ConfigError("the configuration has 2 faults", [Fault("a:1 gw", "no address"), Fault("b:2", "no", "do")])
    error.resolution = "mend the files"
    render.error(error, stream)
    stream.seek(0)
    assert stream.read() == (
        "pragma: error: the configuration has 2 faults\n  a:1 gw: no address\n  b:2: no (do)\n-> mend the files\n"
    )


def test_texts_from_outside_cannot_steer_a_terminal() -> None:
    stream = io.StringIO()
    render.error(PragmaError("bad \x1b]0;x\x07", details="one\n\x1b[2Jtwo\r"), stream)
    assert stream.getvalue() == "pragma: error: bad \\x1b]0;x\\x07\n  one\n  \\x1b[2Jtwo\n"


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    assert render.coloured(stream) is coloured
    assert not render.coloured(io.StringIO())


def test_results_hold_nothing_but_the_table(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    assert "\x1b" not in pragma("list", "cluster").out
