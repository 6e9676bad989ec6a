"""Further networks of the site for a cluster that is to be: looked at before anything is locked, and planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pragma_boot.cluster.site import Site
from pragma_boot.model import InUse, Plan
from pragma_boot.network import extra


def check(site: Site, options: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the networks that a boot's *options* ask for.

    Raises UsageError or NotAvailableError for what can be told without knowing which addresses are free.
    """
    settings = site.settings.clusters
    wanted = extra.wishes(options, settings.ent)
    extra.check(wanted, settings.networks)
    return tuple(wish.network for wish in wanted)


def add(site: Site, plan: Plan, options: Mapping[str, str], used: InUse) -> Plan:
    """The plan with these networks, as things stand: their addresses are neither *used* nor of its other networks.

    Raises UsageError, NotAvailableError or CapacityError.
    """
    settings = site.settings.clusters
    wanted = extra.wishes(options, settings.ent)
    if not wanted:
        return plan
    others = {"private network": plan.private_network.network, "public network": site.driver.public_side().network}
    chosen = extra.choose(wanted, settings.networks, nodes=len(plan.nodes), taken=used.extra, others=others)
    return replace(plan, extra=chosen)
