"""A whole site for one test: own configuration, state, repository, NAT network, VLANs and cluster names.

Sites of tests that run at the same time never meet: each holds a number (by a file lock) from which its subnet,
VLANs and names follow.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pragma_boot import accel
from pragma_boot.config.generate import SiteFacts, site_files
from pragma_boot.errors import ClusterBusyError
from pragma_boot.files import StateFolder, lock
from pragma_boot.model import ImageName
from pragma_boot.repository import catalog

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "bin/pragma"
ROOM = Path("/var/tmp/pragma_boot-tests")
"""Where QEMU's own user may read; /tmp/pytest-* is closed to it."""
URI = "qemu:///system"
_SITES = 50
_NETWORKS = list(IPv4Network("198.18.0.0/15").subnets(new_prefix=24))  # set aside for tests (RFC 2544)
_VLANS = 20


def unfit() -> str | None:
    """Why virtual machines cannot be booted here, or None."""
    if os.geteuid() != 0:
        return "live tests need root"
    if accel.emulator() is None:
        return "live tests need QEMU"
    return None


@dataclass(frozen=True)
class Ran:
    """What a command gave back."""

    status: int
    out: str
    err: str

    def ok(self) -> Ran:
        """Itself, when the command went well."""
        assert self.status == 0, f"status {self.status}\n{self.out}\n{self.err}"
        return self


@dataclass(frozen=True)
class LiveSite:
    """The site with number *number* in the folder *root*."""

    number: int
    root: Path

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.root / "state")

    @property
    def prefix(self) -> str:
        return f"live{self.number}"

    @property
    def network(self) -> IPv4Network:
        return _NETWORKS[self.number]

    def name(self, what: str) -> str:
        """A cluster's name that no other site on this host bears."""
        return f"{self.prefix}-{what}"

    def start(self, *args: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `pragma` with *args* on this site; its outputs are pipes."""
        words = [str(PROGRAM), *map(str, args)]
        pipe = subprocess.PIPE
        given = {**os.environ, "PRAGMA_BOOT_ETC": str(self.etc), **(env or {})}
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=given)

    def pragma(self, *args: str | Path, timeout: float = 240, env: dict[str, str] | None = None) -> Ran:
        """Run `pragma` to its end; a hanging one gets SIGINT, as from an impatient user, and fails the test."""
        with self.start(*args, env=env) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(2)
                out, err = process.communicate()
                raise AssertionError(f"pragma {' '.join(map(str, args))} hung\n{out}\n{err}") from None
        return Ran(process.returncode, out, err)

    def configure(self, **changes: object) -> None:
        """Write the configuration; *changes* are lines that are added to libvirt.conf (the last one counts)."""
        hosts = list(self.network.hosts())
        facts = SiteFacts(
            state_directory=self.state.root,
            repository_dir=self.repository,
            log_directory=self.root / "log",
            libvirt_uri=URI,
            nat_network=self.prefix,
            public_ips=(hosts[9], hosts[40]),
            netmask=self.network.netmask,
            gw=hosts[0],
            dns=(IPv4Address("192.0.2.53"),),
            vlans=range(1000 + self.number * _VLANS, 1000 + (self.number + 1) * _VLANS),
            cpus_per_node=1,
            memory_mib=256,
            cpu_overcommit=16,
        )
        self.etc.mkdir(exist_ok=True)
        for name, text in site_files(facts).items():
            (self.etc / name).write_text(text)
        if changes:
            path = self.etc / "libvirt.conf"
            names = tuple(f"{key} =" for key in changes)
            kept = [line for line in path.read_text().splitlines() if not line.startswith(names)]
            path.write_text("\n".join([*kept, *(f"{key} = {value!r}" for key, value in changes.items()), ""]))

    def add_image(self, name: str, document: Path) -> None:
        """Offer an image whose vc-in document is *document*."""
        path = self.repository / "vcdb.txt"
        catalog.add(path, self.repository, ImageName(name), document, self.state.locks)

    def left(self) -> list[str]:
        """All that this site's clusters have left behind, in words; empty when nothing."""
        found = [f"domain {name}" for name in _domains(self.prefix)]
        found += [f"network {name}" for name in _networks(f"pragma-{self.prefix}")]
        for folder in ("clusters", "disks"):
            found += [str(path) for path in (self.state.root / folder).glob("*")]
        found += [str(path) for path in Path("/var/lib/libvirt/qemu").glob(f"**/*{self.prefix}-*")]
        return found

    def clear(self) -> None:
        """Remove whatever is left, behind pragma's back, and the public network."""
        import libvirt

        with _libvirt() as connection:
            for name in _domains(self.prefix):
                domain = connection.lookupByName(name)
                with suppress(libvirt.libvirtError):
                    domain.destroy()
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            for name in (*_networks(f"pragma-{self.prefix}"), *_networks(self.prefix)):
                network = connection.networkLookupByName(name)
                with suppress(libvirt.libvirtError):
                    network.destroy()
                network.undefine()


@contextmanager
def live_site(image: Path) -> Iterator[LiveSite]:
    """A configured site that offers *image* (a vc-in document) under the name `tiny`; removed at the end."""
    with _number() as number:
        site = LiveSite(number, ROOM / f"site-{number}")
        shutil.rmtree(site.root, ignore_errors=True)
        site.repository.mkdir(parents=True)
        try:
            site.configure()
            site.add_image("tiny", image)
            site.pragma("init").ok()
            yield site
        finally:
            site.clear()
            shutil.rmtree(site.root)


@contextmanager
def built_image(flavour: str) -> Iterator[Path]:
    """The vc-in document of a built image (`tiny`, `demo`), made once for each state of its builder's source.

    It stays while the block runs; each build removes those of other states that nobody uses.
    """
    from pragma_boot.build.builder import build_image

    folder = ROOM / "images" / flavour / _source_state()
    document = folder / flavour / f"{flavour}.xml"
    with ExitStack() as used:
        with lock(ROOM / f"{flavour}.lock"):
            used.enter_context(lock(folder.with_suffix(".lock"), shared=True))
            if not document.exists():
                forget_unused(folder.parent)
                shutil.rmtree(folder, ignore_errors=True)
                build_image(flavour, folder, ImageName(flavour))
        yield document


def _source_state() -> str:
    source = CHECKOUT / "src/pragma_boot/build"
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256(b"".join(f"{path.relative_to(source)}\0".encode() + path.read_bytes() for path in files)).hexdigest()[
        :16
    ]


def forget_unused(room: Path) -> None:
    """Remove the folders in *room* whose locks, of the same names, nobody holds."""
    for folder in [path for path in room.iterdir() if path.is_dir()]:
        held = folder.with_suffix(".lock")
        with suppress(ClusterBusyError), lock(held, wait=0):
            shutil.rmtree(folder)
            held.unlink()


@contextmanager
def _number() -> Iterator[int]:
    ROOM.mkdir(mode=0o755, exist_ok=True)
    for number in range(_SITES):
        with (ROOM / f"site-{number}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise AssertionError(f"{_SITES} sites are in use")


@contextmanager
def _libvirt() -> Iterator[object]:
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open(URI)
    try:
        yield connection
    finally:
        connection.close()


def _domains(prefix: str) -> list[str]:
    with _libvirt() as connection:
        return [domain.name() for domain in connection.listAllDomains() if domain.name().startswith(f"{prefix}-")]


def _networks(prefix: str) -> list[str]:
    with _libvirt() as connection:
        names = [network.name() for network in connection.listAllNetworks()]
    return [name for name in names if name == prefix or name.startswith(f"{prefix}-")]
