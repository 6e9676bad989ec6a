"""Domains and networks that come, change and go while we look, on libvirt's own test driver."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Interface
from typing import Any

import pytest

from pragma_boot.config.settings import PublicNetwork
from pragma_boot.driver.libvirt import connection as seam
from pragma_boot.driver.libvirt import domains, marks, networks
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.errors import DriverError
from pragma_boot.model import ClusterName, NodeName, NodeState

A = ClusterName("drv-a")
SITE = "/var/lib/pragma_boot"
MARKS = Marks(SITE, A, vlan=22)
NAT = PublicNetwork("nat", "drv-public")
GATEWAY = IPv4Interface("198.51.100.1/24")


class Meanwhile:
    """A connection beside which another process does *act* after each answer to the calls named *after*."""

    def __init__(self, connection: Any, act: Callable[[], object], *after: str) -> None:
        self._connection, self._act, self._after = connection, act, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in self._after:
            return method

        def call(*words: Any) -> Any:
            answer = method(*words)
            self._act()
            return answer

        return call


def define(connection: Any) -> Any:
    name = marks.domain_name(A, NodeName(A))
    return connection.defineXML(f"""
        <domain type='test'><name>{name}</name><uuid>{marks.uuid_of(SITE, name)}</uuid>
        <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>""")


def forget(network: Any) -> Callable[[], None]:
    """An act that removes the network, once."""

    def act() -> None:
        if network.name() in connection.listDefinedNetworks() + connection.listNetworks():
            network.destroy()
            network.undefine()

    connection = network.connect()
    return act


def test_a_domain_that_starts_between_the_lists_is_found(connection: Any) -> None:
    domain = define(connection)
    late = Meanwhile(connection, lambda: domain.isActive() or domain.create(), "listAllDomains")
    assert [each.state for each in domains.find(late, SITE, A)] == [NodeState.ACTIVE]


def test_a_domain_that_stops_between_the_lists_is_found(connection: Any) -> None:
    domain = define(connection)
    domain.create()
    late = Meanwhile(connection, lambda: domain.isActive() and domain.destroy(), "listAllDomains")
    assert [each.node for each in domains.find(late, SITE, A)] == [A]


def test_a_domain_that_goes_between_the_lists_is_not_told(connection: Any) -> None:
    domain = define(connection)
    late = Meanwhile(connection, lambda: connection.listDefinedDomains() and domain.undefine(), "listAllDomains")
    assert domains.find(late, SITE, A) == []


def test_domains_that_go_while_they_are_read_are_passed_over(connection: Any) -> None:
    before = domains.taken(connection, SITE)
    domain = define(connection)
    late = Meanwhile(connection, lambda: connection.listDefinedDomains() and domain.undefine(), "listAllDomains")
    assert domains.taken(late, SITE) == before
    define(connection)
    assert domains.macs_and_marks(late)[1] == []


def test_a_node_that_is_gone_counts_as_stopped(connection: Any) -> None:
    domain = define(connection)
    domain.create()
    (found,) = domains.find(connection, SITE, A)
    domain.destroy()
    domain.undefine()
    assert list(domains.ask_to_stop(connection, [found], grace=5)) == [found]


@pytest.mark.parametrize("after", ["listAllNetworks", "networkLookupByName"])
def test_a_network_that_goes_while_it_is_read_is_passed_over(connection: Any, after: str) -> None:
    networks.ensure_public(connection, SITE, NAT, GATEWAY)
    late = Meanwhile(connection, forget(connection.networkLookupByName(NAT.name)), after)
    assert GATEWAY.ip not in networks.marks_and_addresses(late)[1] or after != "listAllNetworks"
    assert networks.public_address(late, NAT.name) is None
    assert not networks.remove_public(late, SITE, NAT)


def test_a_public_network_that_goes_while_it_is_checked_is_made_again(connection: Any) -> None:
    networks.ensure_public(connection, SITE, NAT, GATEWAY)
    late = Meanwhile(connection, forget(connection.networkLookupByName(NAT.name)), "networkLookupByName")
    assert networks.ensure_public(late, SITE, NAT, GATEWAY)
    assert connection.networkLookupByName(NAT.name).isActive()


def test_a_private_network_that_goes_while_it_is_checked_is_made_again(connection: Any) -> None:
    networks.ensure_private(connection, MARKS)
    name = marks.network_name(A)
    late = Meanwhile(connection, forget(connection.networkLookupByName(name)), "networkLookupByName")
    networks.ensure_private(late, MARKS)
    assert connection.networkLookupByName(name).isActive()


class Started:
    """A network that another process starts just before we do."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.name = network.name
        self._asked = False

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        asked, self._asked = self._asked, True
        return asked and bool(self._network.isActive())

    def create(self) -> None:
        self._network.create()
        self._network.create()


def test_a_network_that_another_command_starts_just_then_is_started(connection: Any) -> None:
    made = connection.networkDefineXML("<network><name>drv-n</name><bridge name='drvn'/></network>")
    networks.activate(Started(made))
    assert made.isActive()


def error_of(domain: str, number: int) -> Exception:
    """libvirt's error for a system call that failed in its part *domain*."""
    libvirt = pytest.importorskip("libvirt")
    error = libvirt.libvirtError("it failed")
    error.err = (libvirt.VIR_ERR_SYSTEM_ERROR, getattr(libvirt, domain), "it failed", 2, "", None, None, number, -1)
    return error


def test_a_daemon_without_a_system_bus_is_mended_there() -> None:
    error = error_of("VIR_FROM_DBUS", 0)
    error.err = (1, *error.err[1:])  # VIR_ERR_INTERNAL_ERROR, which by itself says nothing
    with pytest.raises(DriverError) as caught, seam.explained("connect"):
        raise error
    assert "dbus" in str(caught.value.resolution)


@pytest.mark.parametrize(
    ("domain", "number", "mend"),
    [
        ("VIR_FROM_RPC", errno.ENOENT, "start the daemon"),
        ("VIR_FROM_RPC", errno.EACCES, "join the group"),
        ("VIR_FROM_CGROUP", errno.ENOENT, "/sys/fs/cgroup"),
        ("VIR_FROM_QEMU", errno.ENOENT, "pragma check site"),
        ("VIR_FROM_STORAGE", errno.ENOSPC, "free some disk space"),
    ],
)
def test_a_system_error_is_mended_where_it_came_from(domain: str, number: int, mend: str) -> None:
    with pytest.raises(DriverError) as caught, seam.explained("start a.frontend"):
        raise error_of(domain, number)
    assert mend in str(caught.value.resolution)
