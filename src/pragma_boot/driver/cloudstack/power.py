"""Hand documents to machines, start and stop them."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pragma_boot.driver.cloudstack import crew, names
from pragma_boot.driver.cloudstack.client import ApiError
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import Task, UnknownOutcomeError, carried_out, done_once
from pragma_boot.driver.cloudstack.reading import Machine
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import ClusterName, NodeName, Progress, ProgressSink, Role

_log = logging.getLogger(__name__)

_STEADY = frozenset({"Running", "Stopped", "Error", "Destroyed", ""})
_FULL = (530, 533)
_SETTLE = 600.0
"""Seconds that a machine may be on its way from one state to another."""


class Power:
    """A cluster's machines, by node."""

    def __init__(self, cloud: Cloud, cluster: ClusterName, progress: ProgressSink) -> None:
        self._cloud, self._cluster, self._progress = cloud, cluster, progress
        found = {names.node_of(cluster, each.name): each for each in cloud.machines(cluster)}
        self.machines: dict[NodeName, Machine] = {node: each for node, each in found.items() if node}

    def hand_out(self, documents: Mapping[NodeName, bytes]) -> None:
        """Give each machine its document as user data; it reaches the node when that starts. Raises DriverError."""
        tasks: dict[str, Callable[[], Task[None]]] = {
            str(node): partial(self._hand_one, node, document) for node, document in documents.items()
        }
        self._cloud.crew.run(tasks).raise_first(f"hand the documents to the nodes of {self._cluster}")

    def start(self) -> None:
        """Start what does not run: the frontend, which brings the networks up, then all others. Raises DriverError."""
        for role in (Role.FRONTEND, Role.COMPUTE):
            tasks: dict[str, Callable[[], Task[None]]] = {
                str(node): partial(self._start_one, node, machine)
                for node, machine in self._of(role).items()
                if machine.state != "Running"
            }
            self._cloud.crew.run(tasks).raise_first(f"start the nodes of {self._cluster}")

    def stop(self, grace: float) -> None:
        """Stop what runs, computes first: asked to, and forced after *grace* seconds. Raises DriverError."""
        for role in (Role.COMPUTE, Role.FRONTEND):
            tasks: dict[str, Callable[[], Task[None]]] = {
                str(node): partial(self._stop_one, node, machine, grace)
                for node, machine in self._of(role).items()
                if machine.state != "Stopped"
            }
            self._cloud.crew.run(tasks, go_on=True).raise_first(f"stop the nodes of {self._cluster}")

    def _of(self, role: Role) -> dict[NodeName, Machine]:
        return {node: each for node, each in self.machines.items() if names.role_of(node, self._cluster) is role}

    def _hand_one(self, node: NodeName, document: bytes) -> Task[None]:
        yield from ()  # it answers at once
        machine = self.machines.get(node)
        if machine is None:
            raise DriverError(f"{node} has no machine in the cloud", resolution="repeat the boot")

        def there() -> dict[str, Any] | None:
            """The same data once more is no harm, so it is enough that the machine still is."""
            if self._cloud.machine(machine.id) is None:
                raise DriverError(f"the machine of {node} is gone", resolution="repeat the boot")
            return None

        data = base64.b64encode(document).decode()
        done_once(self._cloud.client, "updateVirtualMachine", there, id=machine.id, userdata=data)

    def _start_one(self, node: NodeName, machine: Machine) -> Task[None]:
        self._progress(Progress("boot", node, "starting"))
        try:
            yield from carried_out(
                self._cloud.client,
                "startVirtualMachine",
                partial(self._in, machine.id, "Running"),
                limit=crew.START,
                id=machine.id,
            )
        except ApiError as error:
            if self._in(machine.id, "Running") is not None:
                return
            raise _not_started(error, node) from error

    def _stop_one(self, node: NodeName, machine: Machine, grace: float) -> Task[None]:
        stopped = partial(self._in, machine.id, "Stopped")
        try:
            asked = partial(self._has_stopped, machine.id)
            yield from carried_out(
                self._cloud.client, "stopVirtualMachine", asked, limit=max(grace, 1.0), id=machine.id
            )
        except (UnknownOutcomeError, ApiError) as error:
            _log.info("%s does not stop when asked to (%s): it is switched off", node, error.message)
            try:
                yield from carried_out(self._cloud.client, "stopVirtualMachine", stopped, id=machine.id, forced=True)
            except ApiError:
                if stopped() is None:
                    raise
        self._progress(Progress("boot", node, "stopped"))

    def _has_stopped(self, ident: str) -> dict[str, Any] | None:
        """Whether it has, just now: a machine that is still asked to is not waited for."""
        found = self._cloud.machine(ident)
        return {} if found and found.state == "Stopped" else None

    def _in(self, ident: str, wanted: str) -> dict[str, Any] | None:
        """The machine when it is in the *wanted* state, once it is not on its way any more; else None."""
        clock = self._cloud.client.clock
        end = clock.now() + _SETTLE
        while True:
            found = self._cloud.machine(ident)
            if found is None or found.state in _STEADY or clock.now() > end:
                return {} if found and found.state == wanted else None
            self._cloud.client.pause(2.0)


def _not_started(error: ApiError, node: NodeName) -> DriverError | CapacityError:
    if error.code not in _FULL or "deployment" not in error.text:
        return error
    return CapacityError(
        f"the cloud has no host with room for {node}",
        details=f"{error.code}: {error.text}",
        resolution="repeat later, or ask for fewer or smaller nodes",
    )
