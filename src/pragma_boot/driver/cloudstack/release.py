"""Give back everything of a cluster, from any half-way point, and nothing else (cloudstack.md c.3).

Ours is what bears our tags, what the journal names, and what is in the cluster's own private network. What cannot be
removed is told with its id; what the cloud itself removes later (machines that this account may not expunge, and the
networks that they keep) is told with the time, and the next `release` finishes it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pragma_boot.driver.cloudstack import names, network, outside, reading
from pragma_boot.driver.cloudstack.client import ApiError
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import Task, carried_out
from pragma_boot.driver.cloudstack.journal import Note
from pragma_boot.driver.cloudstack.reading import Address, Machine, Net
from pragma_boot.errors import ClusterBusyError, DriverError, PendingError, PragmaError
from pragma_boot.model import ClusterName

_log = logging.getLogger(__name__)

_GONE = ("Destroyed", "Expunging")
_AGAIN = 5.0
_TRIES = 24
"""A network is asked to go once every _AGAIN seconds while the cloud still takes machines out of it."""
_DELAY = 86400.0
"""Seconds after which clouds expunge what was destroyed, by default."""


class Release:
    """One `release`."""

    def __init__(self, cloud: Cloud, cluster: ClusterName) -> None:
        self._cloud, self._cluster = cloud, cluster
        self._note = cloud.journal.read(cluster) or Note()
        self._failures: dict[str, PragmaError] = {}

    def run(self) -> None:
        """The contract's `release`. Raises DriverError with all that is left, or PendingError."""
        cloud = self._cloud
        try:
            private = network.find_private(cloud, self._cluster)
            public = self._public()
            machines = self._machines(private)
            addresses = self._addresses(public)
        except DriverError as error:
            raise self._blind(error) from error
        self._attempt(self._address_tasks(addresses) | self._rule_tasks(public, machines))
        self._attempt({f"machine {each.name} ({each.id})": partial(self._destroy, each) for each in machines})
        group = self._note.group
        if group:
            self._attempt({f"affinity group {group}": partial(self._ungroup, group)})
        pending = self._pending()
        if private and not self._failures:
            self._remove_network(private, pending)
        waits = bool(pending and private and cloud.network(private.id))
        if public and not self._failures and not waits:
            self._leave_public(public)
        if self._failures:
            raise self._left(private, public)
        if waits and private:
            raise self._waiting(private)
        cloud.journal.drop(self._cluster)

    # ------------------------------------------------------------------------------------------------- what there is

    def _public(self) -> Net | None:
        found = self._cloud.network(self._note.public) if self._note.public else None
        return found or network.find_public(self._cloud)

    def _machines(self, private: Net | None) -> list[Machine]:
        """All machines of the cluster that are to be seen: by tags, by the journal, by their names in its network.

        Others that somebody put into its network are not ours: the network stays as long as they, and that is told.
        """
        cloud = self._cloud
        found = {each.id: each for each in cloud.machines(self._cluster)}
        if private:
            inside = reading.machines(cloud.client, networkid=private.id)
            found |= {each.id: each for each in inside if self._may_be_ours(each)}
        for ident in self._note.machines.values():
            if ident not in found and (each := cloud.machine(ident)):
                found[ident] = each
        there = found.values()
        return [each for each in there if each.state not in _GONE or (each.state == "Destroyed" and cloud.may_expunge)]

    def _may_be_ours(self, machine: Machine) -> bool:
        owner = machine.tags.get(names.OWNER, self._cloud.owner)
        return owner == self._cloud.owner and names.node_of(self._cluster, machine.name) is not None

    def _addresses(self, public: Net | None) -> list[Address]:
        cloud, note = self._cloud, self._note
        found = {each.id: each for each in cloud.addresses(self._cluster)}
        noted = cloud.address(note.address) if note.address else None
        there = noted and noted.network == (note.public or noted.network) and not noted.source_nat
        if there and noted and outside.is_still_of(cloud, self._cluster, noted):
            found[noted.id] = noted
        if note.before is not None and not note.address and public:
            strays = outside.strays(cloud, public.id, note.before)
            if len(strays) == 1:
                found[strays[0].id] = strays[0]
            elif strays:
                ids = ", ".join(f"{each.ip} ({each.id})" for each in strays)
                self._failures["addresses"] = DriverError(
                    f"one of these may be of {self._cluster}, and nobody can tell which: {ids}",
                    resolution="release those of them that nobody uses",
                )
        return list(found.values())

    # ------------------------------------------------------------------------------------------------------- removing

    def _attempt(self, tasks: dict[str, Callable[[], Task[None]]]) -> None:
        self._failures |= self._cloud.crew.run(tasks, go_on=True).failures

    def _address_tasks(self, addresses: Iterable[Address]) -> dict[str, Callable[[], Task[None]]]:
        return {f"address {each.ip} ({each.id})": partial(self._let_go, each) for each in addresses}

    def _let_go(self, address: Address) -> Task[None]:
        """Our tags first: they stay on the address, and the next who has it would see them (I#6620)."""
        cloud = self._cloud
        if names.OWNER in address.tags:
            mine = [{"key": key} for key in (names.CLUSTER, names.OWNER, names.ROLE) if key in address.tags]

            def untagged() -> dict[str, Any] | None:
                return None if names.OWNER in cloud.tags_of("PublicIpAddress", address.id) else {}

            yield from self._tolerant(
                "deleteTags", untagged, resourcetype="PublicIpAddress", resourceids=[address.id], tags=mine
            )

        def free() -> dict[str, Any] | None:
            return None if cloud.address(address.id) else {}

        yield from self._tolerant("disassociateIpAddress", free, id=address.id)

    def _rule_tasks(self, public: Net | None, machines: list[Machine]) -> dict[str, Callable[[], Task[None]]]:
        """Ports of the shared address: the rules that lead to a machine of ours."""
        cloud = self._cloud
        shared = outside.shared_address(cloud, public) if public and public.kind == "Isolated" else None
        if shared is None:
            return {}
        ours = {each.id for each in machines} | set(self._note.machines.values())
        rows = cloud.client.rows("listPortForwardingRules", "portforwardingrule", ipaddressid=shared.id)
        idents = [str(row["id"]) for row in rows if row.get("virtualmachineid") in ours]
        return {f"port forwarding {ident}": partial(self._unforward, ident, shared) for ident in idents}

    def _unforward(self, ident: str, shared: Address) -> Task[None]:
        def gone() -> dict[str, Any] | None:
            rows = self._cloud.client.rows("listPortForwardingRules", "portforwardingrule", ipaddressid=shared.id)
            return None if any(row.get("id") == ident for row in rows) else {}

        yield from self._tolerant("deletePortForwardingRule", gone, id=ident)

    def _destroy(self, machine: Machine) -> Task[None]:
        """Have a machine gone; without the right to expunge it is only destroyed, and goes later."""
        cloud = self._cloud

        def gone() -> dict[str, Any] | None:
            found = cloud.machine(machine.id)
            return {} if found is None or (found.state in _GONE and not cloud.may_expunge) else None

        if machine.state in _GONE:
            yield from self._tolerant("expungeVirtualMachine", gone, id=machine.id)
            return
        expunge = True if cloud.may_expunge else None
        if expunge is None:
            cloud.journal.note(self._cluster, pending=self._note.pending or cloud.client.clock.wall())
        yield from self._tolerant("destroyVirtualMachine", gone, id=machine.id, expunge=expunge)

    def _ungroup(self, group: str) -> Task[None]:
        def gone() -> dict[str, Any] | None:
            rows = self._cloud.client.rows("listAffinityGroups", "affinitygroup")
            return None if any(row.get("id") == group for row in rows) else {}

        yield from self._tolerant("deleteAffinityGroup", gone, id=group)

    def _tolerant(self, command: str, gone: Callable[[], dict[str, Any] | None], **parameters: Any) -> Task[None]:
        """Have something removed; that it is not there any more is as good."""
        try:
            yield from carried_out(self._cloud.client, command, gone, **parameters)
        except PragmaError:
            if gone() is None:
                raise

    # ------------------------------------------------------------------------------------------------------- networks

    def _remove_network(self, net: Net, pending: bool) -> None:
        """Delete a network; while machines leave it the cloud refuses, with the same words as for every other cause."""
        for attempt in range(1 if pending else _TRIES):
            if attempt:
                self._cloud.client.clock.pause(_AGAIN)
            outcome = self._cloud.crew.run({f"network {net.name} ({net.id})": partial(self._delete, net)})
            failure = next(iter(outcome.failures.values()), None)
            if failure is None:
                return
            if not isinstance(failure, ApiError):
                break
        if not pending:
            self._failures |= outcome.failures

    def _delete(self, net: Net) -> Task[None]:
        def gone() -> dict[str, Any] | None:
            return None if self._cloud.network(net.id) else {}

        yield from self._tolerant("deleteNetwork", gone, id=net.id)

    def _is_ours(self, public: Net) -> bool:
        return not self._cloud.settings.public_network and network.is_ours(self._cloud, public)

    def _leave_public(self, public: Net) -> None:
        """Remove the shared network with its last cluster, where this site made it. Others decide for themselves."""
        cloud = self._cloud
        if not self._is_ours(public):
            return
        with contextlib.suppress(ClusterBusyError), cloud.removing_public():
            if reading.machines(cloud.client, networkid=public.id):
                return
            held = reading.addresses(cloud.client, associatednetworkid=public.id)
            if any(not each.source_nat for each in held):
                return
            waiting = any(names.PENDING in net.tags for net in cloud.networks())
            if not waiting:
                self._remove_network(public, pending=False)

    # ------------------------------------------------------------------------------------------------------------ end

    def _pending(self) -> bool:
        """Whether machines are destroyed that this account may not expunge."""
        note = self._cloud.journal.read(self._cluster)
        return bool(note and note.pending) and not self._cloud.may_expunge

    def _blind(self, error: DriverError) -> DriverError:
        """The cloud does not show what it has: what we know of it."""
        note = self._note
        known = {"network": note.private, "address": note.address, "affinity group": note.group}
        known |= {f"machine {name}": ident for name, ident in note.machines.items()}
        told = [f"{what} {ident}" for what, ident in known.items() if ident]
        return DriverError(
            error.message,
            details="\n".join([error.details or "", *(["it was asked for:", *told] if told else [])]).strip(),
            resolution=error.resolution,
        )

    def _left(self, private: Net | None, public: Net | None) -> DriverError:
        """What could not be removed, each with its id, and what stays because of it."""
        told = [
            f"{what}: {error.message}" + (f" ({error.details})" if error.details else "")
            for what, error in sorted(self._failures.items())
        ]
        ours = public if public and self._is_ours(public) else None
        told += [
            f"network {net.name} ({net.id}): stays as long as the above"
            for net in (private, ours)
            if net and not any(net.id in what for what in self._failures) and self._cloud.network(net.id)
        ]
        return DriverError(
            f"the cloud still has something of {self._cluster}",
            details="\n".join(told),
            resolution=f"see what the cloud says; then: pragma clean {self._cluster}",
        )

    def _waiting(self, private: Net) -> PendingError:
        """The network stays until the cloud has expunged the machines that were in it; it says so in a tag."""
        cloud = self._cloud
        note = cloud.journal.read(self._cluster) or Note()
        until = datetime.fromtimestamp((note.pending or cloud.client.clock.wall()) + _DELAY, UTC)
        if names.PENDING not in private.tags:
            mark = [{"key": names.PENDING, "value": until.strftime("%Y-%m-%dT%H:%M:%SZ")}]
            with contextlib.suppress(PragmaError):
                cloud.crew.one(cloud.tag("Network", [private.id], mark))
        return PendingError(
            f"network {private.name} ({private.id}) of {self._cluster} stays until the cloud has expunged its machines",
            details=f"this account may not expunge; clouds do so after a day, by default: {until:%Y-%m-%d %H:%M} UTC",
            resolution=f"after that: pragma clean {self._cluster}",
        )
