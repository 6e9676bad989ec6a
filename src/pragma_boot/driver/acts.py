"""Doing the same to many nodes: side by side, all of it, and one error that names each failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pragma_boot.errors import DriverError, PragmaError
from pragma_boot.model import NodeName

Act = Callable[[], None]


def frontend_first(doing: str, frontend: NodeName, acts: Mapping[NodeName, Act], parallel: int) -> None:
    """Do the frontend's act, then the others side by side. Raises what the frontend's raises, or as `side_by_side`."""
    if frontend in acts:
        acts[frontend]()
    side_by_side(doing, {node: act for node, act in acts.items() if node != frontend}, parallel)


def side_by_side(doing: str, acts: Mapping[NodeName, Act], parallel: int) -> None:
    """Do all *acts*, at most *parallel* at once. Raises DriverError "cannot *doing*" that names all that failed."""
    raise_failures(doing, attempt(acts, parallel), len(acts))


def attempt(acts: Mapping[str, Act] | Mapping[NodeName, Act], parallel: int) -> dict[str, PragmaError]:
    """Do all *acts*, some at once; what failed, by name. An interruption lets no further one begin."""
    if not acts:
        return {}
    pool = ThreadPoolExecutor(max_workers=max(1, min(parallel, len(acts))))
    try:
        futures = {str(name): pool.submit(act) for name, act in acts.items()}
        failures: dict[str, PragmaError] = {}
        for name, future in futures.items():
            try:
                future.result()
            except PragmaError as error:
                failures[name] = error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return failures


def raise_failures(doing: str, failures: Mapping[str, PragmaError], of: int) -> None:
    """Raise DriverError for what `attempt` gave back; nothing when nothing failed. *of*: how many acts there were."""
    if not failures:
        return
    details = "\n".join(f"{name}: {error.message}: {error.details}" for name, error in failures.items())
    first = next(iter(failures.values()))
    raise DriverError(
        f"cannot {doing}: {len(failures)} of {of} failed", details=details, resolution=first.resolution
    ) from first
