from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.cluster.plan import Sizes, check_architecture, check_private, make_plan, name_after_image, spread
from pragma_boot.driver.placing import place
from pragma_boot.errors import CapacityError, PragmaError
from pragma_boot.model import (
    Capacity,
    ClusterName,
    FileSource,
    HostCapacity,
    Image,
    ImageName,
    NodeImage,
    Packing,
    Plan,
    Role,
    cluster_name,
    image_name,
)


def plan(cpus: int, per_node: int = 2, memory: int = 512) -> Plan:
    sizes = Sizes(cpus, per_node, memory, memory)
    return make_plan(ClusterName("vc"), ImageName("demo"), sizes, IPv4Interface("10.1.1.1/16"), ())


def host(name: str, cpus: int, memory: int = 8192) -> HostCapacity:
    return HostCapacity(name, cpus, cpus, memory, memory)


@pytest.mark.parametrize(("cpus", "nodes"), [(0, ()), (1, (1,)), (4, (2, 2)), (5, (2, 2, 1))])
def test_cpus_fill_nodes_in_order(cpus: int, nodes: tuple[int, ...]) -> None:
    assert spread(cpus, 2) == nodes


@given(st.integers(0, 5000), st.integers(1, 64))
def test_every_cpu_is_placed_once(cpus: int, per_node: int) -> None:
    nodes = spread(cpus, per_node)
    assert sum(nodes) == cpus
    assert all(0 < node <= per_node for node in nodes)


def test_the_frontend_bears_the_clusters_name() -> None:
    made = plan(3)
    assert [(node.name, node.role, node.cpus) for node in made.nodes] == [
        ("vc", Role.FRONTEND, 1),
        ("compute-0", Role.COMPUTE, 2),
        ("compute-1", Role.COMPUTE, 1),
    ]


def test_a_plan_that_fits_is_accepted() -> None:
    place(plan(4), Capacity((host("a", 5),)))


def test_too_many_cpus_say_what_is_free() -> None:
    with pytest.raises(CapacityError) as caught:
        place(plan(8), Capacity((host("a", 4),)))
    assert "9 CPUs" in caught.value.message
    assert "a: 4 more CPUs" in str(caught.value.details)


def test_memory_counts_too() -> None:
    with pytest.raises(CapacityError):
        place(plan(2, memory=5000), Capacity((host("a", 16),)))


def test_no_node_is_torn_between_hosts() -> None:
    place(plan(2), Capacity((host("a", 1), host("b", 2))))
    with pytest.raises(CapacityError):
        place(plan(4, per_node=4), Capacity((host("a", 3), host("b", 3))))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,120}[A-Za-z0-9]", fullmatch=True))
def test_names_after_images_are_valid(text: str) -> None:
    cluster_name(name_after_image(image_name(text)))


def test_an_image_for_another_processor_is_refused() -> None:
    part = NodeImage(FileSource("x.raw", Packing.RAW, ("x.raw",)))
    image = Image(ImageName("demo"), "aarch64", "demo.xml", Path("/nowhere"), part)
    check_architecture(image, "arm64")
    with pytest.raises(PragmaError, match="unsupported architecture aarch64 of image demo"):
        check_architecture(image, "x86_64")


def test_a_private_network_over_the_public_one_is_refused() -> None:
    part = NodeImage(FileSource("x.raw", Packing.RAW, ("x.raw",)))
    own = IPv4Interface("198.51.100.1/24")
    image = Image(ImageName("demo"), "x86_64", "demo.xml", Path("/nowhere"), part, private_network=own)
    check_private(image, IPv4Interface("10.1.1.1/16"), IPv4Network("198.51.100.0/24"))
    with pytest.raises(PragmaError, match="overlaps the public network") as caught:
        check_private(image, own, IPv4Network("198.51.100.0/25"))
    assert caught.value.details == "it comes from demo.xml"
