"""Asynchronous jobs: one at a time per queue, driven by the clock alone."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ApiError, ServerRestartError
from .registry import Task, Work

if TYPE_CHECKING:
    from .cloud import Cloud
    from .faults import Fault
    from .model import Job


@dataclass(frozen=True)
class Until:
    """A condition that a job waits for."""

    holds: Callable[[], bool]


@dataclass
class _Run:
    job: Job
    work: Work
    queue: str | None
    admin: bool
    faults: list[Fault] = field(default_factory=list)
    hung: bool = False
    begun: bool = False


class Engine:
    """now: the moment of the event that is being worked on; it never runs ahead of the clock."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._queues: dict[str, deque[_Run]] = {}
        self._runs: dict[str, _Run] = {}
        self._waiting: list[tuple[Until, _Run]] = []
        self.now = cloud.clock.now()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), action))

    def submit(self, job: Job, task: Task, admin: bool, faults: list[Fault]) -> None:
        run = _Run(job, task.work, task.queue, admin, faults)
        self._runs[job.id] = run
        if task.queue is None:
            return self.at(self.now, lambda: self._begin(run))
        queue = self._queues.setdefault(task.queue, deque())
        queue.append(run)
        if len(queue) == 1:
            self.at(self.now, lambda: self._begin(run))
        return None

    def run_due(self) -> None:
        """Everything that the clock has reached, in its order."""
        until = self._cloud.clock.now()
        while self._events and self._events[0][0] <= until:
            moment, _, action = heapq.heappop(self._events)
            self.now = max(self.now, moment)
            action()
            self._wake()
        self.now = max(self.now, until)

    def next_event(self) -> float | None:
        return self._events[0][0] if self._events else None

    def pending(self, instanceid: str) -> str | None:
        """The job that works on an object, or waits to."""
        return next((run.job.id for run in self._runs.values() if run.job.instanceid == instanceid), None)

    def unfinished(self) -> list[Job]:
        return [run.job for run in self._runs.values()]

    def running(self, queue: str) -> list[Job]:
        """Jobs that have begun in *queue*: never more than one."""
        return [run.job for run in self._queues.get(queue, ()) if run.begun]

    def restart(self) -> None:
        """The management server dies and comes back: what ran has failed, without a result that can be read."""
        for run in list(self._runs.values()):
            if run.job.id in self._runs:
                self._throw(run, ServerRestartError())

    def drop(self) -> None:
        """Forget all jobs and events."""
        for run in self._runs.values():
            run.work.close()
        self._events, self._queues, self._runs, self._waiting = [], {}, {}, []

    def _begin(self, run: _Run) -> None:
        if run.job.id not in self._runs or run.begun:
            return
        run.begun, run.job.started = True, self.now
        self.at(self.now + self._cloud.config.job_cancel, lambda: self._cancel(run))
        self._step(run)

    def _step(self, run: _Run) -> None:
        if run.hung or run.job.id not in self._runs:
            return None
        try:
            wait = next(run.work)
        except StopIteration as end:
            return self._end(run, end.value)
        except ApiError as error:
            return self._fail(run, error)
        except Exception as error:  # noqa: BLE001 - kept, and the test fails
            self._cloud.broke(run.job.command)
            return self._fail(run, ApiError(530, f"the fake failed: {error}"))
        fault = run.faults.pop(0) if run.faults else None
        if fault is not None and fault.action in ("fail", "error", "die") and fault.when == "before":
            return self._throw(run, _failure(fault))
        if fault is not None and fault.action == "hang":
            run.hung = True
            return None
        if fault is not None and fault.when == "after":
            run.faults.insert(0, fault)
        if isinstance(wait, Until):
            self._waiting.append((wait, run))
            return None
        extra = fault.seconds if fault is not None and fault.action == "slow" else 0
        return self.at(self.now + wait + extra, lambda: self._step(run))

    def _throw(self, run: _Run, error: ApiError) -> None:
        try:
            if not run.begun:
                next(run.work)  # to where it undoes what its request has made
            run.work.throw(error)
        except StopIteration as end:
            return self._end(run, end.value)
        except ApiError as raised:
            return self._fail(run, raised)
        raise AssertionError(f"{run.job.command} goes on after {error}")

    def _wake(self) -> None:
        ready = [one for one in self._waiting if one[0].holds()]
        self._waiting = [one for one in self._waiting if one not in ready]
        for _, run in ready:
            self.at(self.now, lambda run=run: self._step(run))  # type: ignore[misc]

    def _cancel(self, run: _Run) -> None:
        if run.job.id in self._runs:
            run.hung = False
            self._throw(run, ServerRestartError())

    def _end(self, run: _Run, result: dict[str, Any] | None) -> None:
        if run.faults and run.faults[0].when == "after":
            return self._fail(run, _failure(run.faults.pop(0)))
        return self._close(run, 1, 0, {"success": True} if result is None else result)

    def _fail(self, run: _Run, error: ApiError) -> None:
        seen = None if isinstance(error, ServerRestartError) else {"errorcode": error.code, "errortext": error.text}
        self._close(run, 2, error.code, seen)

    def _close(self, run: _Run, status: int, code: int, result: dict[str, Any] | None) -> None:
        job = run.job
        job.status, job.code, job.result, job.completed = status, code, result, self.now
        self._runs.pop(job.id, None)
        self._waiting = [one for one in self._waiting if one[1] is not run]
        queue = self._queues.get(run.queue) if run.queue else None
        if queue is not None and run in queue:
            queue.remove(run)
            if queue and not queue[0].begun:
                following = queue[0]
                self.at(self.now, lambda: self._begin(following))


def _failure(fault: Fault) -> ApiError:
    return ServerRestartError() if fault.action == "die" else ApiError(fault.code, fault.text)
