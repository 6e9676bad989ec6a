"""All that the cloud remembers, as tables of rows; a copy of it is a plain tree of values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .model import (
    Account,
    Address,
    AffinityGroup,
    Host,
    Job,
    KeyPair,
    Machine,
    Network,
    NetworkOffering,
    Nic,
    Router,
    Rule,
    ServiceOffering,
    Tag,
    Template,
    UserData,
    Zone,
)


@dataclass
class State:
    """All rows by id."""

    accounts: dict[str, Account] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=dict)
    network_offerings: dict[str, NetworkOffering] = field(default_factory=dict)
    service_offerings: dict[str, ServiceOffering] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    ostypes: dict[str, str] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    keypairs: dict[str, KeyPair] = field(default_factory=dict)
    userdata: dict[str, UserData] = field(default_factory=dict)
    groups: dict[str, AffinityGroup] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    machine_number: int = 10

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> State:
        made = cls()
        for name, kind in _TABLES.items():
            setattr(made, name, {key: kind(**row) for key, row in data[name].items()})
        for machine in made.machines.values():
            machine.nics = [Nic(**nic) for nic in machine.nics]  # type: ignore[arg-type]
        made.ostypes = dict(data["ostypes"])
        made.machine_number = data["machine_number"]
        return made


_TABLES: dict[str, Any] = {
    "accounts": Account,
    "zones": Zone,
    "network_offerings": NetworkOffering,
    "service_offerings": ServiceOffering,
    "templates": Template,
    "networks": Network,
    "routers": Router,
    "machines": Machine,
    "addresses": Address,
    "rules": Rule,
    "tags": Tag,
    "keypairs": KeyPair,
    "userdata": UserData,
    "groups": AffinityGroup,
    "hosts": Host,
    "jobs": Job,
}
