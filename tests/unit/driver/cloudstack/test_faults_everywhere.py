"""A fault at every call of a boot, a shutdown and a clean in turn: nothing is left, or an exact report says what.

Each scenario is a cluster of two on a cloud of its own; time is the cloud's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.cloud_site import CloudSite, Killed, cloud_site
from fakes.cloudstack import Leftover, assert_clean, leftovers
from fakes.cloudstack.registry import COMMANDS
from fakes.engine import plan
from pragma_boot.errors import CapacityError, DriverError, PendingError, PragmaError
from pragma_boot.model import ClusterName, ImageName, Leases, NodeState

LAB = ClusterName("lab")
LEASES = Leases(LAB, None, "lab.example.org", 0, {})
INSTANT = {"default": 0.0, "implement": 0.0}
SLOW = {"default": 1.0, "implement": 1.0}
READS = ("list", "query")


def boot(site: CloudSite, dies_at: int = -1) -> None:
    driver = site.driver_that(dies_at)
    wanted = driver.fit(replace(plan("lab", 1), image=ImageName("frontend")))
    allocation = driver.allocate(wanted, LEASES)
    driver.deploy(allocation, {}, {}, documents={node.name: b"<vc/>" for node in allocation.nodes})


def shutdown(site: CloudSite) -> None:
    site.driver.shutdown(LAB, grace=5)


def release(site: CloudSite) -> None:
    site.driver.release(LAB)


@dataclass
class Fault:
    """What goes wrong: *strikes* says whether a command may have it."""

    action: str
    strikes: Callable[[str], bool]
    more: dict[str, object]

    @property
    def delays(self) -> dict[str, float]:
        """Jobs that are to be cut off must take some time."""
        return SLOW if self.action == "restart" else INSTANT


def is_write(command: str) -> bool:
    return not command.startswith(READS)


def is_job(command: str) -> bool:
    return is_write(command) and COMMANDS[command].form != "sync"


FAULTS = {
    "an error": Fault("error", lambda _: True, {"code": 530, "text": "Internal error executing command"}),
    "an answer that is lost": Fault("lost", is_write, {}),
    "a request that never arrives": Fault("drop", is_write, {}),
    "a job that hangs": Fault("hang", is_job, {"phase": "execute"}),
    "a job that fails": Fault("fail", is_job, {"phase": "execute", "code": 530, "text": "Failed"}),
    "a job cut off by a restart": Fault("restart", is_job, {"when": "after"}),
}


def strike(site: CloudSite, fault: Fault, command: str, nth: int) -> None:
    """The *nth* call of that *command* from now on."""
    site.cloud.faults.add(fault.action, command, nth=nth, **fault.more)


def calls(site: CloudSite, act: Callable[[CloudSite], None]) -> list[tuple[str, int]]:
    """What *act* calls when nothing goes wrong: each command with its how-manieth call it is."""
    start = len(site.cloud.log)
    act(site)
    counts: dict[str, int] = {}
    found = []
    for entry in site.cloud.log[start:]:
        counts[entry.command] = counts.get(entry.command, 0) + 1
        found.append((entry.command, counts[entry.command]))
    return found


def assert_exact(site: CloudSite, left: list[Leftover], report: str) -> None:
    """Whatever is left and can be named is named, by its id."""
    names = [each for each in left if each.kind in ("machines", "networks", "groups")]
    shared = {address.id for address in site.cloud.state.addresses.values() if address.sourcenat}
    names += [each for each in left if each.kind == "addresses" and each.id not in shared]
    missing = [f"{each.kind} {each.name} {each.id}" for each in names if each.id not in report]
    assert not missing, f"not told: {missing}\nin: {report}"


def assert_undone(site: CloudSite, before: object, what: str) -> None:
    """Released at once, or after a report, once the cloud is well again."""
    try:
        release(site)
    except PendingError:
        raise
    except DriverError as error:
        left = leftovers(site.cloud, "user", before)  # type: ignore[arg-type]
        assert left, f"{what}: nothing is left of what is told: {error.details}"
        assert_exact(site, left, f"{error.message} {error.details}")
        site.cloud.faults.clear()
        site.cloud.advance(2 * 3600)  # the cloud itself ends a job that hangs
        release(site)
    site.cloud.settle()
    try:
        assert_clean(site.cloud, "user", before)  # type: ignore[arg-type]
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from None
    assert site.driver.survey() == {}
    assert not list((site.root / "state" / "cloudstack").glob("*.json"))


@pytest.mark.parametrize("name", FAULTS)
def test_at_every_call_of_a_boot(tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    with cloud_site(tmp_path / "well", delays=fault.delays, parallel=1) as site:
        wanted = [(command, nth) for command, nth in calls(site, boot) if fault.strikes(command)]
    assert len(wanted) > 10
    outcomes = set()
    for number, (command, nth) in enumerate(wanted):
        with cloud_site(tmp_path / str(number), delays=fault.delays, parallel=1) as site:
            before = site.cloud.snapshot()
            strike(site, fault, command, nth)
            try:
                boot(site)
                outcomes.add("booted")
                assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.ACTIVE}
            except (DriverError, CapacityError, PragmaError):
                outcomes.add("refused")
            assert_undone(site, before, f"{name} at call {nth} of {command}")
    assert outcomes <= {"booted", "refused"}
    if fault.action in ("lost", "drop"):
        assert outcomes == {"booted"}, "a lost answer is looked for, and never the end of a boot"


@pytest.mark.parametrize("act", [shutdown, release])
@pytest.mark.parametrize("name", FAULTS)
def test_at_every_call_of_a_shutdown_and_a_clean(tmp_path: Path, name: str, act: Callable[[CloudSite], None]) -> None:
    fault = FAULTS[name]
    with cloud_site(tmp_path, delays=fault.delays, parallel=1) as site:
        before = site.cloud.snapshot()
        boot(site)
        if act is release:
            shutdown(site)
        booted = site.cloud.snapshot()
        shutil.copytree(tmp_path / "state", tmp_path / "kept")
        wanted = [(command, nth) for command, nth in calls(site, act) if fault.strikes(command)]
        assert len(wanted) >= 2
        for command, nth in wanted:
            site.cloud.restore(booted)
            site.cloud.faults.clear()
            shutil.rmtree(tmp_path / "state")
            shutil.copytree(tmp_path / "kept", tmp_path / "state")
            strike(site, fault, command, nth)
            what = f"{name} at call {nth} of {command}"
            if act is shutdown:
                try:
                    shutdown(site)
                    assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.SHUTDOWN}, what
                except DriverError:
                    site.cloud.faults.clear()
                    site.cloud.advance(2 * 3600)
                    shutdown(site)
            assert_undone(site, before, what)


def test_a_cloud_that_shows_nothing_is_told_with_what_was_asked_of_it(tmp_path: Path) -> None:
    with cloud_site(tmp_path, delays=INSTANT, parallel=1) as site:
        before = site.cloud.snapshot()
        boot(site)
        site.cloud.faults.add("error", "list.*", times=-1)
        with pytest.raises(DriverError) as caught:
            release(site)
        left = [each for each in leftovers(site.cloud, "user", before) if each.name != "public"]
        assert_exact(site, left, caught.value.details or "")
        site.cloud.faults.clear()
        assert_undone(site, before, "a cloud that showed nothing")


def test_what_a_killed_boot_has_left_is_found_after_every_call(tmp_path: Path) -> None:
    """Its last request was carried out, and nobody saw the answer."""
    with cloud_site(tmp_path / "well", delays=INSTANT, parallel=1) as site:
        count = len(calls(site, boot))
    for number in range(count):
        with cloud_site(tmp_path / str(number), delays=INSTANT, parallel=1) as site:
            before = site.cloud.snapshot()
            with pytest.raises(Killed):
                boot(site, dies_at=number)
            assert_undone(site, before, f"killed after call {number}: {site.cloud.log[number].command}")
