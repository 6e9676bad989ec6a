"""One account at one cloud: what it offers, and what of it is ours. What does not change is looked up once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pragma_boot import files
from pragma_boot.config.settings import CloudStackSettings
from pragma_boot.driver.cloudstack import names, reading
from pragma_boot.driver.cloudstack.client import ApiError, Client
from pragma_boot.driver.cloudstack.crew import Crew, Task, carried_out
from pragma_boot.driver.cloudstack.journal import Journal
from pragma_boot.driver.cloudstack.reading import Address, Machine, Net, NetworkOffering, Size
from pragma_boot.errors import DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName

_log = logging.getLogger(__name__)

_WITH_OWN = ("self", "selfexecutable", "executable", "all")
"""Filters of templates that let the account's own pass, where `pragma image publish` puts images."""

_TAGGED_AT_ONCE = 50
"""Objects in one createTags: their ids are in one parameter."""


class Cloud:
    """What the parts of the driver work with."""

    def __init__(self, client: Client, settings: CloudStackSettings, state: StateFolder) -> None:
        self.client, self.settings = client, settings
        self.owner = names.owner_of(state.root)
        self.journal = Journal(state)
        self.crew = Crew(client, settings.clusters.parallel)
        self._locks = state.locks

    # ------------------------------------------------------------------------------------------------- what it offers

    @cached_property
    def capabilities(self) -> dict[str, Any]:
        """What the server says of itself."""
        found = self.client.read("listCapabilities").get("capability")
        return found if isinstance(found, dict) else {}

    @property
    def may_expunge(self) -> bool:
        """Whether this account may have destroyed machines gone at once."""
        return str(self.capabilities.get("allowuserexpungerecovervm", "")).lower() == "true"

    @cached_property
    def zone(self) -> dict[str, Any]:
        """The site's zone. Raises DriverError when it is not clear which, or when it cannot have clusters."""
        zones = self.client.rows("listZones", "zone", available=True)
        wanted = self.settings.zone
        found = [zone for zone in zones if wanted in ("", zone.get("name"), zone.get("id"))]
        if len(found) != 1:
            offered = ", ".join(sorted(str(zone.get("name")) for zone in zones))
            what = f"zone {wanted!r} is not there" if wanted else f"there are {len(zones)} zones: which one is not said"
            raise DriverError(
                what, details=f"zones: {offered or 'none'}", resolution="set zone in cloudstack.conf to one"
            )
        zone = found[0]
        if zone.get("networktype") != "Advanced" or str(zone.get("securitygroupsenabled")).lower() == "true":
            raise DriverError(
                f"zone {zone.get('name')} has no isolated networks",
                details=f"network type {zone.get('networktype')}, security groups {zone.get('securitygroupsenabled')}",
                resolution="set zone in cloudstack.conf to an Advanced zone without security groups",
            )
        return zone

    @property
    def zone_id(self) -> str:
        """The zone's id."""
        return str(self.zone["id"])

    @cached_property
    def offering(self) -> NetworkOffering:
        """The network offering. Raises DriverError when clusters cannot use it."""
        name = self.settings.network_offering
        rows = self.client.rows("listNetworkOfferings", "networkoffering", name=name, zoneid=self.zone_id)
        found = [reading.network_offering(row) for row in rows if row.get("name") == name]
        if not found:
            raise DriverError(
                f"zone {self.zone.get('name')} has no network offering {name!r}",
                resolution="set networkoffering in cloudstack.conf to one that the zone has",
            )
        if found[0].faults:
            raise DriverError(
                f"network offering {name!r} does not serve clusters",
                details="; ".join(found[0].faults),
                resolution="set networkoffering in cloudstack.conf to an isolated one with source NAT and user data",
            )
        return found[0]

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """The service offerings that nodes may have. Raises DriverError when one that is named is not there."""
        rows = self.client.rows("listServiceOfferings", "serviceoffering", zoneid=self.zone_id, issystem=False)
        found = reading.sizes(row for row in rows if row.get("state", "Active") == "Active")
        wanted = self.settings.offerings
        missing = sorted(set(wanted) - {size.name for size in found})
        if missing:
            raise DriverError(
                f"there is no service offering {', '.join(map(repr, missing))}",
                details="offerings: " + ", ".join(sorted(size.name for size in found)),
                resolution="mend service_offerings in cloudstack.conf",
            )
        return tuple(size for size in found if not wanted or size.name in wanted)

    def templates(self) -> dict[str, dict[str, Any]]:
        """The newest template of each name that is ready in the zone; the account's own are looked at, too."""
        found: dict[str, dict[str, Any]] = {}
        wanted = self.settings.template_filter
        rows = self.template_rows(wanted)
        if wanted not in _WITH_OWN:
            rows += self.template_rows("selfexecutable")
        for row in rows:
            name = str(row.get("name"))
            if str(row.get("isready")).lower() != "true":
                continue
            older = found.get(name)
            if older and older.get("id") != row.get("id"):
                _log.info("there are several templates %s: the newest is taken", name)
            if older is None or str(row.get("created", "")) > str(older.get("created", "")):
                found[name] = row
        return found

    def template_rows(self, which: str, **more: Any) -> list[dict[str, Any]]:
        """Templates of the zone: lists have a row for each zone, and ignore what old servers do not know."""
        rows = self.client.rows("listTemplates", "template", templatefilter=which, zoneid=self.zone_id, **more)
        return [row for row in rows if row.get("zoneid") in (None, self.zone_id)]

    # ---------------------------------------------------------------------------------------------------- what is ours

    def machines(self, cluster: ClusterName | None = None) -> list[Machine]:
        """This site's machines, or one cluster's."""
        tag = (names.CLUSTER, str(cluster)) if cluster else (names.OWNER, self.owner)
        found = reading.machines(self.client, tags=[{"key": tag[0], "value": tag[1]}])
        return [each for each in found if each.tags.get(names.OWNER) == self.owner and self._of(each.tags, cluster)]

    def networks(self, cluster: ClusterName | None = None) -> list[Net]:
        """This site's networks, or one cluster's."""
        tag = (names.CLUSTER, str(cluster)) if cluster else (names.OWNER, self.owner)
        found = reading.networks(self.client, tags=[{"key": tag[0], "value": tag[1]}])
        return [each for each in found if each.tags.get(names.OWNER) == self.owner and self._of(each.tags, cluster)]

    def addresses(self, cluster: ClusterName) -> list[Address]:
        """One cluster's public addresses. Tags stay on an address that was let go: only those in a network count."""
        found = reading.addresses(self.client, tags=[{"key": names.CLUSTER, "value": str(cluster)}])
        return [each for each in found if each.network and names.is_ours(each.tags, cluster, self.owner)]

    def _of(self, tags: Mapping[str, str], cluster: ClusterName | None) -> bool:
        return cluster is None or tags.get(names.CLUSTER) == cluster

    def machine(self, ident: str) -> Machine | None:
        """A machine as it is now; None when it is not to be seen (any more)."""
        return next(iter(self._try(reading.machines, id=ident)), None)

    def network(self, ident: str) -> Net | None:
        """A network as it is now; None when it is gone."""
        return next(iter(self._try(reading.networks, id=ident)), None)

    def address(self, ident: str) -> Address | None:
        """A public address as it is now; None when it is no longer held."""
        return next(iter(self._try(reading.addresses, id=ident)), None)

    def _try(self, look: Any, **which: Any) -> Any:
        try:
            return look(self.client, **which)
        except ApiError as error:
            if error.gone:
                return []
            raise

    # ----------------------------------------------------------------------------------------------------------- tags

    def tag(self, kind: str, idents: list[str], marks: list[dict[str, str]]) -> Task[None]:
        """Put tags on objects of one kind; those that have them already are left out by the caller."""
        for start in range(0, len(idents), _TAGGED_AT_ONCE):
            some = idents[start : start + _TAGGED_AT_ONCE]

            def there(some: list[str] = some) -> dict[str, Any] | None:
                rows = [self.tags_of(kind, ident) for ident in some]
                return {} if all(row.get(mark["key"]) == mark["value"] for row in rows for mark in marks) else None

            yield from carried_out(self.client, "createTags", there, resourcetype=kind, resourceids=some, tags=marks)

    def tags_of(self, kind: str, ident: str) -> dict[str, str]:
        """An object's tags."""
        rows = self.client.rows("listTags", "tag", resourcetype=kind, resourceid=ident)
        return reading.tags({"tags": rows})

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Look and ask as the only one of this site: of two answers that are lost at once nobody could tell whose is
        whose."""
        with files.lock(self._locks / "cloudstack.lock"):
            yield

    @contextlib.contextmanager
    def using_public(self) -> Iterator[None]:
        """Keep the shared public network while it has nothing of the cluster yet that would keep it."""
        with files.lock(self._locks / "cloudstack-public.lock", shared=True):
            yield

    @contextlib.contextmanager
    def removing_public(self) -> Iterator[None]:
        """Raises ClusterBusyError when somebody begins to use the public network just now."""
        with files.lock(self._locks / "cloudstack-public.lock", wait=0):
            yield
