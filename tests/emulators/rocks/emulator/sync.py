"""The commands `sync …`: they leave a note each, and always say that they went well."""

from __future__ import annotations

from .call import Call, command
from .hosts import resolve


@command("sync config")
def sync_config(call: Call) -> None:
    """Write all of the site's files anew."""
    call.state.syncs.append("config")


@command("sync host network", "[host]...")
def sync_host_network(call: Call) -> None:
    """Restart networking on hosts; those that do not answer show on standard error only."""
    for node in resolve(call.state, call.args):
        if node.vm or node.name in call.state.down:
            call.err.append(f"Error running: /sbin/service network restart\n{node.name} returned error code 65280\n")
        call.state.syncs.append(f"network {node.name}")
    call.state.syncs.append("config")


@command("sync host vlan", "[host]...")
def sync_host_vlan(call: Call) -> None:
    """Make VLAN devices on hosts."""
    call.state.syncs += [f"vlan {node.name}" for node in resolve(call.state, call.args)]
