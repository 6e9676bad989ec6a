"""The in-memory driver: what tests above it rely on, beyond the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.engine import CLUSTERS, EmptyDisks, leases, plan
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.files import StateFolder
from pragma_boot.model import REPORT_MARK, ClusterName, NodeName, NodeState

A = ClusterName("drv-a")


class PlantedError(Exception):
    """A fault that a test planted."""


def boot(driver: MemoryDriver, folder: Path) -> None:
    wanted = plan(A, 2)
    allocation = driver.allocate(wanted, leases(wanted))
    driver.deploy(allocation, EmptyDisks(folder).of(allocation), {})


def steps(tmp_path: Path) -> list[str]:
    seen: list[str] = []
    driver = MemoryDriver(StateFolder(tmp_path / "dry"), CLUSTERS, before_step=seen.append)
    boot(driver, tmp_path)
    driver.shutdown(A, grace=0)
    driver.release(A)
    return seen


def test_every_change_is_a_step_with_a_name(tmp_path: Path) -> None:
    seen = steps(tmp_path)
    assert seen[0] == "allocate drv-a: network"
    assert "deploy drv-a: start compute-1" in seen
    assert seen[-1] == "release drv-a: network"


def test_release_finishes_what_a_fault_at_any_step_left(tmp_path: Path) -> None:
    for at, _ in enumerate(steps(tmp_path)):
        state = StateFolder(tmp_path / f"at-{at}")
        left = iter(range(at))

        def fail(step: str, left: object = left) -> None:
            if next(left, None) is None:  # type: ignore[call-overload]
                raise PlantedError(step)

        faulty = MemoryDriver(state, CLUSTERS, before_step=fail)
        with pytest.raises(PlantedError):
            boot(faulty, tmp_path)
            faulty.shutdown(A, grace=0)
            faulty.release(A)
        MemoryDriver(state, CLUSTERS).release(A)
        assert MemoryDriver(state, CLUSTERS).survey() == {}


def test_nodes_report_ready_but_for_the_silent(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    boot(MemoryDriver(state, CLUSTERS, silent=frozenset({NodeName("compute-1")})), tmp_path)
    assert f"{REPORT_MARK} compute-0 ready" in state.console(A, "compute-0").read_text()
    assert state.console(A, "compute-1").read_text() == ""


def test_a_state_can_be_planted(tmp_path: Path) -> None:
    driver = MemoryDriver(StateFolder(tmp_path), CLUSTERS)
    boot(driver, tmp_path)
    driver.set_state(A, NodeName("compute-0"), NodeState.CRASHED)
    assert driver.status(A)[NodeName("compute-0")].state is NodeState.CRASHED
