"""What the sections of script/bench share: a site of their own, the rows they print, and `pragma` as a subprocess."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pragma_boot.driver.qemu import processes
from pragma_boot.files import lock

CHECKOUT = Path(__file__).resolve().parents[2]
PRAGMA = CHECKOUT / "bin/pragma"
BASE = Path("/var/tmp/pragma-bench")
"""Images are kept here from one bench to the next; QEMU's user must be able to look into it."""
SITE = BASE / "site"


def row(
    what: str,
    samples: Sequence[float],
    unit: str,
    *,
    target: str = "",
    most: float | None = None,
) -> dict[str, object]:
    """One line of the table: the median of *samples*; *most* is the target as a number."""
    value = statistics.median(samples)
    met = None if most is None else value <= most
    return {"what": what, "value": value, "unit": unit, "target": target, "met": met, "samples": list(samples)}


def note(text: str) -> None:
    """Tell how far the bench is."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def done(rows: Sequence[dict[str, object]]) -> None:
    """Hand the rows to script/bench."""
    json.dump(list(rows), sys.stdout)


def timed(action: Callable[[], object]) -> float:
    """Seconds that *action* takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


class BenchSite:
    """A site in a folder of its own: configuration, state, logs and an ssh key; images are shared."""

    def __init__(self, folder: Path, *, memory: int, clusters: int = 8) -> None:
        self.folder = folder
        self.images = BASE / "images"
        self.images.mkdir(parents=True, exist_ok=True)
        for path in (BASE, self.images, folder):
            path.chmod(0o755)
        self.key = folder / "id_bench"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self._configure(memory, clusters)

    def _configure(self, memory: int, clusters: int) -> None:
        etc = self.folder / "etc"
        etc.mkdir()
        (etc / "site_conf.conf").write_text(
            f"site_ve_driver = 'libvirt'\n"
            f"state_directory = '{self.folder / 'state'}'\n"
            f"log_directory = '{self.folder / 'log'}'\n"
            f"repository_settings = {{'repository_class': 'local', 'repository_dir': '{self.images}'}}\n"
        )
        (etc / "libvirt.conf").write_text(
            f"public_ips = {self.addresses(clusters)!r}\n"
            f"netmask = '255.255.128.0'\ngw = '198.19.0.1'\ndns = '198.19.0.1'\n"
            f"vlans = range(100, {100 + clusters})\n"
            f"public_network = {{'nat': 'pragma-bench'}}\n"
            f"private_network = '10.201.1.1/16'\n"
            f"cpus_per_node = 1\nmemory = {memory}\ncpu_overcommit = 16\nshutdown_grace = 1\n"
        )

    @staticmethod
    def addresses(count: int) -> list[str]:
        """Public addresses, of a block that is set aside for benchmarks (RFC 2544)."""
        return [f"198.19.{1 + index // 250}.{1 + index % 250}" for index in range(count)]

    @property
    def environment(self) -> dict[str, str]:
        """For `pragma` to find this site."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**ours, "PRAGMA_BOOT_ETC": str(self.folder / "etc"), "NO_COLOR": "1"}

    def pragma(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pragma; ends the bench when it fails."""
        finished = self.try_pragma(*words)
        if finished.returncode != 0:
            sys.exit(f"bench: pragma {' '.join(words)} failed:\n{finished.stderr}")
        return finished

    def try_pragma(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pragma, however it ends."""
        pipe = subprocess.PIPE
        argv = [PRAGMA, *words]
        with subprocess.Popen(
            argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        ) as program:
            try:
                out, err = program.communicate()
            except BaseException:  # told to end: pragma undoes what it was doing
                program.terminate()
                program.communicate()
                raise
        return subprocess.CompletedProcess(argv, program.returncode, out, err)

    def need_image(self, name: str) -> None:
        """Build the image of that flavour unless an earlier bench did."""
        if not (self.images / name).is_dir():
            note(f"building the {name} image")
            self.pragma("image", "build", name, f"flavour={name}")


def quick() -> bool:
    """Whether this is but a trial: everything once, and as small as makes sense."""
    return "--quick" in sys.argv


def rounds(usual: int) -> int:
    """How often to measure: once with ``--quick``."""
    return 1 if quick() else usual


def end_in_order() -> None:
    """Ctrl-C and SIGTERM end the section so that it clears up, once: whatever comes later does not disturb that."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # also for what clears up: a terminal tells all at once
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise SystemExit("bench: ended")

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


@contextmanager
def bench_folder() -> Iterator[Path]:
    """An empty folder that is gone afterwards, however the section ends. Benches on one host take turns."""
    end_in_order()
    BASE.mkdir(parents=True, exist_ok=True)
    with lock(BASE / "bench.lock"):
        clear_up()  # what a bench that was killed has left
        try:
            SITE.mkdir()
            yield SITE
        finally:
            clear_up()


@contextmanager
def bench_site(*, memory: int, clusters: int = 8) -> Iterator[BenchSite]:
    """A site that is gone afterwards, with all its machines and networks."""
    with bench_folder() as folder:
        site = BenchSite(folder, memory=memory, clusters=clusters)
        site.pragma("init")
        yield site


def clear_up() -> None:
    """Remove everything that a bench makes, by its names; images and their like stay for the next one."""
    for name in virsh("list", "--all", "--name"):
        if name.startswith(("bench.", "bench-", "pragma-bench-")):
            virsh("destroy", name)
            virsh("undefine", name)
    for name in virsh("net-list", "--all", "--name"):
        if name.startswith("pragma-bench"):
            virsh("net-destroy", name)
            virsh("net-undefine", name)
    for lock_ in SITE.glob("**/machines/**/*.lock"):  # processes of the driver qemu
        processes.end(lock_, lock_.stem)
    for device in Path("/sys/class/net").iterdir():
        if device.name.startswith(("pbench", "pbt")):
            subprocess.run(["ip", "link", "delete", device.name], capture_output=True, check=False)
    shutil.rmtree(SITE, ignore_errors=True)


def virsh(*words: str) -> list[str]:
    """The lines that virsh prints; none when it fails."""
    argv = ["virsh", "-q", "-c", "qemu:///system", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
