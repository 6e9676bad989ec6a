"""What tests hold: an emulated site in a folder, its programs, its faults, and what is left on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .emulator import machines
from .emulator.main import serve
from .emulator.model import Dataset, State
from .emulator.reference import reference
from .emulator.store import Store

_HERE = Path(__file__).resolve().parent
_PROGRAMS = {"rocks": "main", "ssh": "remote", "zfs": "zfs"}
_FURNITURE = ("bin", "sbin", "lib", "lib64", "lib32", "libx32", "dev", "etc", "proc", "usr")
"""Top folders of a host that hold nothing of clusters; its devices show as volumes."""
_LAUNCHER = """#!{python} -IS
import sys
sys.path.insert(0, {here!r})
from emulator.{module} import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Ran:
    """What a program gave back."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class RocksSite:
    """An emulated site; `bin` has its rocks, ssh and zfs, which need no environment to find it."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, version: str = "7.0", *, local: bool = True, **facts: Any) -> RocksSite:
        """A new site (facts: of `reference`).

        local: disks and devices have paths inside the folder, the same on all hosts, so that the physical frontend's
        ones can be used on this machine without ssh. Otherwise they are as on a real site.
        """
        folder = folder.resolve()
        hosts = folder / "hosts"
        partition = f"{hosts}/{{host}}/state/partition1" if local else None
        state = reference(version, partition=partition, **facts)
        if local:
            state.options.devices = f"{hosts}/{{host}}/dev"
        for name in ("bin", "console"):
            (folder / name).mkdir(parents=True)
        (folder / "state.json").write_text(state.dump())
        for program, module in _PROGRAMS.items():
            path = folder / "bin" / program
            python = os.path.realpath(sys.executable)
            path.write_text(_LAUNCHER.format(python=python, here=str(_HERE), module=module))
            path.chmod(0o755)
        site = cls(folder)
        for node in state.nodes:
            site._make_root(node.name, list(node.partitions))
        return site

    @property
    def bin(self) -> Path:
        """To be put first in PATH."""
        return self.folder / "bin"

    @property
    def rocks(self) -> Path:
        """The program `rocks`."""
        return self.bin / "rocks"

    def run(self, *words: str, program: str = "rocks", stdin: bytes = b"") -> Ran:
        """Run one of the site's programs to its end."""
        done = subprocess.run([self.bin / program, *words], input=stdin, capture_output=True, check=False)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def call(self, *words: str) -> Ran:
        """A call of `rocks` within this process: the same, without the time that a program takes to start."""
        return Ran(*serve(Store(self.folder), words))

    def state(self) -> State:
        """The site as it is now; changing it changes nothing."""
        with self.change() as state:
            return State.load(state.dump())

    @contextmanager
    def change(self) -> Iterator[State]:
        """Change the site behind everybody's back."""
        with Store(self.folder).locked() as state:
            yield state

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, with what happens meanwhile."""
        store = Store(self.folder)
        with store.locked():
            store.advance(seconds)

    def faults(self, *rules: dict[str, Any]) -> None:
        """From now on let this go wrong (README.md); none: nothing."""
        (self.folder / "faults.seen").unlink(missing_ok=True)
        (self.folder / "faults.json").write_text(json.dumps(rules))

    def calls(self, program: str = "rocks") -> list[dict[str, Any]]:
        """The finished calls of a program, in order: argv, rc, stdout, stderr, seconds."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call["program"] == program]

    def forget_calls(self) -> None:
        """Begin the log anew."""
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    def add_host(self, name: str, partition: str) -> None:
        """The root folder of a host that was added to the state."""
        self._make_root(name, [partition])

    def add_zvol(self, name: str, size: int, *, nas: str = "nas-0-0", content: Path | None = None) -> Path:
        """A volume ``pool/name`` of *size* bytes on a NAS, as if made by hand there; returns its file."""
        path = self.folder / "hosts" / nas / "dev/zvol" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content:
            subprocess.run(["cp", "--sparse=always", content, path], check=True)
        with path.open("ab") as file:
            file.truncate(size)
        with self.change() as state:
            state.datasets.append(Dataset(nas, name, size))
        return path

    def inventory(self) -> list[str]:
        """All that a cluster could leave behind, in words; equal before and after when it left nothing."""
        state = self.state()
        names = {node.id: node.name for node in state.nodes}
        found = [f"vm {node.name}" for node in state.nodes if node.vm]
        found += [
            f"vlan {names[row.node]} {row.vlan}" for row in state.interfaces if row.vlan and not _is_vm(state, row.node)
        ]
        found += [f"domain {host}:{vm}" for host, domains in state.domains.items() for vm in domains]
        found += [f"dataset {row.nas}:{row.name}" for row in state.datasets]
        found += [f"volume {row.nas}:{row.name} {row.state} {row.remotehost or ''}" for row in state.volumes]
        for host in (self.folder / "hosts").iterdir():
            for path in host.rglob("*"):
                inside = path.relative_to(host)
                if path.is_file() and inside.parts[0] not in _FURNITURE:
                    found.append(f"file {host.name}:/{inside}")
        return sorted(found)

    def clear(self) -> None:
        """End the real machines and networks of a site that has some."""
        store = Store(self.folder)
        with store.locked() as state:
            real = bool(state.options.libvirt)
        if real:
            machines.clear(store)

    def _make_root(self, host: str, mounts: list[str]) -> None:
        root = self.folder / "hosts" / host
        for name in ("root", "tmp", "etc", "dev", "var/lock"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for mount in mounts:
            inside = Path(mount) if Path(mount).is_relative_to(self.folder) else root / mount.lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(Path("/", name).readlink())
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nqemu:x:107:107:qemu:/:/sbin/nologin\n")
        (root / "etc/group").write_text("root:x:0:\nkvm:x:36:qemu\nqemu:x:107:\n")


def _is_vm(state: State, number: int) -> bool:
    return any(node.id == number and node.vm for node in state.nodes)
