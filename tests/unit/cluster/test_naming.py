from ipaddress import IPv4Address

import pytest

from pragma_boot.cluster import naming
from pragma_boot.errors import CapacityError
from pragma_boot.model import ClusterName, ImageName, InUse

POOL = (IPv4Address("198.51.100.10"), IPv4Address("198.51.100.11"))


def choose(
    name: str | None = None, fqdn: str | None = None, clusters: tuple[str, ...] = (), taken: int = 0
) -> naming.Identity:
    used = InUse(addresses=frozenset(POOL[:taken]), clusters=frozenset(map(ClusterName, clusters)))
    wanted = ClusterName(name) if name else None
    return naming.choose(ImageName("demo"), wanted, POOL, used=used, domain="internal", lookup=lambda _: fqdn)


def test_a_given_name_wins() -> None:
    assert choose(name="mine", fqdn="vc1.example.org").cluster == "mine"


def test_else_reverse_dns_names_it() -> None:
    found = choose(fqdn="vc1.example.org")
    assert (found.cluster, found.fqdn) == ("vc1", "vc1.example.org")


def test_else_it_is_called_after_its_image_and_numbered() -> None:
    assert choose().cluster == "demo"
    assert choose(clusters=("demo", "demo-2")).cluster == "demo-3"
    assert choose().fqdn == "demo.internal"


def test_a_dns_name_that_is_taken_or_odd_is_passed_over() -> None:
    assert choose(fqdn="vc1.example.org", clusters=("vc1",)).cluster == "demo"
    assert choose(fqdn="10-0-0-1.example.org").cluster == "demo"


def test_the_first_free_address_is_taken_and_none_is_an_error() -> None:
    assert choose(taken=1).address == POOL[1]
    with pytest.raises(CapacityError, match="all 2 public addresses"):
        choose(taken=2)


def test_reverse_lookup_knows_localhost_has_no_dot() -> None:
    assert naming.reverse_name(IPv4Address("127.0.0.1")) in {None, "localhost.localdomain"}
