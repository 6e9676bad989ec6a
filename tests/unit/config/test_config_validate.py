"""From files to Settings, and every fault of both files at once."""

import json
import logging
import tempfile
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragma_boot import log
from pragma_boot.config.keys import DRIVER_KEYS, SITE_KEYS
from pragma_boot.config.load import parse
from pragma_boot.config.repository_keys import REPOSITORY_KEYS
from pragma_boot.config.settings import Accel, ClusterSettings, PublicNetwork, Settings
from pragma_boot.config.validate import load_settings, read_site
from pragma_boot.errors import ConfigError

SITE = 'repository_settings = {"repository_class": "local", "repository_dir": "/images"}\n'
NETWORK = """
public_ips = ["111.110.109.2", "111.110.109.3"]
netmask = "255.255.255.0"
gw = "111.110.109.1"
dns = "8.8.8.8"
vlans = range(22,24)
"""
ENVIRON = {"HOME": "/home/me"}


class Folder:
    """A configuration folder to write into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, site: str = SITE, **drivers: str) -> Settings:
        (self.path / "site_conf.conf").write_text(site)
        for name, text in (drivers or {"libvirt": NETWORK}).items():
            (self.path / f"{name}.conf").write_text(text)
        return load_settings(self.path, ENVIRON)

    def clusters(self, text: str) -> ClusterSettings:
        return self.load(libvirt=NETWORK + text).clusters

    def faults(self, site: str = SITE, **drivers: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(site, **drivers)
        assert all(fault.mend for fault in caught.value.faults)
        return [str(fault).removeprefix(f"{self.path}/") for fault in caught.value.faults]

    def fault(self, text: str) -> str:
        (found,) = self.faults(libvirt=NETWORK + text)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class TestDefaults:
    def test_of_a_libvirt_site(self, folder: Folder):
        found = folder.load()
        assert found.folder == folder.path
        assert found.site.site_ve_driver == "libvirt"
        assert found.site.temp_directory == Path("/var/tmp")
        assert found.libvirt
        assert found.libvirt.hosts == ("qemu:///system",)
        assert found.libvirt.public == PublicNetwork("nat", "pragma-public")
        assert found.libvirt.accel is Accel.AUTO
        assert found.libvirt.direct_kernel is True
        assert found.libvirt.clusters is found.clusters
        assert found.drivers == {}

    def test_of_clusters(self, folder: Folder):
        assert folder.load().clusters == ClusterSettings(
            public_ips=(IPv4Address("111.110.109.2"), IPv4Address("111.110.109.3")),
            netmask=IPv4Address("255.255.255.0"),
            gw=IPv4Address("111.110.109.1"),
            dns=(IPv4Address("8.8.8.8"),),
            vlans=(22, 23),
            diskdir=None,
            num_processors_reserved=0,
            cpu_overcommit=1,
            private_network=IPv4Interface("10.1.1.1/16"),
            domain="internal",
            cpus_per_node=2,
            memory_mib=2048,
            wait=600,
            shutdown_grace=60,
            parallel=4,
        )

    def test_of_the_repository(self, folder: Folder):
        found = folder.load(SITE + 'state_directory = "/state"').site.repository
        assert (found.directory, found.catalog) == (Path("/images"), Path("/images/vcdb.txt"))
        assert found.cache == Path("/state/cache")

    @pytest.mark.parametrize(
        ("environ", "root", "state", "logs"),
        [
            ({}, True, "/var/lib/pragma_boot", "/var/log/pragma_boot"),
            ({"XDG_STATE_HOME": "/x"}, True, "/var/lib/pragma_boot", "/var/log/pragma_boot"),
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, False, "/x/pragma_boot", "/x/pragma_boot/log"),
            (
                {"XDG_STATE_HOME": "x", "HOME": "/h"},
                False,
                *["/h/.local/state/pragma_boot" + end for end in ("", "/log")],
            ),
        ],
    )
    def test_of_places_depend_on_the_user(self, environ: dict[str, str], root: bool, state: str, logs: str):
        values, faults = read_site(parse(SITE.encode(), Path("f")), environ, root=root)
        assert faults == []
        assert (values["state_directory"], values["log_directory"]) == (Path(state), Path(logs))

    def test_a_user_without_home_must_name_the_state_folder(self):
        _, faults = read_site(parse(SITE.encode(), Path("f")), {}, root=False)
        assert [fault.where for fault in faults] == ["f state_directory"]


class TestOldFiles:
    def test_the_readmes_example_loads(self, folder: Folder):
        found = folder.load(
            """
# Choose is the viritualization engine driver type
site_ve_driver = "kvm_rocks"
temp_directory = "/state/partition1/temp"
log_directory = "/var/log/pragma_boot"
repository_settings = {
  'repository_class' : "local",
  'repository_dir' : "/state/partition1/vm-images",
  'vcdb_filename' : "vcdb.txt",
}
""",
            kvm_rocks="""
public_ips=["111.110.109.2", "111.110.109.3"]
netmask="255.255.255.0"
gw="111.110.109.1"
dns="8.8.8.8"
vlans= range(22,23)
diskdir = ""
available_containers = "vm-container-0-0 vm-container-0-1"
num_processors_reserved = 2
ent = { 'subnet_name': 'openflow', 'interface_name': 'ovs' }
additional_interfaces = {'openflow':'ovs'}
""",
        )
        assert found.site.temp_directory == Path("/state/partition1/temp")
        assert found.clusters.vlans == (22,)
        assert found.clusters.num_processors_reserved == 2
        assert found.clusters.ent == {"subnet_name": "openflow", "interface_name": "ovs"}
        assert found.libvirt is None
        assert found.kvm_rocks
        assert found.kvm_rocks.containers == ("vm-container-0-0", "vm-container-0-1")
        assert found.kvm_rocks.rocks == ("/opt/rocks/bin/rocks",)

    def test_temporary_directory_is_temp_directory(self, folder: Folder):
        assert folder.load(SITE + 'temporary_directory = "/t"').site.temp_directory == Path("/t")

    def test_both_names_with_different_values_are_a_fault(self, folder: Folder):
        (found,) = folder.faults(SITE + 'temporary_directory = "/t"\ntemp_directory = "/u"')
        assert found.startswith("site_conf.conf:2 temporary_directory: '/t' differs from temp_directory")

    def test_cloudstack_leaves_addresses_to_the_cloud(self, folder: Folder):
        found = folder.load(
            'site_ve_driver = "cloudstack"\n' + SITE,
            cloudstack="""
baseurl = "https://cloud.example.org:8080/client/api?"
apikey = "the-api-key"
secretkey = "the-secret-key"
templatefilter = "community"
networkoffering = "DefaultIsolatedNetworkOfferingWithSourceNatService"
""",
        )
        assert found.clusters.public_ips == ()
        assert found.clusters.gw == IPv4Address("0.0.0.0")
        cloud = found.cloudstack
        assert cloud
        assert (cloud.url, cloud.apikey) == ("https://cloud.example.org:8080/client/api", "the-api-key")
        assert (cloud.ports, cloud.zone, cloud.public_first) == ((22, 80, 443), "", True)
        assert str(found.clusters.private_network) == "10.3.3.2/24"

    @pytest.mark.parametrize(
        "more",
        [
            {"repository_class": "http", "repository_url": "https://s3.example.org/bucket"},
            {
                "repository_class": "cloudfront",
                "repository_url": "https://d1.example.net",
                "keypair_id": "APKA",
                "private_key_file": "/k.pem",
            },
            {
                "repository_class": "clonezilla",
                "repository_url": "0B3cw7uKWQ3fXcmdfRHBCTV9KaUU",
                "cziso": "/opt/cziso/bin/cziso",
                "local_image_url": "zfs://nas-0-0/pragma/$imagename-vol",
                "include_images": "rocks-.*",
            },
        ],
    )
    def test_each_repository_class_carries_its_keys(self, folder: Folder, more: dict[str, str]):
        site = f"repository_settings = { ({'repository_dir': '/images'} | more)!r}"
        found = folder.load(site).site.repository
        assert found.repository_class == more["repository_class"]
        assert found.others["repository_url"] == more["repository_url"]


class TestWhatIsWritten:
    def test_the_catalog_may_be_absolute(self, folder: Folder):
        site = 'repository_settings = {"repository_dir": "/images", "vcdb_filename": "/etc/vcdb.txt"}'
        assert folder.load(site).site.repository.catalog == Path("/etc/vcdb.txt")

    def test_helpers_of_the_file_are_no_unknown_keys(self, folder: Folder):
        site = 'base = "/b"\n_note = 1\nlog_directory = base + "/log"\n' + SITE
        assert folder.load(site).site.log_directory == Path("/b/log")

    def test_waiting_can_be_off(self, folder: Folder):
        assert folder.clusters("wait = False").wait == 0

    def test_addresses_may_be_a_range(self, folder: Folder):
        assert len(folder.clusters('public_ips = "111.110.109.20-111.110.109.119"').public_ips) == 100

    def test_the_memory_driver_needs_its_file_too(self, folder: Folder):
        found = folder.load('site_ve_driver = "memory"\n' + SITE, memory=NETWORK)
        assert found.site.site_ve_driver == "memory"
        assert found.clusters.public_network == IPv4Network("111.110.109.0/24")

    def test_settings_cannot_be_changed(self, folder: Folder):
        found = folder.load()
        with pytest.raises(TypeError):
            found.site.repository.others["a"] = 1  # type: ignore[index]


class TestFaults:
    def test_of_both_files_come_together_in_order(self, folder: Folder):
        found = folder.faults(
            'log_directory = "log"\nlog_directroy = "/log"\nrepository_settings = {}',
            libvirt='public_ips = "x"\nnetmask = open("f")\ngw = 5\nvlans = [0]',
        )
        assert [line.partition(": ")[0] for line in found] == [
            "site_conf.conf:1 log_directory",
            "site_conf.conf:2 log_directroy",
            "site_conf.conf:3 repository_settings.repository_dir",
            "libvirt.conf:1 public_ips",
            "libvirt.conf:2 netmask",
            "libvirt.conf:3 gw",
            "libvirt.conf:4 vlans",
            "libvirt.conf dns",
        ]

    def test_tell_the_value_and_the_mend(self, folder: Folder):
        assert folder.fault('gw = "111.110.109"') == (
            "libvirt.conf:7 gw: '111.110.109' is no IPv4 address (write it in quotes: \"192.0.2.1\")"
        )

    def test_a_missing_key_comes_with_an_example(self, folder: Folder):
        (found,) = folder.faults(libvirt=NETWORK.replace("gw", "_gw"))
        assert found == "libvirt.conf gw: is missing (add it, for example gw = '198.51.100.1')"

    def test_an_empty_required_key_is_missing(self, folder: Folder):
        assert "is missing" in folder.fault('dns = ""')

    def test_a_missing_driver_file_is_told(self, folder: Folder):
        (found,) = folder.faults('site_ve_driver = "kvm_rocks"\n' + SITE)
        assert found.startswith("kvm_rocks.conf: is not there (copy kvm_rocks.conf.template")

    def test_a_broken_driver_name_asks_for_no_driver_file(self, folder: Folder):
        assert len(folder.faults("site_ve_driver = get()\n" + SITE, memory="")) == 1
        (found,) = folder.faults('site_ve_driver = "libvrit"\n' + SITE, memory="")
        assert "did you mean 'libvirt'?" in found

    def test_a_file_that_is_no_python_has_one_fault(self, folder: Folder):
        assert len(folder.faults("site_ve_driver = = 5")) == 1
        assert len(folder.faults(libvirt="gw = 10.0.0.1")) == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("cpu_per_node = 2", "did you mean cpus_per_node?"),
            ('site_ve_driver = "x"', "it belongs in site_conf.conf"),
            ('available_containers = "x"', "it belongs in kvm_rocks.conf"),
            ('repository_dir = "/x"', "it belongs in repository_settings"),
            ("zzzzzz = 1", "docs/site-config.md has all keys"),
        ],
    )
    def test_an_unknown_key_is_answered(self, folder: Folder, text: str, told: str):
        assert told in folder.fault(text)

    def test_an_unknown_word_is_answered_with_the_words(self, folder: Folder):
        assert folder.fault('accel = "KVM"') == (
            "libvirt.conf:7 accel: 'KVM' is not known: did you mean 'kvm'? (write one of 'auto', 'kvm', 'tcg')"
        )

    def test_inner_keys_are_known_too(self, folder: Folder):
        site = 'repository_settings = {\n "repository_dir": "/i",\n "vcdb_filname": "v",\n 5: 6}'
        number, unknown = folder.faults(site)
        assert unknown.startswith(
            "site_conf.conf:3 repository_settings.vcdb_filname: is not a known key (did you mean v"
        )
        assert "has the key 5" in number

    @pytest.mark.parametrize("kind", ["http", "cloudfront", "clonezilla"])
    def test_a_class_needs_its_keys(self, folder: Folder, kind: str):
        site = {"repository_class": kind, "repository_dir": "/i", "repository_url": ""}
        told = {line.partition(": ")[0].rpartition(".")[2] for line in folder.faults(f"repository_settings = {site}")}
        assert told == {key.name for key in REPOSITORY_KEYS if kind in key.required_by}

    def test_http_needs_an_http_url(self, folder: Folder):
        site = {"repository_class": "http", "repository_dir": "/i", "repository_url": "images.example.org"}
        assert "is no http or https URL" in folder.faults(f"repository_settings = {site}")[0]

    def test_settings_of_the_repository_are_a_dictionary(self, folder: Folder):
        assert "is no dictionary" in folder.faults('repository_settings = "local"')[0]


class TestNetworksThatDoNotFit:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('public_ips = ["111.110.109.2", "111.110.108.3"]', "111.110.108.3 is not in the network 111.110.109.0/24"),
            ('public_ips = "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5"', "1.0.0.3 and 2 more are not in the network"),
            ('public_ips = ["111.110.109.1"]', "111.110.109.1 is the gateway"),
            ('public_ips = ["111.110.109.2", "111.110.109.2"]', "111.110.109.2 is named twice"),
            ('public_ips = ["111.110.109.255"]', "111.110.109.255 is the network or broadcast address"),
            ('gw = "111.110.109.0"', "111.110.109.0 is the network or broadcast address"),
            ('private_network = "111.110.1.1/16"', "overlaps the public network 111.110.109.0/24"),
            (
                'additional_interfaces = {"a": {"bridge": "b", "cidr": "10.1.128.0/24"}}',
                "the cidr 10.1.128.0/24 of a overlaps the private network 10.1.0.0/16",
            ),
            (
                'additional_interfaces = {"a": {"bridge": "b", "cidr": "111.110.0.0/16"}}',
                "overlaps the public network 111.110.109.0/24",
            ),
        ],
    )
    def test_are_faults(self, folder: Folder, text: str, told: str):
        assert told in folder.fault(text)

    def test_a_wrong_value_is_not_told_twice(self, folder: Folder):
        assert "is no network mask" in folder.fault('netmask = "255.0.255.0"')


class TestSecrets:
    def test_are_never_shown(self, folder: Folder):
        text = 'baseurl = "https://c/api"\napikey = ["hidden-api-key"]\nsecretkey = "hidden\\nsecret"'
        found = folder.faults('site_ve_driver = "cloudstack"\n' + SITE, cloudstack=text)
        assert len(found) == 2
        assert "hidden" not in "".join(found)

    def test_are_hidden_from_logs(self, folder: Folder, tmp_path: Path):
        text = 'baseurl = "https://c/api"\napikey = "hidden-api-key"\nsecretkey = "hidden-secret-key"'
        site = {"repository_class": "clonezilla", "repository_dir": "/i", "repository_url": "ID"}
        site |= {"local_image_url": "file:///x", "google_api_key": "hidden-google-key"}
        folder.load(f'site_ve_driver = "cloudstack"\nrepository_settings = {site}', cloudstack=text)
        log.set_up(tmp_path / "log", "INFO")
        logging.getLogger("pragma_boot.test").info("hidden-api-key hidden-secret-key hidden-google-key")
        assert "hidden" not in (tmp_path / "log").read_text()


# ------------------------------------------------------------------------------------------------------- properties

_literals = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.text(st.characters(codec="ascii"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


def _names(rows: object) -> st.SearchStrategy[dict[str, object]]:
    assert isinstance(rows, tuple)
    examples = {row.name: st.just(row.example) | _literals for row in rows}
    return st.fixed_dictionaries({}, optional=examples)


@settings(max_examples=150, deadline=None)
@given(_names(SITE_KEYS), _names(REPOSITORY_KEYS), st.sampled_from(sorted(DRIVER_KEYS)), st.data())
def test_any_values_give_settings_or_a_config_error(
    site: dict[str, object], repository: dict[str, object], driver: str, data: st.DataObject
):
    texts = {
        "site_conf.conf": site | {"site_ve_driver": driver, "repository_settings": repository},
        f"{driver}.conf": data.draw(_names(DRIVER_KEYS[driver])),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, values in texts.items():
            Path(folder, name).write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
        try:
            assert isinstance(load_settings(Path(folder), ENVIRON), Settings)
        except ConfigError as error:
            assert error.faults
            json.dumps(str(error.details))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_files_give_settings_or_a_config_error(site: bytes, driver: bytes):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "site_conf.conf").write_bytes(site)
        Path(folder, "libvirt.conf").write_bytes(driver)
        with pytest.raises(ConfigError):
            load_settings(Path(folder), ENVIRON)
