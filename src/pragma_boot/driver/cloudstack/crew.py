"""Many tasks at once, each a chain of calls and of jobs that CloudStack works on; one loop polls all jobs.

A task is a generator: it makes its calls, and yields each job that it has to wait for; it is sent the job's result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from pragma_boot.driver.cloudstack.client import Client, LostAnswerError, refusal
from pragma_boot.driver.cloudstack.sign import Value
from pragma_boot.errors import CapacityError, DriverError, PragmaError

_log = logging.getLogger(__name__)

JOB = 600.0
"""Seconds that a job may take."""
START = 1800.0
"""Seconds that a start may take: the first one of a network makes its router, too."""

_SHARE = 0.2
_SOONEST, _LATEST = 0.25, 5.0
"""A job is asked for again after this share of its age, within these bounds, seconds: it costs at most that much."""
_SIGNALS = 0.5
"""Seconds that one wait for threads lasts at most: a signal that came just before it would be noticed after it."""
_LOOKS = (0.0, 2.0, 5.0)
"""Pauses before the looks for what a lost request may have done: the server may still be at it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """Work that the server goes on with. made: the id of what is being made, where the answer told."""

    id: str
    command: str
    made: str = ""
    limit: float = JOB


Task = Generator[Job, dict[str, Any], T]


class UnknownOutcomeError(DriverError):
    """A job ended, or went on too long, without telling what became of it. ended: it surely does nothing any more."""

    ended = False


@dataclass
class Outcome(Generic[T]):
    """What became of tasks. left: those that were not begun, because another had failed."""

    results: dict[str, T] = field(default_factory=dict)
    failures: dict[str, PragmaError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def raise_first(self, what: str) -> None:
        """Raise DriverError with all failures, if there are any; *what* was to be done, for the message."""
        if not self.failures:
            return
        names = sorted(self.failures)
        told = "\n".join(
            f"{name}: {error.message}" + (f" ({error.details})" if error.details else "")
            for name, error in sorted(self.failures.items())
        )
        first = self.failures[names[0]]
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        kind = type(first) if all(type(error) is type(first) for error in self.failures.values()) else DriverError
        kind = kind if issubclass(kind, DriverError | CapacityError) else DriverError
        raise kind(f"cannot {what}: {first.message}{more}", details=told, resolution=first.resolution) from first


class Crew:
    """Runs tasks for one command. parallel: how many are under way at the same time."""

    def __init__(self, client: Client, parallel: int) -> None:
        self.client, self.parallel = client, parallel

    def run(self, tasks: Mapping[str, Callable[[], Task[T]]], *, go_on: bool = False) -> Outcome[T]:
        """Run all tasks and return when none is under way any more.

        go_on: begin the others when one has failed. Whatever ends this early, what is under way is let go; its jobs
        go on at the server.
        """
        return _Shift(self, tasks, go_on).run()

    def one(self, task: Task[T]) -> T:
        """Run a single task here; raises what it raises."""
        outcome = self.run({"": lambda: task})
        for error in outcome.failures.values():
            raise error
        return outcome.results[""]


@dataclass
class _Pending:
    name: str
    job: Job
    since: float
    due: float


class _Shift(Generic[T]):
    """One call of `Crew.run`."""

    def __init__(self, crew: Crew, tasks: Mapping[str, Callable[[], Task[T]]], go_on: bool) -> None:
        self._client, self._parallel, self._go_on = crew.client, crew.parallel, go_on
        self._waiting = dict(tasks)
        self._tasks: dict[str, Task[T]] = {}
        self._moving: dict[Future[Job], str] = {}
        self._jobs: list[_Pending] = []
        self._outcome: Outcome[T] = Outcome()
        self._pool = ThreadPoolExecutor(max(1, min(crew.parallel, len(tasks))), "cloudstack")

    def run(self) -> Outcome[T]:
        try:
            with self._pool:
                self._work()
        finally:
            self._client.halted = False
        self._outcome.left = list(self._waiting)
        return self._outcome

    def _work(self) -> None:
        """Until nothing is under way; when this ends early, requests that are out are waited for, and nothing else."""
        try:
            self._begin()
            while self._moving or self._jobs:
                if self._moving:
                    self._hear(min(self._pause(), _SIGNALS) if self._jobs else _SIGNALS)
                else:
                    self._client.clock.pause(self._pause())
                self._poll()
                self._begin()
        except BaseException:
            self._client.halted = True
            raise

    def _begin(self) -> None:
        while self._waiting and len(self._moving) + len(self._jobs) < self._parallel:
            if self._outcome.failures and not self._go_on:
                return
            name = next(iter(self._waiting))
            self._tasks[name] = self._waiting.pop(name)()
            self._move(name, partial(next, self._tasks[name]))

    def _move(self, name: str, step: Callable[[], Job]) -> None:
        self._moving[self._pool.submit(step)] = name

    def _hear(self, timeout: float) -> None:
        """Take what tasks have come to: a job to wait for, an end, a failure."""
        done, _ = wait(self._moving, timeout, FIRST_COMPLETED)
        for future in done:
            name = self._moving.pop(future)
            try:
                job = future.result()
            except StopIteration as end:
                self._outcome.results[name] = end.value
            except PragmaError as error:
                self._outcome.failures[name] = error
            else:
                now = self._client.clock.now()
                self._jobs.append(_Pending(name, job, now, now + _SOONEST))

    def _pause(self) -> float:
        return max(0.01, min(each.due for each in self._jobs) - self._client.clock.now())

    def _poll(self) -> None:
        for each in [one for one in self._jobs if one.due <= self._client.clock.now()]:
            task = self._tasks[each.name]
            try:
                result = ask(self._client, each.job)
                now = self._client.clock.now()
                age = now - each.since
                if result is None and age > each.job.limit:
                    raise UnknownOutcomeError(
                        f"{each.job.command} goes on for more than {each.job.limit:.0f} seconds",
                        details=f"job {each.job.id}",
                        resolution="see the cloud's own list of jobs; then repeat",
                    )
            except PragmaError as error:
                self._jobs.remove(each)
                self._move(each.name, partial(task.throw, error))
                continue
            if result is None:
                each.due = now + min(max(age * _SHARE, _SOONEST), _LATEST)
            else:
                self._jobs.remove(each)
                self._move(each.name, partial(task.send, result))


def ask(client: Client, job: Job) -> dict[str, Any] | None:
    """A job's result, None while it is worked on.

    Only the outer level counts: what is inside has a job's state of its own (cloudstack.md a.6). Raises ApiError when
    it failed, UnknownOutcomeError when it ended without a word: the server was restarted.
    """
    answer = client.read("queryAsyncJobResult", jobid=job.id)
    status = answer.get("jobstatus", 0)
    if status == 0:
        return None
    result = answer.get("jobresult")
    if status == 1:
        return result if isinstance(result, dict) else {}
    if not isinstance(result, dict) or "errortext" not in result:
        cut = UnknownOutcomeError(
            f"{job.command} was cut off: the cloud's server was restarted", details=f"job {job.id}", resolution="repeat"
        )
        cut.ended = True
        raise cut
    code = result.get("errorcode") or answer.get("jobresultcode") or 530
    raise refusal(job.command, int(code), str(result["errortext"]))


def submit(client: Client, command: str, limit: float = JOB, **parameters: Value) -> Job:
    """Send a command that becomes a job. Raises as `Client.write`."""
    answer = client.write(command, **parameters)
    return Job(str(answer.get("jobid", "")), command, str(answer.get("id", "")), limit)


def carried_out(
    client: Client,
    command: str,
    look: Callable[[], dict[str, Any] | None],
    *,
    made: Callable[[str], None] = lambda _id: None,
    limit: float = JOB,
    **parameters: Value,
) -> Task[dict[str, Any]]:
    """Have a command that becomes a job carried out, once.

    look: what is there when it has been carried out, with its `id` where it makes something; else None. It is asked
    when an answer was lost, or a job ended without a word, before anything is repeated.
    made: told the id of what is made as soon as it is known.
    """
    for last in (False, True):
        try:
            job = submit(client, command, limit, **parameters)
        except LostAnswerError as error:
            found = _seen(client, look, error)
            if found is None and not last:
                continue
            if found is None:
                raise
            made(str(found.get("id", "")))
            return found
        made(job.made)
        try:
            result = yield job
        except UnknownOutcomeError as error:
            found = _seen(client, look, error)
            if found is None and (last or job.made or not error.ended):
                raise
            if found is not None:
                return found
        else:
            return result
    raise AssertionError


def done_once(
    client: Client, command: str, look: Callable[[], dict[str, Any] | None], **parameters: Value
) -> dict[str, Any]:
    """The same for a command that answers at once."""
    for last in (False, True):
        try:
            return client.write(command, **parameters)
        except LostAnswerError as error:
            found = _seen(client, look, error)
            if found is not None:
                return found
            if last:
                raise
    raise AssertionError


def _seen(client: Client, look: Callable[[], dict[str, Any] | None], error: DriverError) -> dict[str, Any] | None:
    _log.info("%s: looking whether it was carried out", error.message)
    for pause in _LOOKS:
        if pause:
            client.pause(pause)
        found = look()
        if found is not None:
            return found
    return None
