"""The one place that starts processes: argument lists, no shell, closed stdin, a built environment, a log line.

Words that must stay secret never go into *argv* (any user can read it in the process list): pass them as *stdin*.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pragma_boot.errors import CommandError

_log = logging.getLogger(__name__)

_INHERITED = (
    "HOME", "LOGNAME", "USER", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished program: its exit status (negative: the signal that ended it) and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes replaced."""
        return self.stdout.decode(errors="replace")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that programs get: a few inherited variables, C locale, a full PATH, and *extra*."""
    built = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = os.environ.get("PATH", "")
    built["PATH"] = f"{path}:{_SYSTEM_PATH}" if path else _SYSTEM_PATH
    built["LC_ALL"] = "C.UTF-8"
    return built | dict(extra or {})


def which(program: str) -> Path | None:
    """Where *program* is, sbin folders included; None when it is not installed."""
    found = shutil.which(program, path=environment()["PATH"])
    return Path(found) if found else None


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    timeout: float = 300,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    resolution: str | None = None,
    output: Path | None = None,
) -> Completed:
    """Run a program to its end.

    timeout: seconds; the program is killed when they are over.
    check: raise when it exits with anything but 0.
    output: a file for its standard output (`Completed.stdout` is read from it in one go): a program that writes its
    output in many small pieces need not wake us for each of them.

    Raises CommandError when it is not installed, fails (with *check*) or runs out of time; the error carries the
    end of its standard error and *resolution*.
    """
    words = [os.fspath(word) for word in argv]
    quoted = shlex.join(words)
    _log.debug("run: %s", quoted)
    try:
        with contextlib.ExitStack() as stack:
            done = subprocess.run(
                words,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=stack.enter_context(output.open("wb")) if output else subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=timeout,
                env=environment(env),
                check=False,
            )
        stdout = output.read_bytes() if output else done.stdout
    except subprocess.TimeoutExpired as late:
        raise CommandError(
            f"{words[0]} did not finish within {timeout:g} seconds", details=quoted, resolution=resolution
        ) from late
    except OSError as error:
        raise _cannot_start(words, error) from error
    if check and done.returncode != 0:
        raise CommandError(
            f"{words[0]} failed with status {done.returncode}",
            details=f"{quoted}\n{_tail(done.stderr or stdout)}",
            resolution=resolution,
        )
    return Completed(done.returncode, stdout, done.stderr)


@contextlib.contextmanager
def background(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, grace: float = 10
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that runs while the block does; after the block it has ended, for sure.

    Its stdout and stderr are pipes, its stdin is closed. At the end it gets SIGTERM, and after *grace* seconds
    SIGKILL; when the calling thread dies, it gets SIGTERM too (by util-linux's setpriv, where that is installed).
    Raises CommandError when it cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    if which("setpriv"):
        words = ["setpriv", "--pdeathsig", "TERM", "--", *words]
    _log.debug("start: %s", shlex.join(words))
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,  # our Ctrl-C is ours: we end it in order
        )
    except OSError as error:
        raise _cannot_start(words, error) from error
    try:
        yield process
    finally:
        _end(process, grace)


def replace(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> NoReturn:
    """Become another program (for `pragma ssh`): terminal, stdin and signals are its own. Raises CommandError."""
    words = [os.fspath(word) for word in argv]
    _log.debug("exec: %s", shlex.join(words))
    terminal = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    try:
        os.execvpe(words[0], words, environment({**terminal, **(env or {})}))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise _cannot_start(words, error) from error


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _cannot_start(words: list[str], error: OSError) -> CommandError:
    return CommandError(
        f"cannot run {words[0]}",
        details=error.strerror,
        resolution=f"install {words[0]}; 'pragma check site' lists everything that is missing",
    )


def _tail(output: bytes) -> str:
    return output[-_TAIL:].decode(errors="replace").strip()
