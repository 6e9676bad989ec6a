"""One node's process: started, asked, told to stop, ended; and the switch of its cluster."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pragma_boot import files
from pragma_boot.driver.qemu import command, outside, ports, processes, sockets
from pragma_boot.driver.qemu.qmp import Monitor
from pragma_boot.driver.qemu.records import ClusterNote, Folder, Machine
from pragma_boot.errors import DriverError, PragmaError
from pragma_boot.model import PUBLIC, KernelBoot, NodeName, NodeState
from pragma_boot.run import detached

_log = logging.getLogger(__name__)

_START_LIMIT = 120.0
"""Seconds until QEMU's monitor must answer: it locks files and allocates memory first, on a busy host slowly."""
_ASK_LIMIT = 3.0
_ASK_AGAIN = 5.0
_TOLD = 2000
_SWITCH = Path(__file__).with_name("lan.py")

_STATES = {
    "running": NodeState.ACTIVE,
    "guest-panicked": NodeState.CRASHED,
    "internal-error": NodeState.CRASHED,
    "paused": NodeState.PAUSED,
    "io-error": NodeState.PAUSED,
    "suspended": NodeState.PAUSED,
}


def start_switch(folder: Folder, wanted: Sequence[int]) -> bool:
    """Start the cluster's private network and claim its ports, which are noted; False when it runs already.

    wanted: the guest ports that are to be reached from outside. Raises DriverError or CommandError.
    """
    note = folder.note()
    if note is None:
        raise DriverError(
            f"what was set aside for {folder.cluster} cannot be read",
            details=str(folder.path),
            resolution=f"remove the rest: pragma clean {folder.cluster}",
        )
    with processes.claimed(folder.switch_lock) as lock:
        if lock is None:
            return False
        with _reserved(folder, note, wanted) as claims, sockets.listening(folder.switch) as listener:
            folder.write_note(replace(note, ports=claims.ports))
            held = [lock, listener.fileno(), *(name.fileno() for name in claims.held)]
            words: list[str | Path] = [sys.executable, "-I", "-S", _SWITCH, str(listener.fileno())]
            detached(words, errors=folder.path / "lan.err", keep=held)
    return True


@contextlib.contextmanager
def _reserved(folder: Folder, note: ClusterNote, wanted: Sequence[int]) -> Iterator[ports.Claims]:
    """Ports for a switch that is about to start; those that are noted, where a frontend serves them just now."""
    if note.ports and files.is_locked(folder.of_node(NodeName(folder.cluster), "lock")):
        yield ports.Claims(note.ports, ())
        return
    with ports.claim(note.public_ip, wanted, note.ports) as claims:
        yield claims


def stop_switch(folder: Folder) -> None:
    """End the cluster's private network; no error when it does not run. Raises DriverError."""
    processes.end(folder.switch_lock, f"the private network of {folder.cluster}")


def start(
    folder: Folder, machine: Machine, qemu: Path, *, side: outside.Side, wish: str, kernel: KernelBoot | None = None
) -> None:
    """Start a node, unless it runs; its cluster's switch must run. Returns when its processors do.

    side, wish: as in `outside`. Raises DriverError with what QEMU said.
    """
    with processes.claimed(folder.of_node(machine.node, "lock")) as lock, contextlib.ExitStack() as stack:
        if lock is None:
            return
        told = folder.of_node(machine.node, "err")
        files.write_atomic(told, b"", 0o600, durable=False)
        monitor = stack.enter_context(sockets.listening(folder.of_node(machine.node, "qmp")))
        lan = stack.enter_context(_lan(folder))
        note = folder.note()
        public: str | None = None
        more: tuple[int, ...] = ()
        if PUBLIC in machine.macs and note:
            public, more = stack.enter_context(
                outside.backend(outside.chosen(wish, qemu), side, note.public_ip, note.ports)
            )
        words = command.command(
            machine, qemu, monitor=monitor.fileno(), lan=lan.fileno(), outside=public, kernel=kernel
        )
        detached(words, errors=told, keep=[lock, monitor.fileno(), lan.fileno(), *more])
        stack.close()  # what QEMU has not now will be closed at once, so that its end is seen
        _await(folder, machine.node, told)


def _await(folder: Folder, node: NodeName, told: Path) -> None:
    try:
        with Monitor(folder.of_node(node, "qmp"), _START_LIMIT):
            return
    except OSError as error:
        said = told.read_bytes()[-_TOLD:].decode(errors="replace").strip()
        raise DriverError(
            f"QEMU did not start {node}",
            details=said or str(error),
            resolution="'pragma check site' looks for the usual causes",
        ) from error


def _lan(folder: Folder) -> contextlib.closing[socket.socket]:
    try:
        return contextlib.closing(sockets.connected(folder.switch))
    except OSError as error:
        raise DriverError(
            f"the private network of {folder.cluster} does not answer",
            details=error.strerror,
            resolution=f"start it again: pragma shutdown {folder.cluster}; pragma start {folder.cluster}",
        ) from error


def plug(folder: Folder, machine: Machine) -> None:
    """Connect a node that runs to a switch that was started after it. Raises DriverError."""
    try:
        with Monitor(folder.of_node(machine.node, "qmp"), _ASK_LIMIT) as monitor, _lan(folder) as lan:
            for old in (command.PLUG, command.LAN):
                with contextlib.suppress(DriverError):  # an earlier try has got that far
                    monitor.command("netdev_del", {"id": old})
            monitor.command("getfd", {"fdname": command.LAN}, [lan.fileno()])
            monitor.command("netdev_add", {"type": "socket", "id": command.LAN, "fd": command.LAN})
            hub = {"type": "hubport", "id": command.PLUG, "hubid": command.HUB, "netdev": command.LAN}
            monitor.command("netdev_add", hub)
    except OSError as error:
        raise DriverError(
            f"{machine.node} cannot be connected to its private network again",
            details=str(error),
            resolution=f"pragma shutdown {folder.cluster}; pragma start {folder.cluster}",
        ) from error


def state(folder: Folder, node: NodeName) -> NodeState:
    """What a defined node does just now."""
    lock = folder.of_node(node, "lock")
    if not files.is_locked(lock):
        return NodeState.SHUTDOWN
    try:
        with Monitor(folder.of_node(node, "qmp"), _ASK_LIMIT) as monitor:
            found = str(monitor.command("query-status")["status"])
    except (OSError, PragmaError):  # it is ending, or another command is talking to it
        return NodeState.ACTIVE if files.is_locked(lock) else NodeState.SHUTDOWN
    return _STATES.get(found, NodeState.ACTIVE)


def resume(folder: Folder, node: NodeName) -> None:
    """Let a paused node go on. Raises DriverError."""
    try:
        with Monitor(folder.of_node(node, "qmp"), _ASK_LIMIT) as monitor:
            monitor.command("cont")
    except OSError as error:
        raise DriverError(f"{node} cannot be resumed", details=str(error)) from error


def stop(folder: Folder, node: NodeName) -> None:
    """End a node's process at once; no error when it does not run. Raises DriverError."""
    processes.end(folder.of_node(node, "lock"), str(node))


def ask_to_stop(folder: Folder, running: Sequence[NodeName], grace: float) -> Iterator[NodeName]:
    """Press the power button of *running* nodes and give each one that has stopped, at most *grace* seconds long.

    A node that did not hear (it had not come so far) is asked again every few seconds.
    """
    deadline = time.monotonic() + grace
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        waiting: dict[NodeName, Monitor] = {}
        for node in running if grace > 0 else ():
            try:
                monitor = Monitor(folder.of_node(node, "qmp"), _ASK_LIMIT)
            except (OSError, PragmaError) as error:
                _log.debug("%s cannot be asked to stop: %s", node, error)
                continue
            waiting[node] = stack.enter_context(monitor)
            selector.register(monitor, selectors.EVENT_READ, node)
        ask = time.monotonic()
        while waiting and (now := time.monotonic()) < deadline:
            if now >= ask:
                _press(waiting)
                ask = now + _ASK_AGAIN
            for key, _ in selector.select(max(0.0, min(ask, deadline) - time.monotonic())):
                if waiting[key.data].ended():
                    selector.unregister(waiting[key.data])
                    waiting.pop(key.data).close()
                    if processes.wait_for_end(folder.of_node(key.data, "lock"), deadline - time.monotonic()):
                        yield key.data


def _press(waiting: Mapping[NodeName, Monitor]) -> None:
    for node, monitor in waiting.items():
        try:
            monitor.command("system_powerdown")
        except (OSError, PragmaError) as error:
            _log.debug("%s did not hear that it shall stop: %s", node, error)
