"""A cluster of real machines through a cloud: the tests' CloudStack server starts them, their agent does the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.cloudstack import USER, Clock, Cloud, Config, Server, assert_clean, default_site
from live.agent_image import NAME, agent_image
from live.site import PROGRAM, ROOM, Ran, unfit
from pragma_boot.files import lock

PREFIX = "livecloud"
PATIENCE = 240
"""Seconds on a busy host without KVM."""


@dataclass
class CloudSite:
    """A site whose driver is `cloudstack`, and its cloud."""

    root: Path
    cloud: Cloud

    def pragma(self, *words: str) -> Ran:
        env = {**os.environ, "PRAGMA_BOOT_ETC": str(self.root / "etc"), "CLOUDSTACK_SECRET": USER.secretkey,
               "CLOUDSTACK_KEY": USER.apikey}  # fmt: skip
        nothing, limit = subprocess.DEVNULL, 2 * PATIENCE
        done = subprocess.run(
            [PROGRAM, *words], env=env, stdin=nothing, capture_output=True, text=True, timeout=limit, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def told(self, *words: str) -> str:
        """What a command says once it can: an image's ssh may answer before the agent has brought the keys."""
        begin = time.monotonic()
        while (done := self.pragma(*words)).status != 0 and time.monotonic() < begin + PATIENCE:
            time.sleep(1)
        assert done.status == 0, f"{done.err}\n{self.consoles()}"
        return done.out.strip()

    def consoles(self) -> str:
        """What the machines said last."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in (self.root / "machines").glob("*.log"))


@contextmanager
def real_cloud() -> Iterator[CloudSite]:
    """One at a time: its networks are the host's."""
    from fakes.cloudstack.virt import LibvirtHypervisor

    root = ROOM / PREFIX
    with ExitStack() as stack:
        stack.enter_context(lock(ROOM / f"{PREFIX}.lock", wait=4 * PATIENCE))
        document = stack.enter_context(agent_image())
        shutil.rmtree(root, ignore_errors=True)
        for name in ("etc", "machines", "repository"):
            (root / name).mkdir(mode=0o755, parents=True)
        stack.callback(shutil.rmtree, root)
        disk = document.with_suffix(".qcow2")
        real = stack.enter_context(LibvirtHypervisor(PREFIX, root / "machines", {NAME: disk}))
        state = default_site(first_ip="127.77.0.10", templates=[NAME])
        for zone in state.zones.values():
            zone.guestcidr = "10.231.77.0/24"
        cloud = Cloud(
            state, Config(allow_user_expunge=True), clock=Clock(speed=1), hypervisor=real, delays={"default": 0.3}
        )
        server = Server(cloud)
        server.start()
        stack.callback(server.close)
        (root / "repository/vcdb.txt").write_text(f"{NAME},{document}\n")
        (root / "etc/site_conf.conf").write_text(
            f"site_ve_driver = 'cloudstack'\nstate_directory = '{root}/state'\nlog_directory = '{root}/log'\n"
            f"repository_settings = {{'repository_class': 'local', 'repository_dir': '{root}/repository'}}\n"
        )
        (root / "etc/cloudstack.conf").write_text(
            f"baseurl = '{server.url}?'\nzone = 'zone1'\nports = [22]\n"
            f"memory = 256\nwait = {PATIENCE}\nshutdown_grace = 5\n"
        )
        yield CloudSite(root, cloud)
        cloud.check()


@pytest.mark.skipif(unfit() is not None, reason=unfit() or "")
def test_a_cluster_of_a_cloud_comes_up_from_user_data_and_goes_without_a_trace() -> None:
    with real_cloud() as site:
        before = site.cloud.snapshot()
        site.pragma("check", "site").ok()
        assert site.pragma("list", "repository").ok().out == f"VIRTUAL IMAGE\n{NAME}\n"
        booted = site.pragma("boot", str(NAME), "1", "name=lab").ok()
        assert "lab is active: 1 frontend, 1 compute node" in booted.out
        address = site.pragma("list", "cluster", "lab").ok().out.splitlines()[1].split()[-1]
        assert address.startswith("127.77.0.")
        assert site.told("ssh", "lab", "--", "hostname") == "lab.internal"
        assert site.told("ssh", "lab", "--", "ip route show default").startswith("default via 10.231.77.1 ")
        assert site.told("ssh", "lab", "--", "ssh compute-0 hostname") == "compute-0.local"
        assert site.told("ssh", "lab", "compute-0", "--", "hostname") == "compute-0.local"
        assert site.pragma("clean", "lab").status == 1
        site.pragma("shutdown", "lab").ok()
        assert "shutdown" in site.pragma("list", "cluster", "lab").ok().out
        site.pragma("clean", "lab").ok()
        assert_clean(site.cloud, "user", before)
        assert not (site.root / "state/clusters/lab").exists()
        secrets = (USER.secretkey, "BEGIN OPENSSH")
        logs = "".join(path.read_text() for path in (site.root / "log").glob("*.log"))
        assert not [word for word in secrets if word in logs]
