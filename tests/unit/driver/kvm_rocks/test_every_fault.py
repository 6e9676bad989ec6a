"""Every kind of fault at every call of a boot, in turn: the boot goes well, or nothing of it is left.

Calls are those of `rocks` and of `ssh`; time limits are over at once, nothing waits. The first version is gone
through as a whole, the others in a spread.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from fakes.rocks import rocks_site
from fakes.rocks_faults import Call, Effects, Strike, StruckHosts, StruckRocks, copied
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.view import clusters
from pragma_boot.driver.kvm_rocks.note import Notes
from pragma_boot.errors import PragmaError
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
    """A site, what is on it before a boot and after a good one, and the calls of that."""

    pristine: RocksSite
    before: list[str]
    after: list[str]
    rocks: list[Call]
    ssh: list[Call]

    def wrong(self, folder: Path, rocks: Strike, ssh: Strike, *, fails: bool = True) -> list[str]:
        """Boot where something goes wrong; what is not as it should be then. fails: whether the boot may."""
        emulated = copied(self.pristine, folder / "site")
        site = struck(folder, emulated, rocks, ssh)
        try:
            boot(site, REQUEST)
        except PragmaError as error:
            if not fails:
                raise
            found = differences(facts(emulated), self.before) + [f"listed: {view.name}" for view in clusters(site)]
            found += [f"a note of {name}" for name in Notes(site.settings.site.state).clusters()]
            return found + ([] if error.resolution else [f"no mend: {error}"])
        else:
            return differences(facts(emulated), self.after)
        finally:
            shutil.rmtree(folder)


def struck(folder: Path, emulated: RocksSite, rocks: Strike, ssh: Strike) -> Site:
    return rocks_site(folder, emulated, StruckRocks(emulated, rocks), ssh=StruckHosts(emulated, ssh))


def facts(site: RocksSite) -> list[str]:
    """All that there is, and how: what Rocks knows of each node, what runs, what lies where."""
    state = site.state()
    found = [
        f"{node.name} {node.cpus} {node.boot} {node.vm and (node.vm.mem, node.vm.disks[0].name)}"
        for node in state.nodes
    ]
    found += [f"{row.device} {row.mac} {row.ip} {row.vlan}" for row in state.interfaces]
    found += [f"blank {name}" for name in state.blanks] + [f"installer {name}" for name in state.installed]
    return sorted([*found, *site.inventory()])


def differences(seen: list[str], wanted: list[str]) -> list[str]:
    return [f"+ {line}" for line in seen if line not in wanted] + [f"- {line}" for line in wanted if line not in seen]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    return {version: world(tmp_path_factory.mktemp("world"), version) for version in VERSIONS}


def world(folder: Path, version: str) -> World:
    pristine = RocksSite.create(folder / "pristine", version, containers=1)
    used, rocks, ssh = copied(pristine, folder / "used"), Strike(), Strike()
    boot(struck(folder / "here", used, rocks, ssh), REQUEST)
    return World(pristine, facts(pristine), facts(used), rocks.made, ssh.made)


def may(kind: str, call: Call) -> bool:
    """Whether this kind can befall this call."""
    words, _ = call
    if kind in STATES:
        return words.startswith(("start", "stop")) or "status=true" in words
    return kind in READS or not words.startswith(("list", "report", "dump"))


def wrongs(
    mine: World, folder: Path, calls: list[Call], effects: Effects, *, ssh: bool = False
) -> dict[Call, list[str]]:
    """What is wrong after boots on which each of the calls was struck."""
    found = {}
    for number, call in enumerate(calls):
        strike = Strike(call, effects)
        struck_two = (Strike(), strike) if ssh else (strike, Strike())
        found[call] = mine.wrong(folder / str(number), *struck_two)
        assert call in strike.made
    return {call: lines for call, lines in found.items() if lines}


@pytest.mark.parametrize("kind", ROCKS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_call_of_rocks(tmp_path: Path, worlds: dict[str, World], version: str, kind: str) -> None:
    calls = [call for call in worlds[version].rocks if may(kind, call)]
    if version != VERSIONS[0]:
        calls = calls[list(ROCKS).index(kind) % min(SPREAD, len(calls)) :: SPREAD]
    assert wrongs(worlds[version], tmp_path, calls, ROCKS[kind]) == {}


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("version", VERSIONS)
def test_all_calls_of_rocks(tmp_path: Path, worlds: dict[str, World], version: str, kind: str) -> None:
    boot_as_ever, nothing = worlds[version].wrong, Strike()
    assert boot_as_ever(tmp_path / "here", Strike(None, HARMLESS[kind]), nothing, fails=False) == []


@pytest.mark.parametrize("kind", SSH)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_call_of_ssh(tmp_path: Path, worlds: dict[str, World], version: str, kind: str) -> None:
    calls = worlds[version].ssh
    if version != VERSIONS[0]:
        calls = calls[list(SSH).index(kind) :: SPREAD]
    assert wrongs(worlds[version], tmp_path, calls, SSH[kind], ssh=True) == {}
