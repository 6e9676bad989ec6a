"""Whole boots on an emulated site: everything that may break off, anywhere, leaves nothing or is cleaned later."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from fakes.rocks import VERSIONS, QuickRocks, RocksBench, rocks_site
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.stop import clean, shutdown, start
from pragma_boot.cluster.view import clusters
from pragma_boot.errors import CapacityError, DriverError, NotReadyError, PragmaError
from pragma_boot.model import ClusterName, ImageName
from pragma_boot.run import Completed

VC = ClusterName("vc")
REQUEST = BootRequest(ImageName("demo"), 3, VC, wait=0)
STEPS = (
    "checked", "vlan fiji", "frontend node", "frontend addresses", "frontend", "public", "route", "actions",
    "vlan vm-container-0-0", "compute 0", "compute 0 actions", "vlan vm-container-0-1", "compute 1",
    "compute 1 actions", "synced",
)  # fmt: skip
"""Of `add cluster` with two computes."""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_of_one_machine_is_the_only_one_of_its_site(tmp_path: Path, version: str) -> None:
    emulated = RocksSite.create(tmp_path / "site", version, containers=1)
    before, site = emulated.inventory(), rocks_site(tmp_path / "here", emulated)
    view = boot(site, replace(REQUEST, cpus=0))
    assert [(node.name, node.state) for node in view.nodes] == [("vc", "active")]
    shutdown(site, VC)
    start(site, VC, wait=0)
    assert [view.state for view in clusters(site)] == ["active"]
    shutdown(site, VC)
    clean(site, VC)
    assert (clusters(site), emulated.inventory()) == ((), before)


@pytest.mark.parametrize("version", VERSIONS)
def test_clusters_whose_names_begin_alike_do_not_touch_each_other(tmp_path: Path, version: str) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    site = rocks_site(tmp_path / "here", emulated)
    boot(site, REQUEST)
    alone = emulated.inventory()
    boot(site, replace(REQUEST, name=ClusterName("vc-2")))  # with vm-vc-2-0 beside what could be vm-vc-2
    assert [(view.name, len(view.nodes), view.state) for view in clusters(site)] == [
        ("vc", 3, "active"),
        ("vc-2", 3, "active"),
    ]
    shutdown(site, ClusterName("vc-2"))
    assert {view.name: view.state for view in clusters(site)} == {"vc": "active", "vc-2": "shutdown"}
    clean(site, ClusterName("vc-2"))
    assert [(view.name, len(view.nodes), view.state) for view in clusters(site)] == [("vc", 3, "active")]
    assert emulated.inventory() == alone


def test_a_frontend_that_does_not_answer_is_told_where_no_console_is_logged(tmp_path: Path) -> None:
    emulated = RocksSite.create(tmp_path / "site")
    before, site = emulated.inventory(), rocks_site(tmp_path / "here", emulated)
    with pytest.raises(NotReadyError) as caught:
        boot(site, replace(REQUEST, wait=1))
    told = f"{caught.value} {caught.value.details} {caught.value.resolution}"
    assert "ssh server" in told
    assert "its console is not logged" in told
    assert (clusters(site), emulated.inventory()) == ((), before)


class Counting(QuickRocks):
    """Counts calls, and lets something happen before or after the one of that number."""

    def __init__(
        self, site: RocksSite, at: int = -1, act: Callable[[], Completed | None] = lambda: None, *, after: bool = False
    ) -> None:
        super().__init__(site)
        self.at, self.act, self.after, self.made = at, act, after, list[str]()

    def execute(self, words: Sequence[str], limit: float) -> Completed:
        mine = len(self.made) == self.at
        self.made.append(words[0])
        if mine and not self.after:
            return self.act() or super().execute(words, limit)
        done = super().execute(words, limit)
        return (self.act() if mine else None) or done


def calls_of_a_boot(folder: Path, version: str) -> list[str]:
    site = RocksSite.create(folder / "count", version)
    rocks = Counting(site)
    boot(rocks_site(folder / "counted", site, rocks), REQUEST)
    return rocks.made


@pytest.mark.parametrize("containers", [1, 3], ids=["one container", "three"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_boots_lists_stops_starts_and_goes(tmp_path: Path, version: str, containers: int) -> None:
    emulated = RocksSite.create(tmp_path / "site", version, containers=containers)
    before = emulated.inventory()
    site = rocks_site(tmp_path / "here", emulated)
    view = boot(site, REQUEST)
    assert [(node.name, node.state, node.ip, node.cpus) for node in view.nodes] == [
        ("vc", "active", "10.1.1.1", 1),
        ("compute-0", "active", "10.1.255.254", 2),
        ("compute-1", "active", "10.1.255.253", 1),
    ]
    shutdown(site, VC)
    assert [view.state for view in clusters(site)] == ["shutdown"]
    start(site, VC, wait=0)
    assert [view.state for view in clusters(site)] == ["active"]
    shutdown(site, VC)
    clean(site, VC)
    assert (clusters(site), emulated.inventory()) == ((), before)
    assert (emulated.state().blanks, emulated.state().installed) == ([], [])


@pytest.mark.parametrize(("step", "effect"), list(zip(STEPS, itertools.cycle(["abort_at", "crash_at"]), strict=False)))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_half_done_add_cluster_is_removed_with_its_vlan_rows(
    tmp_path: Path, version: str, step: str, effect: str
) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    emulated.call("add", "host", "interface", "vm-container-0-2", "vlan77", "vlan=77")  # somebody's, and stale
    before = emulated.inventory()
    site = rocks_site(tmp_path / "here", emulated)
    emulated.faults({"match": "^add cluster", effect: step})
    with pytest.raises(PragmaError, match="add cluster"):
        boot(site, REQUEST)
    assert (emulated.inventory(), clusters(site)) == (before, ())


@pytest.mark.parametrize("vlan", [22, 99], ids=["same VLAN", "another"])
@pytest.mark.parametrize("step", ["checked", "frontend addresses", "synced"])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_somebody_adds_by_hand_meanwhile_stays_theirs(tmp_path: Path, version: str, step: str, vlan: int) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    site = rocks_site(tmp_path / "here", emulated)
    theirs = ["add cluster", "198.51.100.10", "1", "fe-name=theirs", "cluster-naming=true", f"vlan={vlan}"]
    emulated.faults({"match": "fe-name=vc", "at": step, "race": [str(emulated.rocks), *theirs]})
    with pytest.raises(DriverError, match="did not make cluster vc") as caught:
        boot(site, REQUEST)
    assert re.search("theirs", str(caught.value.details))
    names = {node.name for node in emulated.state().nodes}
    assert {"theirs", "vm-theirs-0"} <= names
    if vlan == 99:
        assert not {"vc", "vm-vc-0", "vm-vc-1"} & names
        return
    assert [view.name for view in clusters(site) if view.state == "broken"] == ["vc"]
    emulated.call("set host interface vlan", "theirs", "eth0", "98")
    emulated.call("set host interface vlan", "vm-theirs-0", "eth0", "98")
    clean(site, VC)
    names = {node.name for node in emulated.state().nodes}
    assert {"theirs", "vm-theirs-0"} <= names
    assert not {"vc", "vm-vc-0", "vm-vc-1"} & names


def _killed(site: RocksSite, folder: Path, number: int, after: bool) -> None:
    rocks = Counting(site, number, lambda: os.kill(os.getpid(), signal.SIGKILL), after=after)
    boot(rocks_site(folder, site, rocks), REQUEST)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("version", VERSIONS)
def test_killed_at_any_call_it_is_cleaned_and_hinders_nobody(tmp_path: Path, version: str, after: bool) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    words = calls_of_a_boot(tmp_path, version)
    before = emulated.inventory()
    fork = multiprocessing.get_context("fork")
    left = {}
    changing = [number for number, word in enumerate(words) if not word.startswith(("list", "report", "dump"))]
    for number in changing:
        folder = tmp_path / f"killed-{number}"
        child = fork.Process(target=_killed, args=(emulated, folder, number, after))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        site = rocks_site(folder, emulated)
        assert [view.state for view in clusters(site)] == ["broken"]
        clean(site, VC)
        if lines := [line for line in emulated.inventory() if line not in before]:
            left[number, words[number]] = lines
    assert left == {}
    boot(site, REQUEST)


def _one_of_many(site: RocksSite, folder: Path, number: int, answers: multiprocessing.Queue[str]) -> None:
    try:
        boot(rocks_site(folder, site), BootRequest(ImageName("demo"), 2, ClusterName(f"many-{number}"), wait=0))
        answers.put("")
    except CapacityError as error:
        answers.put(error.message)


@pytest.mark.parametrize("version", VERSIONS)
def test_eight_boots_at_once_on_four_addresses(tmp_path: Path, version: str) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    fork = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = fork.Queue()
    folder = tmp_path / "here"
    rocks_site(folder, emulated)
    children = [fork.Process(target=_one_of_many, args=(emulated, folder, number, answers)) for number in range(8)]
    for child in children:
        child.start()
    told = [answers.get(timeout=240) for _ in children]
    for child in children:
        child.join()
    assert sorted(map(bool, told)) == [False] * 4 + [True] * 4
    assert all("public addresses of the site are in use" in text for text in told if text)
    state = emulated.state()
    machines = {node.id for node in state.nodes if node.vm}
    rows = [row for row in state.interfaces if row.node in machines]
    for what in ([row.mac for row in rows], [row.ip for row in rows if row.ip]):
        assert max(Counter(what).values()) == 1
    vlans = {row.vlan for row in rows if row.vlan}
    assert len(vlans) == 4
    assert {state for found in state.domains.values() for state in found.values()} == {"active"}


def test_the_calls_do_not_grow_with_the_nodes_but_for_their_starts(tmp_path: Path) -> None:
    counts = {}
    for computes in (1, 5):
        bench = RocksBench(tmp_path / str(computes))
        bench.rocks = counting = Counting(bench.site)
        bench.boot("vc", computes)
        bench.remove("vc")
        counts[computes] = Counter(counting.made)
    more = {words: counts[5][words] - counts[1][words] for words in counts[5] if counts[5][words] != counts[1][words]}
    assert more == {"start host vm": 4}
