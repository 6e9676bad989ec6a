"""Emulated sites on which one call goes wrong: exactly that one, of `rocks` or of `ssh`, in one way."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emulators.rocks.emulator.faults import Fault
from emulators.rocks.emulator.main import answer
from emulators.rocks.emulator.store import Store
from emulators.rocks.site import RocksSite
from fakes.rocks import QuickHosts, QuickRocks, rocks_site, saying
from pragma_boot.cluster.site import Site
from pragma_boot.driver.kvm_rocks.hosts import Resources
from pragma_boot.errors import CommandError
from pragma_boot.run import Completed

Effects = Mapping[str, object]
"""Of a fault, as README.md of the emulator lists them; `hang`: the caller's time limit is over at once."""

Call = tuple[str, int]
"""Its words, and the how-manieth call with these words it is."""


@dataclass
class Strike:
    """Lets *effects* strike the call *at* (None: every one), and keeps what was called."""

    at: Call | None = None
    effects: Effects = field(default_factory=dict)
    made: list[Call] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, words: str) -> Effects:
        """The effects on this call, which is counted."""
        with self._lock:
            call = words, self._seen[words]
            self._seen[words] += 1
            self.made.append(call)
        return self.effects if self.at in (None, call) else {}


class StruckRocks(QuickRocks):
    """`rocks` within this process, one call of which goes wrong. Its site's own faults are not looked at."""

    def __init__(self, site: RocksSite, strike: Strike) -> None:
        super().__init__(site)
        self.strike = strike

    def execute(self, words: Sequence[str], limit: float) -> Completed:
        effects = dict(self.strike.meet(" ".join(word for word in words if word != "json=true")))
        late = effects.pop("hang", None)
        fault = Fault(**effects)  # type: ignore[arg-type]
        if late and fault.when == "before":
            raise _late(words)
        status, out, err = answer(Store(self.site.folder), words, fault)
        if late:
            raise _late(words)
        return Completed(status, out.encode(), err.encode())


class StruckHosts(QuickHosts):
    """`ssh` within this process, one call of which goes wrong; what the hosts have is not asked of this machine."""

    def __init__(self, site: RocksSite, strike: Strike) -> None:
        super().__init__(site)
        self.strike = strike

    def command(self, host: str, script: str, words: Sequence[str]) -> list[str]:
        named = [Path(word).name for word in words]
        effects = self.strike.meet(" ".join([host, script.split(maxsplit=1)[0].removesuffix("()"), *named]))
        fault = Fault(**effects)  # type: ignore[arg-type]
        if fault.rc is not None and fault.when == "before":
            return saying(fault.rc, fault.stdout, fault.stderr)
        script = f"head -c {fault.cut} | ({script})" if fault.cut is not None else script
        return self.inside(host, script, words, fault)

    def resources(self, host: str) -> Resources:
        if self.strike.meet(f"{host} resources"):
            self.run(host, "exit 255")
        return Resources(16, 65536)


def _late(words: Sequence[str]) -> CommandError:
    return CommandError(
        "rocks did not finish within 900 seconds", details=" ".join(words), resolution="look at what it did"
    )


@dataclass(frozen=True)
class Stage:
    """A folder with an emulated site, and with all that a site of ours keeps, that can be put back as it was."""

    folder: Path

    @property
    def emulated(self) -> RocksSite:
        return RocksSite(self.folder / "rocks")

    def site(self, rocks: Strike | None = None, ssh: Strike | None = None) -> Site:
        """Our site, on which something may go wrong."""
        emulated = self.emulated
        quick = StruckHosts(emulated, ssh or Strike())
        return rocks_site(self.folder / "ours", emulated, StruckRocks(emulated, rocks or Strike()), ssh=quick)

    def keep(self, name: str) -> Path:
        """A copy of how all stands."""
        copy = self.folder.with_name(f"{self.folder.name}-{name}")
        shutil.copytree(self.folder, copy, symlinks=True)
        return copy

    def put_back(self, copy: Path) -> None:
        """Have all as it was when it was copied."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(copy, self.folder, symlinks=True)
