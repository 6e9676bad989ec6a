"""What goes wrong, on demand.

A fault waits for the *nth* request that it matches and strikes *times* times from there on (-1: for ever). Actions:

==============  =======================================================================================================
in the request  ``error`` (code, text: nothing is run) · ``slow`` (seconds) · ``drop`` (no answer, nothing is run) ·
                ``lost`` (run, but the answer is lost) · ``body`` (body, code, content_type: a proxy's page; not run) ·
                ``type`` (content_type of a right answer) · ``rate`` (429; seconds) · ``twice`` (run two times) ·
                ``count`` (code is added to the count of a list) · ``hang`` (no answer while the client waits, at most
                seconds of real time if that is not 0; when="after": but it was run)
in its job      phase="execute": ``fail`` (code, text; when="after": although all was done) · ``hang`` · ``slow`` ·
                ``die`` (failed without a result that can be read; when="after": although all was done)
beside it       ``restart`` (running jobs die without a result) · ``jump`` (the clock by seconds) · ``power`` (machine
                goes to text, ``Stopped`` or ``Running``, by itself) · ``full`` (no host has room; seconds 0: it has
                again) · ``stuck`` (networks that are implemented from now on never get ready) · ``steal`` (the public
                address in text is released by someone else); when="after": once the request was answered
==============  =======================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cloud import Cloud

BESIDE = ("restart", "jump", "power", "full", "stuck", "steal")
REQUEST = ("error", "slow", "drop", "lost", "body", "type", "rate", "twice", "count", "hang")
JOB = ("fail", "hang", "slow", "error", "die")


@dataclass
class Fault:
    """command: a regular expression of the whole name. params: as sent (names in lower case).

    machine: the name of the one that a job works on, or whose power changes. struck: how often it has struck so far.
    """

    action: str
    command: str = ".*"
    params: dict[str, str] = field(default_factory=dict)
    nth: int = 1
    times: int = 1
    phase: str = "http"
    machine: str | None = None
    when: str = "before"
    code: int = 530
    text: str = "a fault of the test"
    seconds: float = 0
    body: str = "<html><body><h1>502 Bad Gateway</h1></body></html>"
    content_type: str = "text/html"
    seen: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        allowed = JOB if self.phase == "execute" else (*REQUEST, *BESIDE)
        if self.phase not in ("http", "create", "execute") or self.action not in allowed:
            raise ValueError(f"no such fault: {self.action} in phase {self.phase}")
        if self.machine is not None and self.phase != "execute" and self.action != "power":
            raise ValueError("only jobs and power have a machine; give params to a request")

    def matches(self, command: str, params: Mapping[str, str], machine: str | None) -> bool:
        """Whether it strikes now; counts the request."""
        if not re.fullmatch(self.command, command) or any(params.get(k) != v for k, v in self.params.items()):
            return False
        if self.machine not in (None, machine) and self.action != "power":
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times >= 0 and self.struck >= self.times):
            return False
        self.struck += 1
        return True


class Faults:
    """All that wait."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, action: str, command: str = ".*", **more: Any) -> Fault:
        fault = Fault(action, command, **more)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        self.rules.clear()

    def striking(self, phase: str, command: str, params: Mapping[str, str], machine: str | None = None) -> list[Fault]:
        return [fault for fault in self.rules if fault.phase == phase and fault.matches(command, params, machine)]


def beside(cloud: Cloud, fault: Fault) -> None:
    """What happens to the cloud while a client talks to it."""
    state = cloud.state
    if fault.action == "restart":
        cloud.engine.restart()
    elif fault.action == "jump":
        cloud.clock.advance(fault.seconds)
    elif fault.action == "stuck":
        cloud.stuck = True
    elif fault.action == "full":
        for host in state.hosts.values():
            host.taken_cpus = host.cpus if fault.seconds else 0
    elif fault.action == "power":
        for machine in state.machines.values():
            if machine.name == fault.machine and not machine.removed:
                cloud.power_changed(machine, fault.text)
    elif fault.action == "steal":
        for address in state.addresses.values():
            if address.ip == fault.text:
                cloud.release(address)
