"""Every kind of fault at every call of a boot, in turn: the boot goes well, or nothing of it is left.

And at every call of a clean-up: all goes, or what is left is told, and goes the next time.

Calls are those of `rocks` and of `ssh`; time limits are over at once, nothing waits. The first version is gone
through as a whole, the others in a spread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from fakes.rocks_faults import Call, Effects, Stage, Strike
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.stop import clean, shutdown
from pragma_boot.cluster.view import clusters
from pragma_boot.driver.kvm_rocks.note import Notes
from pragma_boot.errors import PragmaError
from pragma_boot.image.qcow2 import default_scratch
from pragma_boot.model import ClusterName, ImageName

VC = ClusterName("vc")
REQUEST = BootRequest(ImageName("demo"), 2, VC, wait=0)
VERSIONS = ("7.0", "6.2", "6.2u")
SPREAD = 7

ERROR, TRACEBACK = "Error: injected\n{host}\n", "Traceback (most recent call last):\nOops: injected\n"
READS: dict[str, Effects] = {
    "fails": {"rc": 1, "stdout": ERROR},
    "crashes": {"rc": 1, "stderr": TRACEBACK},
    "is silent": {"empty": True},
    "has no database": {"db_down": True},
    "is late": {"hang": 900},
}
STATES: dict[str, Effects] = {
    "cannot reach a host": {"libvirt_down": ["vm-container-0-0"]},
    "cannot reach the frontend": {"libvirt_down": ["fiji"]},
    "loses a machine": {"vanish": True},
}
CHANGES: dict[str, Effects] = {
    "lies": {"lie_ok": True},
    "fails when it is done": {"rc": 1, "stdout": ERROR, "when": "after"},
    "crashes when it is done": {"rc": 1, "stderr": TRACEBACK, "when": "after"},
    "is late when it is done": {"hang": 900, "when": "after"},
}
ROCKS = READS | STATES | CHANGES
HARMLESS: dict[str, Effects] = {
    "warns": {"noise": "libvirt: error: no\n"},
    "says more": {"stray": "vm-container-0-0: down\n"},
    "has other rows first": {"shuffle_rows": 7},
    "is slow": {"delay": 0.001},
}
SSH: dict[str, Effects] = {
    "cannot connect": {"rc": 255, "stderr": "ssh: no route to host\n"},
    "breaks off when it is done": {"rc": 255, "when": "after"},
    "breaks off on the way": {"rc": 255, "when": "after", "cut": 70000},
    "hears nothing": {"rc": 0},
}


@dataclass(frozen=True)
class World:
    """A stage, copies of it, what is to be on it then, and the calls of a boot and of a clean-up.

    copies: before a boot; with a cluster that is shut down; with one whose boot broke off.
    """

    stage: Stage
    empty: Path
    booted: list[str]
    shut_down: Path
    half_made: Path
    calls: dict[str, list[Call]]

    def wrong(self, rocks: Strike, ssh: Strike, *, fails: bool = True) -> list[str]:
        """Boot where something goes wrong; what is not as it should be then. fails: whether the boot may."""
        self.stage.put_back(self.empty)
        before, site = facts(self.stage.emulated), self.stage.site(rocks, ssh)
        try:
            boot(site, REQUEST)
        except PragmaError as error:
            if not fails:
                raise
            return self._left(before) + ([] if error.resolution else [f"no mend: {error}"])
        return differences(facts(self.stage.emulated), self.booted)

    def wrong_after_clean(self, copy: Path, before: list[str], rocks: Strike, ssh: Strike) -> list[str]:
        """Clean up where something goes wrong: all is gone, or what is not gone is told, and goes the next time."""
        self.stage.put_back(copy)
        there, found = facts(self.stage.emulated), list[str]()
        try:
            clean(self.stage.site(rocks, ssh), VC)
        except PragmaError as error:
            now = facts(self.stage.emulated)
            found += untold(f"{error.details}", differences(now, before)) if now != there else []
            if not (error.resolution and clusters(self.stage.site())):
                found.append(f"nobody would know: {error}")
            clean(self.stage.site(), VC)
        return found + self._left(before)

    def _left(self, before: list[str]) -> list[str]:
        site = self.stage.site()
        found = differences(facts(self.stage.emulated), before) + [f"listed: {view.name}" for view in clusters(site)]
        return found + [f"a note of {name}" for name in Notes(site.settings.site.state).clusters()]


def facts(site: RocksSite) -> list[str]:
    """All that there is, and how: what Rocks knows of each node, what runs, what lies where."""
    state = site.state()
    found = [f"{node.name} {node.cpus} {node.boot} {node.vm.mem if node.vm else 0}" for node in state.nodes]
    found += [f"{row.device} {row.mac} {row.ip} {row.vlan}" for row in state.interfaces]
    found += [f"blank {name}" for name in state.blanks] + [f"installer {name}" for name in state.installed]
    return sorted([*found, *site.inventory()])


def differences(seen: list[str], wanted: list[str]) -> list[str]:
    return [f"+ {line}" for line in seen if line not in wanted] + [f"- {line}" for line in wanted if line not in seen]


def untold(told: str, left: list[str]) -> list[str]:
    """What is left and not told of, where it is told what is left rather than that nothing could be done."""
    if "cannot remove all of" not in told:
        return [] if "the nodes and networks: " in told else [f"not told: {told}"]
    names = {"file": r"disks on {0}", "vm": "{0}", "vlan": "vlan{1} of {0}"}
    found = []
    for line in left:
        kind, _, rest = line.removeprefix("+ ").partition(" ")
        words = rest.replace(":", " ").split()
        if kind in names and names[kind].format(*words) not in told and f" {VC}" not in told:
            found.append(f"not told: {line}")
    return found


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    """In memory where there is room: hundreds of boots write little else than folders' entries."""
    with tempfile.TemporaryDirectory(prefix="pragma-faults-", dir=default_scratch()) as folder:
        yield {version: world(Path(folder, version), version) for version in VERSIONS}


def world(folder: Path, version: str) -> World:
    stage, calls = Stage(folder / "stage"), {}

    def noted(what: str, act: Callable[[Site], object]) -> None:
        rocks, ssh = Strike(), Strike()
        act(stage.site(rocks, ssh))
        calls[what], calls[f"{what} ssh"] = rocks.made, ssh.made

    RocksSite.create(stage.folder / "rocks", version, containers=1)
    stage.site()
    empty = stage.keep("empty")
    noted("boot", lambda site: boot(site, REQUEST))
    booted = facts(stage.emulated)
    shutdown(stage.site(), VC)
    shut_down = stage.keep("shut-down")
    noted("shut down", lambda site: clean(site, VC))
    stage.put_back(empty)
    broken = Strike(
        (next(words for words, _ in calls["boot"] if words.startswith("add")), 0), {"crash_at": "compute 0"}
    )
    with pytest.raises(PragmaError):
        boot(stage.site(broken), replace(REQUEST, keep_on_failure=True))
    half_made = stage.keep("half-made")
    noted("half made", lambda site: clean(site, VC))
    return World(stage, empty, booted, shut_down, half_made, calls)


def may(kind: str, call: Call) -> bool:
    """Whether this kind can befall this call."""
    words, _ = call
    if kind in STATES:
        return words.startswith(("start", "stop")) or "status=true" in words
    return kind in READS or not words.startswith(("list", "report", "dump"))


def some(version: str, kind: str, calls: list[Call]) -> list[Call]:
    """The calls that this kind can befall: for the first version all of them."""
    able = [call for call in calls if kind in SSH or may(kind, call)]
    return able if version == VERSIONS[0] else able[[*ROCKS, *SSH].index(kind) % min(SPREAD, len(able)) :: SPREAD]


def strikes(kind: str, call: Call) -> tuple[Strike, Strike]:
    """For `rocks` and for `ssh`."""
    strike = Strike(call, (ROCKS | SSH)[kind])
    return (Strike(), strike) if kind in SSH else (strike, Strike())


@pytest.mark.parametrize("kind", [*ROCKS, *SSH])
@pytest.mark.parametrize("version", VERSIONS)
def test_at_a_call_of_a_boot(worlds: dict[str, World], version: str, kind: str) -> None:
    mine, found = worlds[version], {}
    for call in some(version, kind, mine.calls["boot ssh" if kind in SSH else "boot"]):
        pair = strikes(kind, call)
        found[call] = mine.wrong(*pair)
        assert any(call in strike.made for strike in pair)
    assert {call: lines for call, lines in found.items() if lines} == {}


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("version", VERSIONS)
def test_at_all_calls_of_a_boot(worlds: dict[str, World], version: str, kind: str) -> None:
    assert worlds[version].wrong(Strike(None, HARMLESS[kind]), Strike(), fails=False) == []


@pytest.mark.parametrize(
    ("kind", "what"), [*((kind, "shut down") for kind in [*ROCKS, *SSH]), ("fails", "half made"), ("lies", "half made")]
)
def test_at_a_call_of_a_clean_up(worlds: dict[str, World], kind: str, what: str) -> None:
    mine, found = worlds[VERSIONS[0]], {}
    mine.stage.put_back(mine.empty)
    before = facts(mine.stage.emulated)
    for call in some(VERSIONS[0], kind, mine.calls[f"{what} ssh" if kind in SSH else what]):
        copy = mine.shut_down if what == "shut down" else mine.half_made
        found[call] = mine.wrong_after_clean(copy, before, *strikes(kind, call))
    assert {call: lines for call, lines in found.items() if lines} == {}
