"""Things in a cloud with one call each, made through its API as a client would."""

from __future__ import annotations

from typing import Any

from .client import Client
from .cloud import Cloud
from .site import ADMIN, FOREIGN, NAT_OFFERING, USER
from .state import State

Row = dict[str, Any]


class Scene:
    """A cloud, a client of each account, and the ids of what the default site has, by name."""

    def __init__(self, cloud: Cloud | None = None, **options: Any) -> None:
        self.cloud = cloud or Cloud(**options)
        self.user = Client(self.cloud, USER)
        self.admin = Client(self.cloud, ADMIN)
        self.foreign = Client(self.cloud, FOREIGN)

    @property
    def state(self) -> State:
        return self.cloud.state

    def id(self, table: str, name: str) -> str:
        """The id of the row *name*; KeyError when there is none."""
        for row in getattr(self.state, table).values():
            if row.name == name and not getattr(row, "removed", False):
                return str(row.id)
        raise KeyError(f"{table} {name}")

    def network(self, name: str = "private", gateway: str = "10.5.0.1", **more: Any) -> Row:
        wanted = {
            "networkofferingid": self.id("network_offerings", more.pop("offering", NAT_OFFERING)),
            "zoneid": self.id("zones", "zone1"),
            "netmask": "255.255.255.0",
            **more,
        }
        made: Row = self.user.ok("createNetwork", name=name, gateway=gateway, **wanted)["network"]
        return made

    def wanted(self, name: str, *networks: Row, **more: Any) -> Row:
        """Parameters of deployVirtualMachine."""
        given: Row = {
            "name": name,
            "zoneid": self.id("zones", "zone1"),
            "templateid": self.id("templates", more.pop("template", "frontend")),
            "serviceofferingid": self.id("service_offerings", more.pop("offering", "Small")),
        }
        if networks:
            given["networkids"] = ",".join(one["id"] for one in networks)
        return given | more

    def machine(self, name: str, *networks: Row, startvm: bool = False, **more: Any) -> Row:
        """Made, and started if so wished; as the job's result shows it."""
        result = self.user.done("deployVirtualMachine", **self.wanted(name, *networks, startvm=startvm, **more))
        made: Row = result["virtualmachine"]
        return made

    def start(self, machine: Row) -> Row:
        made: Row = self.user.done("startVirtualMachine", id=machine["id"])["virtualmachine"]
        return made

    def address(self, network: Row) -> Row:
        made: Row = self.user.done("associateIpAddress", networkid=network["id"])["ipaddress"]
        return made

    def spare(self, network: Row) -> Row:
        """An address that is not the network's source NAT."""
        made = self.address(network)
        return self.address(network) if made["issourcenat"] else made

    def tag(self, kind: str, ident: str, key: str, value: str) -> None:
        self.user.done("createTags", resourcetype=kind, resourceids=ident, tags__0__key=key, tags__0__value=value)
