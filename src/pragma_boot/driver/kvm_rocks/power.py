"""Starting and stopping nodes: what must hold before, what is looked at afterwards.

Rocks starts a machine without a disk from an empty one, and says nothing (rocks.md 3.11); it says nothing either when
it could not stop one (3.12). So neither's exit status is believed.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.names import node_of
from pragma_boot.driver.kvm_rocks.reading import STOPPED, UNREACHABLE, Assignment, Machine, Reader, VirtualCluster
from pragma_boot.driver.kvm_rocks.transport import Rocks, RocksError, together
from pragma_boot.errors import DriverError, PragmaError
from pragma_boot.model import ClusterName, Progress, ProgressSink

_log = logging.getLogger(__name__)

_ACTIVE = "active"
_START_LOOKS, _STOP_LOOKS = 5, 15

_VOLUMES = 'for name; do zfs list -H -o name "$name" 2>/dev/null; done; :'

Failures = dict[str, PragmaError]
"""What went wrong, by machine."""


@dataclass(frozen=True, slots=True)
class Power:
    """The switch of one cluster's machines.

    parallel: how many are started at the same time. pause: seconds between two looks: Rocks has no event to wait for.
    """

    rocks: Rocks
    ssh: Hosts
    cluster: ClusterName
    parallel: int
    progress: ProgressSink
    pause: float

    def start(self, machines: Sequence[str]) -> Failures:
        """Start machines side by side; one that runs already is no failure."""
        return attempt({name: functools.partial(self._start, name) for name in machines}, self.parallel)

    def confirm_running(self, machines: Iterable[str]) -> Failures:
        """Look until all of them are active, some seconds at most."""
        wanted = list(machines)
        states: Mapping[str, str] = {}
        for look in range(_START_LOOKS):
            states = self.states()
            if all(states.get(name) == _ACTIVE for name in wanted):
                return {}
            if look + 1 < _START_LOOKS:
                time.sleep(self.pause)
        return {
            name: DriverError(
                f"Rocks started {name}, but it is {states.get(name, 'gone')!r}",
                resolution="see /var/log/libvirt/qemu on its host for why it ended",
            )
            for name in wanted
            if states.get(name) != _ACTIVE
        }

    def stop(self, machines: Sequence[str], *, grace: float, gently: bool) -> None:
        """Stop machines: with *gently*, asked to first. Raises DriverError for any that runs on, or cannot be asked."""
        if not machines:
            return
        left = list(machines)
        if gently and grace > 0:
            self._tell(left, {"action": "shutdown"})
            left = self._wait_for_stop(left, time.monotonic() + grace)
            for name in left:
                _log.warning("%s did not stop within %g seconds; it is forced to", name, grace)
        failures = self._tell(left, {}) if left else {}
        left = self._wait_for_stop(left, time.monotonic() + _STOP_LOOKS * self.pause) if left else []
        raise_all(f"stop {self.cluster}", {name: failures.get(name) or _runs_on(name) for name in left})

    def states(self) -> Mapping[str, str]:
        """The state of each machine of the cluster, as Rocks says; empty when there is no such cluster."""
        cluster = Reader(self.rocks).cluster(self.cluster, status=True)
        return cluster.states if cluster else {}

    def _start(self, name: str) -> None:
        self._say(name, "starting")
        try:
            self.rocks.change("start host vm", name)
        except RocksError as error:
            if "is already running" not in error.text:
                raise

    def _tell(self, machines: Sequence[str], parameters: Mapping[str, str]) -> Failures:
        """Stop them in one call; where that fails (it ends at the first that it cannot reach) one by one."""
        try:
            self.rocks.change("stop host vm", *machines, parameters=parameters)
        except DriverError as error:
            if len(machines) == 1:
                return {machines[0]: error}
            stop = functools.partial(self.rocks.change, "stop host vm", parameters=parameters)
            return attempt({name: functools.partial(stop, name) for name in machines}, self.parallel)
        return {}

    def _wait_for_stop(self, machines: Sequence[str], deadline: float) -> list[str]:
        """Those that still run at *deadline*."""
        left = list(machines)
        while True:
            states = self.states()
            for name in [name for name in left if states.get(name, STOPPED) == STOPPED]:
                left.remove(name)
                self._say(name, "stopped")
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(min(self.pause, max(0.05, deadline - time.monotonic())))

    def _say(self, machine: str, text: str) -> None:
        self.progress(Progress("boot", node_of(self.cluster, machine) or machine, text))


def check_disks(ssh: Hosts, machines: Iterable[Machine], assigned: Mapping[str, Assignment]) -> Failures:
    """What keeps machines from being started: a disk that is not there, in a file or on its NAS.

    Each host and each NAS is asked once, all at the same time.
    """
    files: dict[str, list[Machine]] = {}
    volumes: dict[str, list[Machine]] = {}
    failures: Failures = {}
    for machine in machines:
        if machine.name in assigned:
            volumes.setdefault(assigned[machine.name].nas, []).append(machine)
        elif machine.file:
            files.setdefault(machine.host, []).append(machine)
        else:
            failures[machine.name] = _no_disk(machine.name, machine.host)
    looks = [functools.partial(_check_files, ssh, host, mine) for host, mine in files.items()]
    looks += [functools.partial(_check_volumes, ssh, nas, mine, assigned) for nas, mine in volumes.items()]
    for found in together(*looks):
        failures |= found
    return failures


def _check_files(ssh: Hosts, host: str, machines: Sequence[Machine]) -> Failures:
    try:
        sizes = ssh.sizes(host, [machine.file or "" for machine in machines])
    except DriverError as error:
        return {machine.name: error for machine in machines}
    return {
        machine.name: _no_disk(machine.name, host) for machine, size in zip(machines, sizes, strict=True) if not size
    }


def _check_volumes(ssh: Hosts, nas: str, machines: Sequence[Machine], assigned: Mapping[str, Assignment]) -> Failures:
    names = {machine.name: f"{assigned[machine.name].pool}/{machine.name}-vol" for machine in machines}
    try:
        there = set(ssh.run(nas, _VOLUMES, *names.values()).split())
    except DriverError as error:
        return dict.fromkeys(names, error)
    return {name: _no_disk(name, nas) for name, volume in names.items() if volume not in there}


def running(cluster: VirtualCluster) -> list[str]:
    """The machines that are not known to be stopped, those that could not be asked included."""
    return [name for name, state in cluster.states.items() if state != STOPPED]


def unreachable(cluster: VirtualCluster) -> list[str]:
    """The machines whose container does not answer: nobody knows whether they run."""
    return [name for name, state in cluster.states.items() if state == UNREACHABLE]


def attempt(acts: Mapping[str, Callable[[], Any]], parallel: int) -> Failures:
    """Do all *acts*, some at once; what failed, by name. An interruption lets no further one begin."""
    if not acts:
        return {}
    failures: Failures = {}
    pool = ThreadPoolExecutor(max_workers=max(1, min(parallel, len(acts))))
    try:
        for name, future in [(name, pool.submit(act)) for name, act in acts.items()]:
            try:
                future.result()
            except PragmaError as error:
                failures[name] = error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return failures


def raise_all(doing: str, failures: Mapping[str, PragmaError]) -> None:
    """Raise one DriverError that names every failure; nothing when there is none."""
    if not failures:
        return
    told = (
        f"{name}: {error.message}" + (f": {error.details}" if error.details else "") for name, error in failures.items()
    )
    first = next(iter(failures.values()))
    raise DriverError(
        f"cannot {doing}: {', '.join(failures)}", details="\n".join(told), resolution=first.resolution
    ) from first


def _runs_on(name: str) -> DriverError:
    return DriverError(
        f"{name} runs on, or its container does not answer",
        resolution="see that the container is up ('rocks list host vm status=1'), then repeat",
    )


def _no_disk(name: str, host: str) -> DriverError:
    return DriverError(
        f"{name} has no disk on {host or 'any host'}; Rocks would start it from an empty one",
        resolution="clean the cluster and boot it again",
    )
