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
import tempfile
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

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
    keep: Collection[int] = (),
) -> Completed:
    """Run a program to its end.

    timeout: seconds; the program is killed when they are over.
    check: raise when it exits with anything but 0.
    output: a file for its standard output (`Completed.stdout` is read from it in one go): a program that writes its
    output in many small pieces need not wake us for each of them.
    keep: our descriptors that it gets under the same numbers.

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
                pass_fds=tuple(keep),
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


def run_gently(
    argv: Sequence[str | Path], *, timeout: float, env: Mapping[str, str] | None = None, grace: float = 600
) -> Completed:
    """Run a program that must not be killed in the middle of its work; whatever its exit status, it is returned.

    It runs in a session of its own, so that a Ctrl-C is for us alone. When *timeout* seconds are over, or we are
    interrupted, it gets SIGTERM, and *grace* seconds to end in order. Raises CommandError when it cannot be started
    or its time was over.
    """
    words = [os.fspath(word) for word in argv]
    _log.debug("run: %s", shlex.join(words))
    process = _start(words, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise CommandError(
            f"{words[0]} did not finish within {timeout:g} seconds",
            details=shlex.join(words),
            resolution="what it did is not known: look at its result before you repeat",
        ) from late
    finally:
        _end(process, grace)
    return Completed(process.returncode, stdout, stderr)


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


def detached(argv: Sequence[str | Path], *, errors: Path, keep: Collection[int] = ()) -> None:
    """Start a program that outlives us, and the login session: in a session of its own, nobody's child.

    errors: a file of the caller's that its standard output and error are appended to. keep: our descriptors that it
    gets under the same numbers, locks among them: they are held while it runs. Returns as soon as it is started;
    whether it goes well is told by what it does. Raises CommandError when it cannot be started at all.
    """
    words = ["setsid", "--fork", *(os.fspath(word) for word in argv)]
    _log.debug("start: %s", shlex.join(words))
    try:
        with errors.open("ab") as told:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=environment(), pass_fds=tuple(keep),
                cwd="/", check=False,
            )  # fmt: skip
    except OSError as error:
        raise _cannot_start(words, error) from error
    if done.returncode != 0:
        raise CommandError(f"{words[2]} cannot be started", details=f"setsid ended with status {done.returncode}")


def filtered(
    argv: Sequence[str | Path], pieces: Iterable[bytes], *, resolution: str | None = None
) -> Generator[bytes, None, None]:
    """What a program writes that is given *pieces* as its input, in pieces of up to a MiB; it runs meanwhile.

    Nothing is kept: memory stays small whatever the amount. The program has ended when the iterator is closed.
    Raises CommandError when it is not installed or fails, and whatever *pieces* raises.
    """
    with feeding(argv, output=True, resolution=resolution) as program:
        feeder = threading.Thread(target=program.feed, args=(pieces,), daemon=True)
        feeder.start()
        while piece := program.read(1024 * 1024):
            yield piece
        feeder.join()
        program.finish()


@contextlib.contextmanager
def feeding(argv: Sequence[str | Path], *, output: bool = False, resolution: str | None = None) -> Iterator[Feed]:
    """Start a program that reads what `Feed.write` gives it; after the block it has ended, for sure.

    A block that ends without `Feed.finish` ends the program by SIGTERM. output: whether its standard output is
    wanted. Raises CommandError when it cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    _log.debug("start: %s", shlex.join(words))
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                stderr=errors,
                env=environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise _cannot_start(words, error) from error
        try:
            yield Feed(process, words, errors, resolution)
        finally:
            _end(process, 10)
            with contextlib.suppress(OSError):  # after its end: a thread may be stuck in a write to it
                assert process.stdin
                process.stdin.close()


class Feed:
    """A running program and its input; made by `feeding`."""

    def __init__(
        self, process: subprocess.Popen[bytes], words: list[str], errors: IO[bytes], resolution: str | None
    ) -> None:
        self._process, self._words, self._errors, self._resolution = process, words, errors, resolution
        self._failure: BaseException | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Give it more input. Raises CommandError when it reads no more."""
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
        except OSError as error:
            self.finish()
            raise CommandError(f"{self._words[0]} stopped reading its input", resolution=self._resolution) from error

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Give it all pieces and end its input; a failure is kept for `finish`. For a thread of its own."""
        assert self._process.stdin
        try:
            for piece in pieces:
                self._process.stdin.write(piece)
        except BrokenPipeError:
            _log.debug("%s reads no more", self._words[0])  # its status tells why
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._failure = error
        finally:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def read(self, most: int) -> bytes:
        """What it has written, at most so many bytes; empty at the end."""
        assert self._process.stdout
        return self._process.stdout.read(most)

    def finish(self) -> None:
        """End its input and wait for its end. Raises CommandError when it failed."""
        assert self._process.stdin
        if self._failure:
            raise self._failure
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        status = self._process.wait()
        if status != 0:
            self._errors.seek(0)
            raise CommandError(
                f"{self._words[0]} failed with status {status}",
                details=f"{shlex.join(self._words)}\n{_tail(self._errors.read())}",
                resolution=self._resolution,
            )


def replace(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> NoReturn:
    """Become another program (for `pragma ssh`): terminal, stdin and signals are its own. Raises CommandError."""
    words = [os.fspath(word) for word in argv]
    _log.debug("exec: %s", shlex.join(words))
    terminal = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    try:
        os.execvpe(words[0], words, environment({**terminal, **(env or {})}))  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise _cannot_start(words, error) from error


def _start(words: list[str], env: Mapping[str, str] | None, **pipes: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(words, env=environment(env), start_new_session=True, **pipes)
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
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _cannot_start(words: list[str], error: OSError) -> CommandError:
    return CommandError(
        f"cannot run {words[0]}",
        details=error.strerror,
        resolution=f"install {words[0]}; 'pragma check site' lists everything that is missing",
    )


def _tail(output: bytes) -> str:
    return output[-_TAIL:].decode(errors="replace").strip()
