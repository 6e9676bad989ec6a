import logging
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.repository import document
from pragma_boot.errors import ImageError
from pragma_boot.model import DiskFormat, FileSource, Image, ImageName, Packing, VolumeSource
from pragma_boot.repository import vc_in

HERE = Path(__file__).parent
SAMPLES = sorted((HERE / "samples").glob("*.xml"))
RAW, GZIP, SPLIT, SPLIT_GZIP = Packing.RAW, Packing.GZIP, Packing.SPLIT, Packing.SPLIT_GZIP


def parse(xml: str | bytes) -> Image:
    data = xml.encode() if isinstance(xml, str) else xml
    return vc_in.parse(data, name=ImageName("demo"), origin="x.xml", directory=Path("/r"))


def sample(name: str) -> Image:
    return parse((HERE / "samples" / f"{name}.xml").read_bytes())


def frontend(xml: str) -> FileSource:
    source = parse(xml).frontend.source
    assert isinstance(source, FileSource)
    return source


def faults(xml: str | bytes) -> list[str]:
    with pytest.raises(ImageError) as caught:
        parse(xml)
    assert caught.value.resolution
    return (caught.value.details or "").splitlines()


def plain(file: str, packing: Packing = RAW, *parts: str, declared: DiskFormat | None = None) -> FileSource:
    return FileSource(file, packing, parts or (file,), declared)


# ------------------------------------------------------------------------------------------------ forms (guest.md 2.1)


def test_the_first_form_has_attributes_on_nodes_and_no_domain() -> None:
    image = sample("i0")
    assert image.frontend.source == plain("fe.vda", declared=DiskFormat.RAW)
    assert (image.frontend.memory_mib, image.frontend.vcpus) == (1024, 1)
    assert image.compute
    assert (image.compute.source, image.compute.vcpus) == (plain("cn.vda", declared=DiskFormat.RAW), 2)
    assert (image.private_network, image.compute_delay) == (IPv4Interface("10.1.1.1/16"), 300)


@pytest.mark.parametrize("element", ["<distro name='rocks' version='6.1' driver='rocks6'/>", "<driver>dummy</driver>"])
def test_guest_drivers_are_ignored(element: str, caplog: pytest.LogCaptureFixture) -> None:
    parse(document().replace("<frontend>", f"{element}<frontend>"))
    assert caplog.records == []


def test_the_libvirt_form_with_parts_and_a_volume() -> None:
    image = sample("i1")
    parts = ("fe.vda.gz.a", "fe.vda.gz.b")
    assert image.frontend.source == plain("fe.vda", SPLIT_GZIP, *parts, declared=DiskFormat.RAW)
    assert image.compute
    assert image.compute.source == VolumeSource("pragma", "cn-vol", "nas-0-0")
    assert (image.frontend.memory_mib, image.frontend.vcpus, image.compute_delay) == (2048, 1, 300)
    assert (image.origin, image.directory, image.arch) == ("x.xml", Path("/r"), "x86_64")


def test_a_list_of_files_at_the_root_is_matched_by_file_name() -> None:
    image = sample("i1f")
    assert image.compute
    assert image.frontend.source == plain("fe.img", SPLIT, "fe.img.a", "fe.img.b", declared=DiskFormat.RAW)
    assert image.compute.source == plain("cn.img", GZIP, "cn.img.gz", declared=DiskFormat.RAW)


def test_the_rewritten_form_has_neither_driver_nor_compute() -> None:
    image = sample("i1l")
    assert image.frontend.source == plain("vc1-frontend.qcow2")
    assert image.compute is None


def test_networks_at_every_form_of_interface_are_no_fault() -> None:
    nics = "<interface type='direct'><source dev='eth0.2' mode='bridge'/></interface>"
    assert frontend(document().replace("<devices>", f"<devices>{nics}")) == plain("disk.img")


# ------------------------------------------------------------------------------------------- normalisation (2.2, 2.3)


@pytest.mark.parametrize(
    ("source", "file", "expected"),
    [
        ("d.img", "", plain("d.img")),
        ("./a//d.img", "", plain("a/d.img")),
        ("d.img.gz", "", plain("d.img", GZIP, "d.img.gz")),
        (".gz", "", plain(".gz")),
        ("d.img", "<file type='raw'/>", plain("d.img")),
        ("d.img", "<file type='raw'><part>e.img</part></file>", plain("d.img", RAW, "e.img")),
        ("d.img", "<file type='raw'><part>tool.py</part><part>d.img</part></file>", plain("d.img")),
        ("d.img", "<file type='gzip'><part> e.gz </part></file>", plain("d.img", GZIP, "e.gz")),
        ("d.img.gz", "<file type='gzip'><part>d.img.gz</part></file>", plain("d.img", GZIP, "d.img.gz")),
        (
            "d.img",
            "<file type='gzip'><part>other.gz</part><part>d.img.gz</part></file>",
            plain("d.img", GZIP, "d.img.gz"),
        ),
        ("d", "<file type='splited'><part>b</part><part>a</part></file>", plain("d", SPLIT, "b", "a")),
        ("d", "<file type='split_gzip'><part>b</part></file>", plain("d", SPLIT_GZIP, "b")),
        ("d.gz", "<file type='split'><part>b</part></file>", plain("d", SPLIT_GZIP, "b")),
        (
            "x/d",
            "<file type='gzip' filename='e'><part>e.gz</part></file>"
            "<file type='gzip' filename='d'><part>d.gz</part></file>",
            plain("x/d", GZIP, "d.gz"),
        ),
    ],
)
def test_packing(source: str, file: str, expected: FileSource) -> None:
    assert frontend(document(source, file)) == expected


def test_the_first_disk_that_is_no_cdrom_counts(caplog: pytest.LogCaptureFixture) -> None:
    cdrom = "<devices><disk device='cdrom'><source file='x.iso'/></disk>"
    second = "<disk><source file='data.img'/></disk></devices>"
    xml = document().replace("<devices>", cdrom).replace("</devices>", second)
    assert frontend(xml) == plain("disk.img")
    assert "further ones are ignored" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("volume='v' pool='p' host='nas'", VolumeSource("p", "v", "nas")),
        ("volume='p/v' pool='p'", VolumeSource("p", "v")),
        ("volume='p/q/v' host='nas'", VolumeSource("p/q", "v", "nas")),
    ],
)
def test_volumes(attributes: str, expected: VolumeSource) -> None:
    assert parse(document().replace("file='disk.img'", attributes)).frontend.source == expected


def test_a_compute_without_a_disk_has_the_frontends_and_its_own_sizes() -> None:
    image = parse(document(compute="<compute><domain><memory unit='GiB'>3</memory><vcpu>4</vcpu></domain></compute>"))
    assert image.compute
    assert (image.compute.source, image.compute.memory_mib, image.compute.vcpus) == (plain("disk.img"), 3072, 4)


@pytest.mark.parametrize(
    ("element", "mib"),
    [
        ("<memory>1048576</memory>", 1024),
        ("<memory unit='KB'>1048576</memory>", 1000 * 1048576 // 1048576),
        ("<memory unit='MiB'>5</memory>", 5),
        ("<memory unit='M'>5</memory>", 5),
        ("<memory unit='GB'>1</memory>", 954),
        ("<memory unit='bytes'>1</memory>", 1),
    ],
)
def test_memory_units_are_libvirts_and_rounded_up(element: str, mib: int) -> None:
    assert parse(document().replace("<devices>", f"{element}<devices>", 1)).frontend.memory_mib == mib


def network(name: str, address: str, mask: str) -> str:
    return f"<network name='{name}'><ipaddress>{address}</ipaddress><netmask>{mask}</netmask></network>"


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (network("private", "10.2.0.1", "255.255.255.0"), IPv4Interface("10.2.0.1/24")),
        (network("private", "10.2.0.0", "255.255.255.0"), IPv4Interface("10.2.0.1/24")),
        ("<network name='x'><ip address='10.3.0.9' netmask='255.255.0.0'/></network>", IPv4Interface("10.3.0.9/16")),
        ("<network name='x'/>" + network("private", "10.3.0.9", "255.255.0.0"), IPv4Interface("10.3.0.9/16")),
        ("<network name='private'/>", None),
    ],
)
def test_private_networks(inner: str, expected: IPv4Interface | None) -> None:
    xml = document(compute=f"<networks>{inner}<frontend><public>eth1</public></frontend></networks>")
    assert parse(xml).private_network == expected


@pytest.mark.parametrize(
    ("address", "mask"),
    [("127.0.0.1", "255.0.0.0"), ("10.0.0.255", "255.255.255.0"), ("10.0.0.1", "255.255.255.255"), ("10.0.0.1", "")],
)
def test_networks_that_cannot_be_private_are_refused(address: str, mask: str) -> None:
    found = faults(document(compute=f"<networks>{network('private', address, mask)}</networks>"))
    assert len(found) == 1
    assert "is no private network" in found[0]


def test_a_long_delay_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    wait = "<compute><boot_dependency><wait type='ssh'/><wait type='clock' value='7200'/></boot_dependency></compute>"
    assert parse(document(compute=wait)).compute_delay == vc_in.DELAY_LIMIT
    assert "cut to 600" in caplog.text


def test_unknown_children_are_logged_with_their_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    parse(document(compute="\n<extra/><description> A demo </description>"))
    assert caplog.messages == ["x.xml:2: <extra> is unknown and ignored"]


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", ["/etc/shadow", "../up.img", "a/../../b", "", ".", "a&#9;b", "x" * 300, "é" * 200])
@pytest.mark.parametrize("where", ["source", "part"])
def test_names_that_leave_the_folder_or_are_no_names_are_refused(name: str, where: str) -> None:
    xml = document(name) if where == "source" else document(extra=f"<file type='gzip'><part>{name}</part></file>")
    assert len(faults(xml)) == 1


@pytest.mark.parametrize("name", ["a b.img", "a;b.img", "-x.img", "größe.img", "$(id).img"])
def test_odd_but_harmless_names_are_kept_as_they_are(name: str) -> None:
    assert frontend(document(name)).parts == (name,)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("<vc ", "<domain ", "mismatched tag"),
        ("arch='x86_64'", "arch='sparc'", "unsupported architecture 'sparc' of image demo"),
        ("arch='x86_64'", "", "the architecture is missing"),
        ("<source file='disk.img'/>", "", "the disk has no <source>"),
        ("file='disk.img'", "", "exactly one form"),
        ("file='disk.img'", "dev='/dev/sda'", "block device"),
        ("file='disk.img'", "file='a' volume='b'", "exactly one form"),
        ("file='disk.img'", "volume='-v' pool='p'", "'-v' cannot name a volume"),
        ("file='disk.img'", "volume='v' pool='p' host='-oProxyCommand=x'", "cannot name a host"),
        ("file='disk.img'", "volume='v'", "cannot name a pool"),
        ("<source", "<driver type='vmdk'/><source", "unsupported disk format 'vmdk'"),
        ("</frontend>", "<file type='rar'><part>a</part></file></frontend>", "unknown packing 'rar'"),
        ("</frontend>", "<file><part>a</part></file></frontend>", "unknown packing ''"),
        ("</frontend>", "<file type='gzip'/></frontend>", "without a <part>"),
        ("</frontend>", "<file type='gzip'><part>a</part><part>b</part></file></frontend>", "splited_gzip"),
        ("</frontend>", "<file type='raw'><part>a</part><part>b</part></file></frontend>", "splited"),
        ("</frontend>", "</frontend><frontend/>", "a second <frontend>"),
        ("<devices>", "<memory>-1</memory><devices>", "memory is '-1'"),
        ("<devices>", "<memory>" + "9" * 5000 + "</memory><devices>", "memory is"),
        ("<devices>", "<memory unit='parsec'>1</memory><devices>", "unknown unit"),
        ("<devices>", "<vcpu>0</vcpu><devices>", "vcpu is '0'"),
        ("<devices>", "<vcpu>two</vcpu><devices>", "vcpu is 'two'"),
    ],
)  # fmt: skip
def test_each_fault_is_told(old: str, new: str, what: str) -> None:
    xml = document()
    assert old in xml
    found = faults(xml.replace(old, new, 1))
    assert len(found) == 1
    assert what in found[0]


def test_all_faults_come_at_once_in_the_order_of_lines() -> None:
    found = faults(
        "<vc>\n<frontend><domain><memory>x</memory></domain>\n<disk><source file='/a'/></disk></frontend>\n"
        "<compute><disk><source dev='b'/></disk>\n<wait type='clock' value='-'/></compute>\n</vc>"
    )
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "4", "5"]


def test_another_kind_of_document_says_what_it_is() -> None:
    assert faults("<domain/>") == ["x.xml:1: the root element is <domain>, not <vc> (this is no vc-in document)"]


def test_an_unreadable_document_is_an_image_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xml", tmp_path):
        with pytest.raises(ImageError, match="cannot be read"):
            vc_in.load(path, ImageName("demo"))


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        vc_in.load(Path("/dev/zero"), ImageName("demo"))


# -------------------------------------------------------------------------------------------------------- properties

NOISE = [
    "",
    "<",
    ">",
    "'",
    '"',
    "&",
    "&#0;",
    "]]>",
    "<!--",
    "<!DOCTYPE x>",
    "é",
    "\x00",
    "..",
    "/",
    "-1",
    "1e9",
    "\ud800",
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_mutation_raises_anything_else_or_leaves_the_folder(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([path.read_bytes() for path in SAMPLES])))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), start + data.draw(st.sampled_from([0, 1, 3, 20, 400])))
        noise = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from(NOISE).map(lambda t: t.encode(errors="surrogatepass")))
        )
        raw[start:end] = noise
    try:
        image = parse(bytes(raw))
    except ImageError:
        return
    for node in filter(None, (image.frontend, image.compute)):
        assert node.memory_mib is None or node.memory_mib >= 1
        if isinstance(node.source, FileSource):
            assert node.source.parts
            for name in (node.source.file, *node.source.parts):
                assert not name.startswith("/")
                assert ".." not in name.split("/")
