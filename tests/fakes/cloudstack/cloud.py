"""One cloud: its state, clock and jobs, and the way of a request through it."""

from __future__ import annotations

import copy
import ipaddress
import json
import random
import threading
import traceback
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import background, faults, machines, networking, reach
from .clock import Clock
from .config import Config
from .errors import ApiError
from .gate import Gate, error_body, throttled
from .hypervisor import Hypervisor, MemoryHypervisor
from .jobs import Engine
from .model import Account, Address, Job, Machine, Network
from .registry import COMMANDS, Command, Task, arguments, unknown
from .state import State
from .wire import Args, lowered, public, received

Body = dict[str, Any]


@dataclass
class Answer:
    """delay: real seconds to wait before it is sent. dropped: the connection closes without it.

    hung: before that, nothing happens while the client waits, or for so many seconds (None: at once).
    """

    status: int
    headers: dict[str, str]
    body: bytes
    delay: float = 0
    dropped: bool = False
    hung: float | None = None


@dataclass
class Logged:
    """A request and what came of it; secrets are starred out."""

    index: int
    time: float
    command: str
    params: dict[str, str]
    method: str
    account: str | None = None
    status: int = 0
    answer: Body = field(default_factory=dict)


@dataclass
class Call:
    """A command that may run."""

    cloud: Cloud
    command: Command
    account: Account
    args: Args
    method: str
    sent: dict[str, str]

    def sees(self, owner: str | None) -> bool:
        """Whether lists show what *owner* has."""
        return owner == self.account.id or (self.account.admin and bool(self.args["listall"]))

    def own(self, table: str, ident: str) -> Any:
        """The row *ident*; 531 where another account holds it."""
        row = getattr(self.cloud.state, table)[ident]
        if row.account not in (self.account.id, None) and not self.account.admin:
            raise ApiError(
                531,
                f"Acct[{self.account.id}-{self.account.name}] does not have permission to operate with resource "
                f"{type(row).__name__}[{ident}]",
            )
        return row


class Cloud:
    """delays: seconds or (least, most) of them: of jobs by command (``default`` for all others), of ``implement`` (a
    network), ``poll_jitter`` (polls see the end later), ``download`` (a template), and ``answer:COMMAND`` of an answer.

    strict: unknown parameters are kept in :attr:`violations`, and so are faults of the fake itself.
    """

    def __init__(
        self,
        state: State | None = None,
        config: Config | None = None,
        *,
        clock: Clock | None = None,
        seed: int = 1,
        strict: bool = True,
        hypervisor: Hypervisor | None = None,
        delays: dict[str, float | tuple[float, float]] | None = None,
    ) -> None:
        from .site import default_site

        self.rng = random.Random(seed)
        self.config = config or Config()
        self.clock = clock or Clock()
        self.state = state or default_site()
        self.strict = strict
        self.hypervisor: Hypervisor = hypervisor or MemoryHypervisor()
        self.delays: dict[str, float | tuple[float, float]] = {"default": 1.0, "implement": 10.0, **(delays or {})}
        self.lock = threading.RLock()
        self.faults = faults.Faults()
        self.log: list[Logged] = []
        self.violations: list[str] = []
        self.stuck = False
        self._gate = Gate(self)
        self.engine = Engine(self)
        self._take_over()

    # --- for tests -------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Give it to a client as its ``sleep``: the cloud's time passes instead of the test's."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self.lock:
            self.clock.advance(seconds)
            self.engine.run_due()

    def tick(self) -> None:
        """Do what is due; servers call it now and then."""
        with self.lock:
            self.engine.run_due()
            background.notice_power(self)
            self._publish()

    def _publish(self) -> None:
        self.hypervisor.forward(reach.forwards(self))

    def settle(self, limit: float = 7200) -> None:
        """Let the time pass until no job runs, at most *limit* seconds."""
        with self.lock:
            end = self.clock.now() + limit
            while self.engine.unfinished():
                following = self.engine.next_event()
                if following is None or following > end:
                    raise AssertionError(f"jobs that never end: {self.engine.unfinished()}")
                self.advance(max(0.0, following - self.clock.now()))

    def snapshot(self) -> State:
        """A copy of everything but running jobs."""
        with self.lock:
            self.engine.run_due()
            return copy.deepcopy(self.state)

    def restore(self, state: State) -> None:
        """Go back to *state*. Jobs that were running in it have died with their server."""
        with self.lock:
            self.engine.drop()
            self.state = copy.deepcopy(state)
            for job in self.state.jobs.values():
                if job.status == 0:
                    job.status, job.code, job.completed = 2, 530, self.clock.now()
            self._take_over()

    def _take_over(self) -> None:
        background.arm(self)
        networks = [one for one in self.state.networks.values() if one.state == "Implemented" and not one.removed]
        running = [one for one in self.state.machines.values() if one.state == "Running" and not one.removed]
        self.hypervisor.adopt(networks, running)

    def account(self, name: str) -> Account:
        return next(one for one in self.state.accounts.values() if one.name == name)

    def machine(self, name: str) -> Machine:
        """The machine *name* that is not expunged; KeyError when there is none."""
        for one in self.state.machines.values():
            if one.name == name and not one.removed:
                return one
        raise KeyError(name)

    def check(self) -> None:
        """Fails with what a client (or the fake) did wrong so far."""
        assert not self.violations, "\n".join(self.violations)

    # --- for commands ----------------------------------------------------------------------------

    def broke(self, command: str) -> None:
        """An exception that the fake itself is to blame for."""
        self.violations.append(f"{command}: the fake failed\n{traceback.format_exc()}")

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def delay(self, name: str) -> float:
        """Seconds that *name* takes this time."""
        wanted = self.delays.get(name, self.delays["default"])
        return self.rng.uniform(*wanted) if isinstance(wanted, tuple) else wanted

    def shuffled(self, rows: Iterable[Body]) -> list[Body]:
        made = list(rows)
        self.rng.shuffle(made)
        return made

    def power_changed(self, machine: Machine, state: str) -> None:
        """*machine* was switched by something that is not this cloud."""
        machines.power_changed(self, machine, state)

    def release(self, address: Address) -> None:
        networking.release(self, address)

    def router_ip(self, network: Network) -> str:
        return str(ipaddress.ip_address(network.gateway))

    # --- a request -------------------------------------------------------------------------------

    def request(self, method: str, target: str, body: bytes = b"") -> Answer:
        """What the server answers to GET or POST; *target* is the path with its query."""
        with self.lock:
            self.engine.run_due()
            pairs = received(method, target, body)
            by_name = {name.lower(): value for name, value in pairs}
            command = dict(pairs).get("command", "")
            entry = Logged(len(self.log), self.clock.now(), command, public(pairs), method)
            self.log.append(entry)
            struck = self.faults.striking("http", command, by_name)
            for fault in struck:
                if fault.action in faults.BESIDE and fault.when == "before":
                    faults.beside(self, fault)
            self.engine.run_due()
            answer = self._answered(method, pairs, entry, [one for one in struck if one.action in faults.REQUEST])
            self.engine.run_due()
            for fault in struck:
                if fault.action in faults.BESIDE and fault.when == "after":
                    faults.beside(self, fault)
            self._publish()
            if self.clock.speed is None:
                self.clock.advance(answer.delay)
                answer.delay = 0
            else:
                answer.delay /= self.clock.speed
            return answer

    def _answered(self, method: str, pairs: list[tuple[str, str]], entry: Logged, struck: list[faults.Fault]) -> Answer:
        delay = sum(fault.seconds for fault in struck if fault.action == "slow")
        by_action = {fault.action: fault for fault in struck}
        instead = next((by_action[name] for name in ("drop", "body", "rate", "error") if name in by_action), None)
        hang = by_action.get("hang")
        if hang is not None and hang.when == "before":
            return Answer(0, {}, b"", delay, True, hang.seconds)
        if instead is not None and instead.action in ("drop", "body"):
            entry.status = 0 if instead.action == "drop" else instead.code
            page = instead.body.encode()
            return Answer(instead.code, {"Content-Type": instead.content_type}, page, delay, instead.action == "drop")
        status, made = self._run(method, pairs, entry, instead)
        if "twice" in by_action and status == 200:
            status, made = self._run(method, pairs, entry, None)
        if "count" in by_action:
            for inner in made.values():
                inner["count"] = inner.get("count", 0) + by_action["count"].code
        entry.status, entry.answer = status, made
        kind = by_action["type"].content_type if "type" in by_action else self.config.json_content_type
        headers = {"Content-Type": kind}
        if status != 200:
            headers["X-Description"] = next(iter(made.values()))["errortext"].replace("\n", " ")
        took = self.delays.get(f"answer:{entry.command}", 0)
        delay += self.rng.uniform(*took) if isinstance(took, tuple) else took
        body = json.dumps(made, ensure_ascii=False).encode()
        return Answer(
            status, headers, body, delay, "lost" in by_action or hang is not None, hang.seconds if hang else None
        )

    def _run(
        self, method: str, pairs: list[tuple[str, str]], entry: Logged, instead: faults.Fault | None
    ) -> tuple[int, Body]:
        made = COMMANDS.get(entry.command)
        if made is not None and not self.config.since(made.since):
            made = None
        account: Account | None = None
        try:
            if instead is not None and instead.action == "rate":
                raise throttled(instead.seconds)
            if instead is not None:
                raise ApiError(instead.code, instead.text)
            sent = lowered(pairs)
            account = self._gate.account_of(pairs, sent, made, method)
            entry.account = account.name
            assert made is not None
            self._gate.throttle(account)
            body = self._executed(Call(self, made, account, Args({}), method, sent))
            return 200, {made.answer: body}
        except ApiError as error:
            return error.code, error_body(error, made, account)
        except Exception:  # noqa: BLE001 - kept, and the test fails
            self.broke(entry.command)
            return 530, error_body(ApiError(530, "the fake failed", masked=True), made, account)

    def _executed(self, call: Call) -> Body:
        made = call.command
        for name in unknown(made, call.sent) if self.strict else ():
            self.violations.append(f"{made.name} has no parameter {name}")
        call.args = arguments(self, made, call.sent)
        for fault in self.faults.striking("create", made.name, call.sent):
            raise ApiError(fault.code, fault.text)
        body = made.handler(self, call)
        if not isinstance(body, Task):
            as_text = self.config.success_in_words and body == {"success": True}
            return {"success": "true"} if as_text else body
        job = Job(self.new_id(), made.name, call.account.id, call.account.userid, body.kind, body.id, self.engine.now)
        job.lag = self.delay("poll_jitter") if "poll_jitter" in self.delays else 0
        self.state.jobs[job.id] = job
        striking = self.faults.striking("execute", made.name, call.sent, body.machine)
        self.engine.submit(job, body, call.account.admin, striking)
        return {"id": body.id, "jobid": job.id} if made.form == "create" else {"jobid": job.id}
