"""The emulator against what a real Rocks 7.0 printed: every command in turn, byte for byte.

The transcripts are not part of this repository; they are looked for where its contracts lie.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulators.rocks.emulator.model import Volume
from emulators.rocks.site import RocksSite

TRANSCRIPTS = Path(__file__).parents[2].parent / "shared/contracts/rocks-golden-7.0.txt"
_SPAN = 1103 * 86400 + 9 * 3600 + 39 * 60 + 42
"""How long the sample's volume has been synchronizing; kept whatever the clock says."""


@dataclass(frozen=True)
class Sample:
    """A command and what came of it."""

    words: list[str]
    stdout: str
    status: int


def _samples(text: str) -> list[Sample]:
    samples = []
    for block in text.strip().split("\n\n"):
        command, *lines, status = block.splitlines()
        out = "".join(line.removeprefix("1>|").removesuffix("|") + "\n" for line in lines)
        samples.append(Sample(shlex.split(command.removeprefix("$ rocks ")), out, int(status.removeprefix("rc="))))
    return samples


def _site(folder: Path) -> RocksSite:
    site = RocksSite.create(folder, local=False)
    with site.change() as state:
        state.options.tick = 0
        since = state.now - _SPAN
        state.volumes = [
            Volume("nas-0-0", "centos7-frontend-vol", "pragma"),
            Volume("nas-0-0", "myvc-vol", "pragma", "fiji", None, "iqn.2001-04.com.nas-0-0-myvc-vol", "mapped"),
            Volume(
                "nas-0-0", "vm-myvc-0-vol", "pragma", "vm-container-0-0", "tank", None, "NAS<-VM sched", since, True
            ),
        ]
    return site


@pytest.mark.skipif(
    not TRANSCRIPTS.exists(), reason=f"no transcripts of a real Rocks at ../shared beside {TRANSCRIPTS.parents[2].name}"
)
def test_each_command_prints_what_rocks_7_0_printed(tmp_path: Path) -> None:
    site = _site(tmp_path / "site")
    samples = _samples(TRANSCRIPTS.read_text())
    assert len(samples) > 60
    for sample in samples:
        ran = site.run(*sample.words)
        assert (ran.out, ran.status) == (sample.stdout, sample.status), shlex.join(sample.words)
        assert ran.err == ""
