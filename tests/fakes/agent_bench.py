"""A machine of some image, as a fake, and the agent's verbs on it."""

from __future__ import annotations

import json
from pathlib import Path

from fakes import images, machine
from pragma_boot.agent.main import Agent
from pragma_boot.agent.root import LiveRoot
from pragma_boot.model import Allocation
from pragma_boot.network.vc_out import document


class Bench:
    """One machine of an image, with devices, and an agent whose verbs may be called."""

    def __init__(self, top: Path, name: str, index: int = 0, **more: str | bytes | None) -> None:
        self.top = str(top)
        self.cluster: Allocation = images.allocation()
        self.node = self.cluster.nodes[index]
        self.data = document(self.cluster, self.node, (), images.access(self.cluster))
        prefix = "eth" if name in ("busybox", "script") else "ens"
        nics = [(f"{prefix}{number}", nic.mac) for number, nic in enumerate(self.node.nics)]
        machine.build(self.top, images.root(name, **more).tree(), nics)
        self.system = machine.FakeSystem(self.top)
        self.root = LiveRoot(self.top)

    def run(self, verb: str, port: int = 80) -> int:
        return Agent(self.root, self.system, port).run(verb)

    def put(self, data: bytes | None = None) -> Bench:
        self.write("/root/vc-out.xml", self.data if data is None else data)
        return self

    def write(self, path: str, data: bytes | str) -> None:
        place = Path(self.top + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)

    def read(self, path: str) -> str:
        return self.root.read(path).decode()

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.read("/var/lib/pragma-guest/status.json"))
        return found
