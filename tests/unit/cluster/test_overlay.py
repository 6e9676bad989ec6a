"""Clusters in an overlay, on whole sites without a virtual machine: what is refused, published, claimed, given back."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fakes.cluster_site import FakeDisks, go_on, make_cloud, make_site, traces
from fakes.exchange_service import running_service
from fakes.guest import FakeGuest
from fakes.images import ROOTS
from fakes.old_exchange import decoded, old_exchange
from fakes.overlay import join_information
from pragma_boot.cluster.boot import BootRequest, boot, preview
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.stop import clean, shutdown
from pragma_boot.cluster.view import ClusterView, cluster
from pragma_boot.errors import (
    CapacityError,
    DriverError,
    ExchangeError,
    NotAvailableError,
    PragmaError,
    PreflightError,
    UsageError,
)
from pragma_boot.model import ClusterName, ImageName
from pragma_boot.network.overlay.opening import open_exchange
from pragma_boot.network.overlay.shared_file import SharedFile

KERNEL = "/lib/modules/6.1.0-9-amd64"
FIT: dict[str, str | bytes | None] = {
    **ROOTS["networkd"],
    f"{KERNEL}/modules.dep": "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/net/ipv4/udp_tunnel.ko\n",
    "/etc/group": "root:x:0:\nsystemd-network:x:998:\n",
}
SECRET = re.compile(r"private-key=\"([^\"]+)\"|preshared-key=\"([^\"]+)\"")


def overlay_site(root: Path, hook: Callable[[str], None] = go_on, **settings: object) -> Site:
    """A site whose image has WireGuard."""
    site = make_site(root, before_step=hook)
    clusters = replace(site.settings.clusters, **{"ipop_timeout": 0.0, **settings})  # type: ignore[arg-type]
    site.settings = replace(site.settings, clusters=clusters)
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda _: FakeGuest.of(FIT)
    return site


def start(
    site: Site, name: str, cpus: int = 2, *, hub: str | Path | None = None, join: str | Path | None = None
) -> ClusterView:
    options = {"enable-ipop-server": str(hub)} if hub else {}
    options |= {"enable-ipop-client": str(join)} if join else {}
    return boot(site, BootRequest(ImageName("demo"), cpus, ClusterName(name), options=options))


def remove(site: Site, name: str) -> None:
    shutdown(site, ClusterName(name))
    clean(site, ClusterName(name))


def addresses(view: ClusterView) -> list[IPv4Interface]:
    return [IPv4Interface(node.networks["overlay"]) for node in view.nodes]


def document(site: Site, cluster_name: str, node: str) -> str:
    return (site.settings.site.state.cluster(cluster_name) / f"vc-out/{node}.xml").read_text()


def guest(site: Site, node: str) -> FakeGuest:
    assert isinstance(site.disks, FakeDisks)
    return site.disks.guests[node]


def test_a_hub_publishes_how_to_join_it_before_its_nodes_start(tmp_path: Path) -> None:
    seen: list[bool] = []

    def look(step: str) -> None:
        if step.startswith("deploy one: start"):
            seen.append((tmp_path / "join").exists())

    site = overlay_site(tmp_path / "a", look)
    view = start(site, "one", hub=tmp_path / "join")
    assert seen == [True, True]
    information = SharedFile(tmp_path / "join").fetch()
    assert information is not None
    assert str(information.hub) == view.public_ip
    assert information.network.subnet_of(IPv4Network("172.16.0.0/12"))
    assert dict(information.names) == {
        addresses(view)[0].ip: "one.overlay",
        addresses(view)[1].ip: "compute-0.one.overlay",
    }
    assert (tmp_path / "join").stat().st_mode & 0o777 == 0o600


def test_clusters_of_two_sites_share_keys_addresses_and_the_hub(tmp_path: Path) -> None:
    hub_site, other = overlay_site(tmp_path / "a"), overlay_site(tmp_path / "b")
    hub = start(hub_site, "one", hub=tmp_path / "join")
    member = start(other, "two", cpus=4, join=f"file://{tmp_path / 'join'}")
    every = [*addresses(hub), *addresses(member)]
    assert len({address.ip for address in every}) == 5
    assert len({address.network for address in every}) == 1
    known = dict(re.findall(r'public-key="(\S+)".*?allowed-ips="(\S+)"', document(hub_site, "one", "one")))
    for node, address in zip(member.nodes, addresses(member), strict=True):
        private = re.search(r'private-key="(\S+?)"', document(other, "two", node.name))
        assert private
        public = X25519PrivateKey.from_private_bytes(base64.b64decode(private[1])).public_key().public_bytes_raw()
        assert known[base64.b64encode(public).decode()] == f"{address.ip}/32"
        assert f'endpoint="{hub.public_ip}:51820"' in document(other, "two", node.name)


def test_nodes_are_configured_by_their_own_network_manager(tmp_path: Path) -> None:
    site = overlay_site(tmp_path / "a")
    start(site, "one", hub=tmp_path / "join")
    for node in ("one", "compute-0"):
        entry = guest(site, node).entries["/etc/systemd/network/10-pragma-wg0.netdev"]
        assert (entry.mode, entry.group) == (0o640, 998)
    hosts = guest(site, "compute-0").read("/etc/hosts").decode()
    assert re.search(r"^172\S+ one\.overlay$", hosts, re.MULTILINE)
    assert re.search(r"^172\S+ compute-0\.one\.overlay compute-0\.overlay$", hosts, re.MULTILINE)


def test_slots_come_back_and_the_hub_withdraws(tmp_path: Path) -> None:
    hub_site, other = overlay_site(tmp_path / "a"), overlay_site(tmp_path / "b")
    start(hub_site, "one", hub=tmp_path / "join")
    exchange = SharedFile(tmp_path / "join")
    first = addresses(start(other, "two", join=tmp_path / "join"))
    start(other, "three", join=tmp_path / "join")
    assert len(exchange.members()) == 4
    remove(other, "two")
    assert [member.name for member in exchange.members().values()] == ["three.overlay", "compute-0.three.overlay"]
    assert addresses(start(other, "four", join=tmp_path / "join")) == first
    remove(hub_site, "one")
    assert not (tmp_path / "join").exists()
    for name in ("three", "four"):
        remove(other, name)
    assert traces(tmp_path / "a") == traces(tmp_path / "b") == set()


@pytest.mark.parametrize("role", ["hub", "join"])
@pytest.mark.parametrize("step", ["clone", "deploy", "inspect"])
def test_a_boot_that_fails_leaves_nothing_at_the_exchange(tmp_path: Path, role: str, step: str) -> None:
    start(overlay_site(tmp_path / "a"), "one", hub=tmp_path / "join")
    published = (tmp_path / "join").read_text()
    count = [0]

    def fail(words: str) -> None:
        count[0] += words.startswith(step)
        if words.startswith(step) and count[0] == 2:
            raise DriverError("it broke")

    site = overlay_site(tmp_path / "b", fail)
    target = tmp_path / ("other" if role == "hub" else "join")
    with pytest.raises(DriverError):
        start(site, "two", **{role: target})  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()
    assert (tmp_path / "join").read_text() == published
    assert dict(SharedFile(tmp_path / "join").members()) == {}
    assert traces(tmp_path / "b") == set()


def test_what_an_unfinished_boot_has_taken_is_given_back_by_clean(tmp_path: Path) -> None:
    start(overlay_site(tmp_path / "a"), "one", hub=tmp_path / "join")
    site = overlay_site(tmp_path / "b")
    with pytest.raises(DriverError):
        boot(
            overlay_site(tmp_path / "b", _failing("deploy")),
            BootRequest(
                ImageName("demo"),
                2,
                ClusterName("two"),
                keep_on_failure=True,
                options={"enable-ipop-client": str(tmp_path / "join")},
            ),
        )
    assert len(SharedFile(tmp_path / "join").members()) == 2
    remove(site, "two")
    assert dict(SharedFile(tmp_path / "join").members()) == {}


def _failing(step: str) -> Callable[[str], None]:
    def fail(words: str) -> None:
        if words.startswith(step):
            raise DriverError("it broke")

    return fail


def test_a_hub_that_never_appears_ends_the_boot_and_nothing_was_made(tmp_path: Path) -> None:
    site = overlay_site(tmp_path / "b")
    with pytest.raises(ExchangeError, match="no join information appeared") as caught:
        start(site, "two", join=tmp_path / "join")
    assert caught.value.resolution
    assert traces(tmp_path / "b") == set()
    assert site.store.all() == ()


def test_an_exchange_that_is_gone_does_not_keep_a_cluster_from_being_removed(tmp_path: Path, logged: list[str]) -> None:
    (tmp_path / "shared").mkdir()
    start(overlay_site(tmp_path / "a"), "one", hub=tmp_path / "shared/join")
    site = overlay_site(tmp_path / "b")
    start(site, "two", join=tmp_path / "shared/join")
    (tmp_path / "shared/join.claims").write_text("{broken")
    remove(site, "two")
    assert site.store.all() == ()
    assert any("slots of two@" in line for line in logged)


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (f"{KERNEL}/modules.dep", "no WireGuard"),
        ("/etc/group", "nothing in it sets up WireGuard"),
    ],
)
@pytest.mark.parametrize("call", [boot, preview])
def test_an_image_without_wireguard_is_refused_before_anything_is_made(
    tmp_path: Path, lacking: str, words: str, call: Callable[..., object]
) -> None:
    site = overlay_site(tmp_path)
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda _: FakeGuest.of({**FIT, lacking: ""})
    site.repository.fetch(site.repository.describe(ImageName("demo")), lambda _: None)
    options = {"enable-ipop-server": f"file://{tmp_path / 'join'}"}
    with pytest.raises(PreflightError) as caught:
        call(site, BootRequest(ImageName("demo"), 0, ClusterName("one"), options=options))
    assert words in str(caught.value.details)
    assert all(fault.mend for fault in caught.value.faults)
    assert traces(tmp_path) == set()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"enable-ipop-server": "file:///x", "enable-ipop-client": "file:///y"}, UsageError),
        ({"enable-ipop-server": "ftp://x/y"}, UsageError),
        ({"enable-ipop-client": "https://x/y#nonsense"}, UsageError),
    ],
)
def test_wishes_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, str], error: type[PragmaError]) -> None:
    site = overlay_site(tmp_path)
    for call in (preview, boot):
        with pytest.raises(error) as caught:
            call(site, BootRequest(ImageName("demo"), 0, options=options))
        assert caught.value.resolution
    assert traces(tmp_path) == set()


@pytest.mark.parametrize("option", ["enable-ipop-server", "enable-ipop-client"])
def test_a_driver_without_overlays_refuses_both_options(tmp_path: Path, option: str) -> None:
    site, _ = make_cloud(tmp_path / "cloud")
    for call in (preview, boot):
        with pytest.raises(NotAvailableError, match=f"{option}= is not available") as caught:
            call(site, BootRequest(ImageName("demo"), 1, options={option: f"file://{tmp_path / 'join'}"}))
        assert caught.value.resolution == f"boot without {option}="
    assert traces(tmp_path) == set()


def test_a_hub_that_comes_while_another_boots_keeps_its_place(tmp_path: Path) -> None:
    place = tmp_path / "join"
    quick = overlay_site(tmp_path / "quick")

    def meanwhile(step: str) -> None:
        if step.startswith("allocate"):
            start(quick, "quick", hub=place)

    with pytest.raises(ExchangeError, match="another cluster has published"):
        start(overlay_site(tmp_path / "slow", meanwhile), "slow", hub=place)
    published = open_exchange(str(place)).fetch()
    assert published is not None
    assert published.network == addresses(cluster(quick, ClusterName("quick")))[0].network


def test_a_hub_does_not_take_another_hubs_place(tmp_path: Path) -> None:
    start(overlay_site(tmp_path / "a"), "one", hub=tmp_path / "join")
    before = (tmp_path / "join").read_text()
    with pytest.raises(ExchangeError, match="another cluster has published"):
        start(overlay_site(tmp_path / "b"), "two", hub=tmp_path / "join")
    assert (tmp_path / "join").read_text() == before


def test_two_clusters_of_one_name_cannot_be_in_an_overlay(tmp_path: Path) -> None:
    start(overlay_site(tmp_path / "a"), "one", hub=tmp_path / "join")
    with pytest.raises(UsageError, match=r"another node called compute-0\.one\.overlay"):
        start(overlay_site(tmp_path / "b"), "one", join=tmp_path / "join")
    start(overlay_site(tmp_path / "b"), "two", join=tmp_path / "join")
    with pytest.raises(UsageError, match=r"another node called"):
        start(overlay_site(tmp_path / "c"), "two", join=tmp_path / "join")


@pytest.mark.parametrize(
    "network",
    [IPv4Network("10.1.0.0/16"), IPv4Network("10.1.128.0/22")],
)
def test_an_overlay_over_the_sites_own_networks_is_refused(tmp_path: Path, network: IPv4Network) -> None:
    site = overlay_site(tmp_path / "b")
    SharedFile(tmp_path / "join").publish(join_information(network=network))
    with pytest.raises(NotAvailableError, match="overlaps"):
        start(site, "two", join=tmp_path / "join")
    assert traces(tmp_path / "b") == set()


@pytest.mark.parametrize(
    ("wish", "words"), [("lab:10.77.0.1/24", "overlaps 10.77.0.0/24, the network lab"), ("wg0:10.78.0.1/24", "clash")]
)
def test_an_overlay_does_not_go_with_every_further_network(tmp_path: Path, wish: str, words: str) -> None:
    site = overlay_site(tmp_path / "b", additional_interfaces={"lab": "br-lab", "wg0": "br-wg"})
    SharedFile(tmp_path / "join").publish(join_information(network=IPv4Network("10.77.0.0/22")))
    options = {"enable-ipop-client": str(tmp_path / "join"), "add-iface": wish}
    with pytest.raises(NotAvailableError, match=words):
        boot(site, BootRequest(ImageName("demo"), 1, ClusterName("two"), options=options))
    assert dict(SharedFile(tmp_path / "join").members()) == {}
    assert traces(tmp_path / "b") == set()


def test_an_overlay_without_free_slots_is_refused_and_the_rest_undone(tmp_path: Path) -> None:
    SharedFile(tmp_path / "join").publish(join_information(slots=2))
    site = overlay_site(tmp_path / "b")
    with pytest.raises(CapacityError, match="free slots"):
        start(site, "two", cpus=4, join=tmp_path / "join")
    assert traces(tmp_path / "b") == set()
    assert site.store.all() == ()


def test_the_sites_own_choice_of_addresses_counts(tmp_path: Path) -> None:
    site = overlay_site(tmp_path, overlay_cidr=IPv4Network("172.30.0.0/24"))
    assert str(addresses(start(site, "one", hub=tmp_path / "join"))[0]) == "172.30.0.1/24"


def test_secrets_are_only_where_nobody_else_reads(tmp_path: Path, logged: list[str]) -> None:
    hub_site, site = overlay_site(tmp_path / "a"), overlay_site(tmp_path / "b")
    start(hub_site, "one", hub=tmp_path / "join")
    start(site, "two", join=tmp_path / "join")
    text = document(hub_site, "one", "one") + document(site, "two", "two")
    information = SharedFile(tmp_path / "join").fetch()
    assert information is not None
    secrets = {word for pair in SECRET.findall(text) for word in pair if word} | {information.seed.hex()}
    assert len(secrets) == 4
    said = "\n".join(logged)
    assert not [secret for secret in secrets if secret in said]
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if any(secret.encode() in content for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path
    view = cluster(site, ClusterName("two"))
    assert not [secret for secret in secrets if secret in repr(view) + repr(site.store.get("two"))]


def test_a_service_on_the_web_serves_as_well_and_keeps_no_cluster_that_is_gone(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        url = service.url()
        hub_site, site = overlay_site(tmp_path / "a"), overlay_site(tmp_path / "b")
        start(hub_site, "one", hub=url)
        start(site, "two", join=url)
        held = open_exchange(url)
        assert [member.name for member in held.members().values()] == ["two.overlay", "compute-0.two.overlay"]
        remove(site, "two")
        assert dict(held.members()) == {}
        remove(hub_site, "one")
        assert held.fetch() is None
        assert (tmp_path / "b/state/site.db").stat().st_mode & 0o777 == 0o600


def test_a_service_that_does_not_answer_any_more_holds_nothing_up(tmp_path: Path, logged: list[str]) -> None:
    site = overlay_site(tmp_path / "b")
    with running_service(tmp_path) as service:
        url = service.url()
        start(overlay_site(tmp_path / "a"), "one", hub=url)
        start(site, "two", join=url)
    remove(site, "two")
    assert site.store.all() == ()
    assert any("slots of two@" in line for line in logged)
    assert not [line for line in logged if url.partition("#token=")[2] in line]


def test_exchanges_of_the_old_programs_time_serve_where_people_agree_on_slots(tmp_path: Path) -> None:
    with old_exchange(decoded) as old:
        start(overlay_site(tmp_path / "a"), "one", hub=old.url)
        site = overlay_site(tmp_path / "b")
        with pytest.raises(ExchangeError, match="keeps no claims") as caught:
            start(site, "two", join=old.url)
        assert "#first=" in str(caught.value.resolution)
        assert traces(tmp_path / "b") == set()
        found = addresses(start(site, "two", join=f"{old.url}#first=17"))
        assert [int(address.ip) - int(address.network[0]) for address in found] == [18, 19]
