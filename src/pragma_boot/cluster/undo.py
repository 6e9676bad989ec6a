"""What a boot has to undo, each step known before it is taken. `clean` runs the same list, later.

The steps are idempotent and work from any half-way point, so it is no harm to undo what was never done.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pragma_boot.cluster.site import Site
from pragma_boot.errors import ClusterError, PendingError, PragmaError
from pragma_boot.model import ClusterName, ClusterState

_log = logging.getLogger(__name__)

Step = tuple[str, Callable[[], None]]


def forget(site: Site, name: ClusterName) -> Step:
    """Give the leases back and drop the record: the last thing to be undone."""
    return "the site database's record", lambda: site.store.forget(name)


def release(site: Site, name: ClusterName) -> Step:
    """Remove the engine's machines and networks."""
    return "the nodes and networks", lambda: site.driver.release(name)


def leave_overlay(site: Site, name: ClusterName) -> Step:
    """Give back what the cluster has at its overlay's exchange.

    An exchange may be another site's, and gone for good: when it cannot be asked, the removal goes on with a warning.
    """

    def leave() -> None:
        held = site.store.overlay(name)
        if held is None:
            return
        from pragma_boot.network.overlay.opening import open_exchange  # noqa: PLC0415 - few clusters are in one

        try:
            exchange = open_exchange(held.ticket)
            if held.hub_key:
                exchange.withdraw(held.hub_key)
            else:
                exchange.release(held.holder)
        except PragmaError as error:
            what = "its join information stays published" if held.hub_key else f"the slots of {held.holder} stay taken"
            _log.warning("the overlay's exchange cannot be told that cluster %s is gone: %s", name, what)
            _log.warning("%s", ": ".join(filter(None, (error.message, error.details))))

    return "its part in the overlay", leave


def remove_folder(site: Site, name: ClusterName) -> Step:
    """Remove the cluster's folder: keys, documents, console logs."""
    folder = site.settings.site.state.cluster(name)

    def remove() -> None:
        if folder.exists():
            shutil.rmtree(folder)

    return "the cluster's folder", remove


def delete_disks(site: Site, name: ClusterName) -> Step:
    """Remove the nodes' disks."""
    return "the nodes' disks", lambda: site.disks.delete(name)


@dataclass
class Undo:
    """A stack of steps; `run` takes them from the top. The record is forgotten only when all else is gone."""

    site: Site
    cluster: ClusterName
    steps: list[Step] = field(default_factory=list)

    def before(self, step: Step) -> None:
        """Register what undoes the step that comes next."""
        self.steps.append(step)

    def run(self) -> None:
        """Undo everything that was registered.

        Signals to stop are ignored meanwhile: half an undo helps nobody. Raises ClusterError when something could
        not be removed, naming all of it; the cluster then stays listed, and `clean` may be repeated. PendingError,
        when all that is left goes by itself.
        """
        failures: list[str] = []
        pending: list[PendingError] = []
        with _undisturbed():
            for label, action in reversed(self.steps[1:]):
                _attempt(label, action, failures, pending)
            if not failures and not pending and self.steps:
                _attempt(*self.steps[0], failures, pending)
            if failures or pending:
                note = "; ".join([*failures, *(error.message for error in pending)])
                with contextlib.suppress(PragmaError):
                    self.site.store.record_state(self.cluster, ClusterState.CLEANING, note)
        if pending and not failures:
            raise pending[0]
        if failures:
            raise ClusterError(
                f"cluster {self.cluster} could not be removed completely",
                details="\n".join(failures),
                resolution=f"mend what is said above, then: pragma clean {self.cluster}",
            )


def everything(site: Site, name: ClusterName) -> Undo:
    """The undo of a complete boot."""
    kinds = (forget, release, leave_overlay, remove_folder, delete_disks)
    return Undo(site, name, [kind(site, name) for kind in kinds])


def _attempt(label: str, action: Callable[[], None], failures: list[str], pending: list[PendingError]) -> None:
    _log.debug("undo: %s", label)
    try:
        action()
    except PendingError as error:
        pending.append(error)
    except PragmaError as error:
        failures.append(f"{label}: {error.message}" + (f" ({error.details})" if error.details else ""))
        _log.warning("cannot remove %s: %s", label, error.message)
    except OSError as error:
        failures.append(f"{label}: {error}")
        _log.warning("cannot remove %s: %s", label, error)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    saved = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
