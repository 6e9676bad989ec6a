"""Files that we write are read back, and the committed ones are up to date."""

import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pragma_boot.config.document import PAGE, main, page, templates
from pragma_boot.config.generate import SiteFacts, literal, site_files
from pragma_boot.config.keys import DRIVER_KEYS, DRIVERS, SITE_KEYS
from pragma_boot.config.load import parse
from pragma_boot.config.settings import PublicNetwork
from pragma_boot.config.validate import load_settings, read_driver, read_site

CHECKOUT = Path(__file__).parents[3]
FACTS = SiteFacts(
    state_directory=Path('/srv/pragma "state"'),
    repository_dir=Path("/srv/images"),
    log_directory=Path("/srv/log"),
    libvirt_uri="qemu:///system",
    nat_network="pragma-public",
    public_ips=(IPv4Address("192.168.77.10"), IPv4Address("192.168.77.250")),
    netmask=IPv4Address("255.255.255.0"),
    gw=IPv4Address("192.168.77.1"),
    dns=(IPv4Address("192.168.77.1"), IPv4Address("9.9.9.9")),
    vlans=range(100, 200),
    cpus_per_node=4,
    memory_mib=1024,
)


def test_a_generated_site_loads_as_what_it_was_made_from(tmp_path: Path):
    for name, text in site_files(FACTS).items():
        (tmp_path / name).write_text(text)
    found = load_settings(tmp_path, {})
    assert found.site.state.root == FACTS.state_directory
    assert found.site.log_directory == FACTS.log_directory
    assert found.site.repository.directory == FACTS.repository_dir
    assert found.libvirt
    assert found.libvirt.hosts == ("qemu:///system",)
    assert found.libvirt.public == PublicNetwork("nat", "pragma-public")
    assert (found.clusters.public_ips[0], found.clusters.public_ips[-1]) == FACTS.public_ips
    assert len(found.clusters.public_ips) == 241
    assert (found.clusters.netmask, found.clusters.gw, found.clusters.dns) == (FACTS.netmask, FACTS.gw, FACTS.dns)
    assert found.clusters.vlans == tuple(FACTS.vlans)
    assert (found.clusters.cpus_per_node, found.clusters.memory_mib) == (4, 1024)


def test_a_generated_site_shows_every_key():
    texts = site_files(FACTS)
    for row in SITE_KEYS:
        assert re.search(rf"^#?{row.name} = ", texts["site_conf.conf"], re.MULTILINE)
    for row in DRIVER_KEYS["libvirt"]:
        assert re.search(rf"^#?{row.name} = ", texts["libvirt.conf"], re.MULTILINE)


@pytest.mark.parametrize("bare", [True, False], ids=["as it is", "with its comments taken in"])
def test_templates_are_right_as_they_are_and_uncommented(bare: bool):
    for name, text in templates().items():
        source = text if bare else re.sub(r'^( *)#(?=["a-z_])', r"\1", text, flags=re.MULTILINE)
        loaded = parse(source.encode(), Path(name))
        driver = name.removesuffix(".conf.template")
        _, faults = read_driver(driver, loaded) if driver in DRIVERS else read_site(loaded, {}, root=True)
        assert faults == []
        assert bare or len(loaded.values) == len(DRIVER_KEYS.get(driver, SITE_KEYS))


def test_the_committed_templates_are_those_of_the_keys():
    committed = {path.name: path.read_text() for path in (CHECKOUT / "etc").glob("*.template")}
    assert committed == templates(), "run: python -m pragma_boot.config.document ."


def test_the_committed_tables_are_those_of_the_keys():
    text = (CHECKOUT / PAGE).read_text()
    assert page(text) == text, "run: python -m pragma_boot.config.document ."
    for rows in (SITE_KEYS, *(DRIVER_KEYS[driver] for driver in DRIVERS)):
        assert all(f"| `{row.name}`" in text for row in rows)


def test_writing_them_anew_changes_nothing_by_hand(tmp_path: Path):
    for name in ("etc", "docs"):
        (tmp_path / name).mkdir()
    (tmp_path / PAGE).write_text("# Mine\n<!-- keys of site_conf.conf -->\nstale table\n<!-- end -->\nmine\n")
    main(tmp_path)
    text = (tmp_path / PAGE).read_text()
    assert text.startswith("# Mine\n")
    assert text.endswith("<!-- end -->\nmine\n")
    assert "stale table" not in text
    assert "site_ve_driver" in text


@pytest.mark.parametrize("key", [key for rows in DRIVER_KEYS.values() for key in rows], ids=lambda key: key.name)
def test_defaults_and_examples_are_right_and_differ_in_nothing_from_what_is_read(key: object):
    assert hasattr(key, "parse")
    for value in (key.example, *([] if key.required or key.default is None else [key.default])):
        loaded = parse(f"key = {literal(value)}".encode(), Path("f"))
        assert key.parse(loaded.values["key"]) == key.parse(list(value) if isinstance(value, range) else value)
