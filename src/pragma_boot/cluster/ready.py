"""Waits until all nodes of a cluster are ready; says who is late, and why.

One loop over events: inotify tells when a console log grew, sockets bring ssh banners, and the engine is asked every
two seconds whether all nodes still run. A node that reports (guest.md 8; `REPORT_MARK`) is ready when it says so; one
that cannot is ready when its ssh banner is here, or, where we cannot reach it, as soon as it runs.
"""

from __future__ import annotations

import logging
import re
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from pragma_boot.cluster.banner import BannerProbe
from pragma_boot.cluster.console import ConsoleLog, clean
from pragma_boot.cluster.diagnose import Cause, describe_report, diagnose, fatal_sign
from pragma_boot.cluster.watch import FolderWatch
from pragma_boot.errors import DriverError, NotReadyError
from pragma_boot.model import (
    REPORT_MARK,
    NodeName,
    NodeState,
    NodeStatus,
    Progress,
    ProgressSink,
    Role,
    no_progress,
)

_log = logging.getLogger(__name__)

_POLL = 2.0
"""Seconds between two looks at the engine, and at logs whose folder cannot be watched."""
_SETTLE = 1.0
"""Seconds that a failed node's console, and its fellows, get to say the rest."""
_SIGN_OVERLAP = 300
_REPORT = re.compile(re.escape(REPORT_MARK) + r"\s+(\S{1,253})\s+(?:(ready)|waiting\s+(\S.{0,200}))\s*$")

Status = Callable[[], Mapping[NodeName, NodeStatus]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A node to wait for.

    log: its console's log file, which need not exist yet; None when there is none.
    offset: bytes that were in the log before this start.
    reports: the image runs our reporter.
    banner: the address whose ssh banner counts when it does not report; None when it cannot be reached from here.
    """

    node: NodeName
    role: Role
    log: Path | None
    offset: int = 0
    reports: bool = True
    banner: IPv4Address | None = None
    port: int = 22


def wait_until_ready(
    watched: Sequence[Watched],
    *,
    timeout: float,
    status: Status,
    progress: ProgressSink = no_progress,
    accel: str = "",
) -> None:
    """Return when every node is ready.

    timeout: seconds. status: the engine's word on all nodes; a DriverError of it is taken as "unknown" and asked again.
    accel: `kvm` or `tcg`, for the diagnosis of a console that stays silent.

    Raises NotReadyError at the deadline, or at once when a node can no longer become ready (it stopped, its kernel
    panicked, …). Its details name the cause and the last console lines of each node that failed.
    """
    with ExitStack() as stack:
        _Wait(watched, timeout=timeout, status=status, progress=progress, accel=accel, stack=stack).run()


@dataclass(slots=True)
class _Node:
    watched: Watched
    console: ConsoleLog | None
    probe: BannerProbe | None = None
    state: NodeState = NodeState.UNKNOWN
    report: str | None = None
    ready: bool = False
    speaks: bool = False
    reports: bool = field(init=False)
    failed: Cause | None = None

    def __post_init__(self) -> None:
        self.reports = self.watched.reports and self.console is not None

    @property
    def name(self) -> NodeName:
        return self.watched.node


class _Wait:
    """One call of `wait_until_ready`."""

    def __init__(
        self,
        watched: Sequence[Watched],
        *,
        timeout: float,
        status: Status,
        progress: ProgressSink,
        accel: str,
        stack: ExitStack,
    ) -> None:
        self._timeout, self._status, self._progress, self._accel = timeout, status, progress, accel
        self._started = time.monotonic()
        self._verdict_at: float | None = None
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._nodes = [_Node(one, ConsoleLog(one.log, one.offset) if one.log else None) for one in watched]
        for node in self._nodes:
            if node.console:
                stack.callback(node.console.close)
        self._watch = stack.enter_context(FolderWatch({one.log.parent for one in watched if one.log}, self._selector))
        stack.callback(self._close_probes)

    def run(self) -> None:
        next_poll = self._started
        while True:
            now = time.monotonic()
            self._read_consoles()
            if now >= next_poll:
                self._ask_engine()
                next_poll = now + _POLL
            if all(node.ready for node in self._nodes):
                return
            self._judge(now)
            self._knock(now)
            self._await_events(min(next_poll, self._end()))

    def _end(self) -> float:
        """When this wait is over whatever happens."""
        deadline = self._started + self._timeout
        return deadline if self._verdict_at is None else min(deadline, self._verdict_at)

    def _await_events(self, until: float) -> None:
        due = [node.probe.due() for node in self._nodes if node.probe and not node.ready]
        now = time.monotonic()
        until = min([until, *due, self._watch.due(now)])
        if any(node.console and node.console.has_more for node in self._nodes):
            until = now
        for key, _ in self._selector.select(max(0.0, until - now)):
            if key.data is self._watch:
                self._watch.drain(time.monotonic())
            else:
                self._hear(key.data)

    # ------------------------------------------------------------------------------------------------------ consoles

    def _read_consoles(self) -> None:
        for node in self._nodes:
            if node.console:
                self._read_console(node, node.console)

    def _read_console(self, node: _Node, console: ConsoleLog) -> None:
        try:
            text = console.read()
        except PermissionError:
            _log.warning("cannot read %s: %s is taken as a node that does not report", console.path, node.name)
            node.console, node.reports = None, False
            return
        if not text:
            return
        if not node.speaks:
            node.speaks = True
            self._tell("boot", node, "booting")
        for line in console.lines(text):
            if node.reports and REPORT_MARK in line:
                self._take_report(node, line)
        if not node.failed and not node.ready:
            sign = fatal_sign(console.tail[-len(text) - _SIGN_OVERLAP :])
            if sign:
                self._fail(node, sign)

    def _take_report(self, node: _Node, line: str) -> None:
        match = _REPORT.search(line)
        if not match or match[1] != node.name:
            return
        if match[2]:
            self._is_ready(node)
            return
        report = clean(match[3], 120)
        node.ready = False  # it may have restarted
        if report != node.report:
            node.report = report
            self._tell("ready", node, f"waiting: {describe_report(report)}")

    # -------------------------------------------------------------------------------------------------------- engine

    def _ask_engine(self) -> None:
        try:
            found = self._status()
        except DriverError as error:
            _log.debug("cannot ask for the nodes' state: %s", error)
            return
        for node in self._nodes:
            entry = found.get(node.name)
            node.state = entry.state if entry else NodeState.MISSING
            if node.state in {NodeState.SHUTDOWN, NodeState.CRASHED, NodeState.MISSING}:
                if not node.failed:
                    node.ready = False
                    self._fail(node, self._diagnose(node))
            elif node.state is NodeState.ACTIVE and not node.reports and not node.watched.banner:
                self._is_ready(node)

    # ------------------------------------------------------------------------------------------------------- banners

    def _knock(self, now: float) -> None:
        for node in self._nodes:
            if node.reports or node.ready or not node.watched.banner:
                continue
            if node.probe is None:
                node.probe = BannerProbe(node.watched.banner, node.watched.port, self._selector)
                self._tell("ready", node, "waiting: its ssh port does not answer yet")
            node.probe.tick(now)

    def _hear(self, probe: BannerProbe) -> None:
        heard = probe.advance(time.monotonic())
        node = next(node for node in self._nodes if node.probe is probe)
        node.report = None if heard else f"no-banner {probe.failure}"
        if heard:
            self._is_ready(node)

    def _close_probes(self) -> None:
        for node in self._nodes:
            if node.probe:
                node.probe.close()

    # ------------------------------------------------------------------------------------------------------- verdicts

    def _is_ready(self, node: _Node) -> None:
        if not node.ready and not node.failed:
            node.ready = True
            self._tell("ready", node, f"ready in {time.monotonic() - self._started:.1f} s")

    def _fail(self, node: _Node, cause: Cause) -> None:
        node.failed = cause
        self._verdict_at = self._verdict_at or time.monotonic() + _SETTLE
        self._tell("ready", node, f"failed: {cause.text}")

    def _diagnose(self, node: _Node) -> Cause:
        cause = diagnose(node.console.tail if node.console else "", node.report, node.state, self._accel)
        return cause if cause.fatal or not node.failed else node.failed

    def _judge(self, now: float) -> None:
        if now < self._end():
            return
        if self._verdict_at is not None and now >= self._verdict_at:
            late = [node for node in self._nodes if node.failed]
        else:
            late = [node for node in self._nodes if not node.ready]
        causes = [(node, self._diagnose(node)) for node in late]
        raise _not_ready(causes, len(self._nodes), now - self._started, gave_up=self._verdict_at is not None)

    def _tell(self, phase: str, node: _Node, text: str) -> None:
        self._progress(Progress(phase, node.name, text))


def _not_ready(late: Sequence[tuple[_Node, Cause]], total: int, seconds: float, *, gave_up: bool) -> NotReadyError:
    first, cause = late[0]
    how = "cannot become ready" if gave_up else f"not ready after {seconds:.0f} seconds"
    subject = first.name if len(late) == 1 else f"{len(late)} of {total} nodes"
    example = cause.text if len(late) == 1 else f"{first.name}: {cause.text}"
    mends = list(dict.fromkeys(each.mend for _, each in late))
    return NotReadyError(
        f"{subject} {how}: {example}",
        details="\n".join(_account(node, each) for node, each in late),
        resolution="; ".join(mends[:3]),
    )


def _account(node: _Node, cause: Cause) -> str:
    """One node's part of the error: the cause, and what its console said last."""
    lines = node.console.last_lines() if node.console else []
    if not lines:
        where = f"nothing on its console ({node.console.path})" if node.console else "its console is not logged"
        return f"{node.name}: {cause.text}; {where}"
    quoted = "\n".join(f"    | {line}" for line in lines)
    return f"{node.name}: {cause.text}; its console ended with:\n{quoted}"
