"""Any commands in any order, with faults between them: the cloud never breaks, and never gives a thing to two."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fakes.cloudstack import NAT_OFFERING, Cloud, Config, Refused, default_site
from fakes.cloudstack.registry import COMMANDS, Param
from fakes.cloudstack.scene import Scene

_WORDS = {
    "protocol": ("tcp", "udp", "icmp", "all"),
    "resourcetype": ("UserVm", "Network", "PublicIpAddress"),
    "templatefilter": ("executable", "self"),
    "name": ("vc1", "vc2", "vc3", "g"),
    "type": ("host anti-affinity", "host affinity"),
    "publickey": (f"ssh-ed25519 {'AAAA' * 17}",),
    "userdata": ("QUJD", "QUJE"),
    "url": ("http://a.example/b", "http://a.example/missing"),
    "gateway": ("10.5.0.1", "10.6.0.1"),
    "netmask": ("255.255.255.248",),
    "cidrlist": ("0.0.0.0/0",),
    "format": ("QCOW2",),
    "hypervisor": ("KVM",),
    "affinitygroupnames": ("g",),
}
_OFTEN = {"startvm": 0.5, "networkids": 0.95, "networkid": 0.95, "expunge": 0.7, "zoneid": 1, "id": 0.9}
_OFTEN |= {"gateway": 0.8, "netmask": 0.8, "affinitygroupnames": 0.3, "ostypeid": 1, "resourceids": 1}
_USUAL = ("zone1", "frontend", "compute", "Small", "Large", NAT_OFFERING, "IsolatedEgressAllow", "IsolatedPersistent")
_WRITES = [name for name in COMMANDS if not name.startswith(("list", "query"))]
_MOSTLY = (
    *("createNetwork", "deployVirtualMachine", "startVirtualMachine", "associateIpAddress", "enableStaticNat"),
    *("createPortForwardingRule", "createFirewallRule", "addNicToVirtualMachine"),
)
_BESIDE = ("restart", "jump", "full", "steal", "power")


class Walk:
    """A client that has lost its senses, always in the same way for a seed."""

    def __init__(self, seed: int, version: str) -> None:
        site = default_site(vlans=3, public_ips=4, storage=12)
        self.rng = random.Random(seed)
        config = Config(version, allow_user_expunge=bool(seed % 2), network_gc_interval=60, network_gc_wait=60)
        self.scene = Scene(Cloud(site, config, seed=seed))
        self.ended: Counter[str] = Counter()

    def value(self, command: str, param: Param) -> str | None:
        if param.name in _WORDS:
            return self.rng.choice(_WORDS[param.name])
        table = param.table or {"resourceids": "machines"}.get(param.name)
        if table:
            rows = getattr(self.scene.state, table)
            me = self.scene.cloud.account("user").id
            usual = [key for key, row in rows.items() if getattr(row, "name", "") in _USUAL]
            own = [key for key, row in rows.items() if getattr(row, "account", "") == me]
            alive = [key for key in own if not getattr(rows[key], "removed", False)]
            some = [alive, usual if table not in ("machines", "networks") else [], own, list(rows)]
            return self.rng.choice(next((one for one in some if one and self.rng.random() < 0.9), ["nothing"]))
        if param.form == "int":
            return str(self.rng.choice((22, 80, 22)))
        return self.rng.choice(("true", "false")) if param.form == "bool" else "word"

    def step(self) -> None:
        name = self.rng.choice(self.rng.choice((_MOSTLY, _WRITES, _WRITES, list(COMMANDS))))
        params = {}
        for param in COMMANDS[name].params.values():
            if param.form == "map":
                if param.required:
                    params["tags[0].key"], params["tags[0].value"] = "k", self.rng.choice("vw")
            elif param.required or self.rng.random() < _OFTEN.get(param.name, 0):
                params[param.name] = self.value(name, param)
        if self.rng.random() < 0.03:
            machine = self.rng.choice(("vc1", "vc2"))
            action = self.rng.choice(_BESIDE)
            extra = {"machine": machine, "text": self.rng.choice(("Stopped", "Running"))} if action == "power" else {}
            self.scene.cloud.faults.add(action, seconds=self.rng.choice((0, 30)), **extra)
        if self.rng.random() < 0.05:
            self.scene.cloud.faults.add(self.rng.choice(("fail", "die", "slow")), phase="execute", seconds=5)
        try:
            self.scene.user.ok(name, **params)
            self.ended[name] += 1
        except Refused as error:
            assert error.text != "the fake failed"
        self.scene.cloud.advance(self.rng.choice((0, 0.5, 3, 20)))
        self.sound()

    def sound(self) -> None:
        state = self.scene.state
        machines = [one for one in state.machines.values() if not one.removed]
        nics = [(nic.networkid, nic.ip) for one in machines for nic in one.nics if nic.ip]
        macs = [nic.mac for one in machines for nic in one.nics]
        vlans = [one.vlan for one in state.networks.values() if one.vlan and not one.removed]
        routed = [one.networkid for one in state.routers.values()]
        for held in (nics, macs, vlans, routed):
            assert max(Counter(held).values(), default=1) == 1
        for network in state.networks.values():
            addresses = [one for one in state.addresses.values() if one.networkid == network.id]
            assert sum(one.sourcenat for one in addresses) <= 1
            assert not (network.removed and (addresses or network.id in routed))
            assert (network.state == "Implemented") <= (network.id in routed)
            assert (network.id in routed) <= (network.state in ("Implemented", "Shutdown"))
            assert not (network.removed and any(one.nic_on(network.id) for one in machines))
        for one in machines:
            assert (one.state in ("Running", "Stopping")) <= (one.hostid is not None)
            assert one.account == self.scene.cloud.account("foreign").id or one.name != "vc1x"
        for address in state.addresses.values():
            assert (address.state == "Free") == (address.account is None)


@pytest.fixture(scope="module")
def ended() -> set[str]:
    """What any walk has brought to an end."""
    return set()


@pytest.mark.parametrize("seed", range(4))
def test_a_walk(seed: int, ended: set[str]) -> None:
    walk = Walk(seed, "4.23.0.0" if seed else "4.11.3.0")
    for _ in range(300):
        walk.step()
    walk.scene.cloud.faults.clear()
    walk.scene.cloud.settle(86400)
    walk.sound()
    walk.scene.cloud.check()
    ended |= set(walk.ended)


def test_walks_get_everywhere(ended: set[str]) -> None:
    """What walks never bring to an end would not be tried by them."""
    if not ended:
        pytest.skip("the walks did not run in this process: run the whole file")
    assert len(set(COMMANDS) - ended) < 10
    assert {*_MOSTLY, "stopVirtualMachine", "destroyVirtualMachine", "expungeVirtualMachine", "deleteNetwork"} <= ended
