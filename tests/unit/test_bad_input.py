"""Bad input through the real command line: one clear error with its mend, nothing changed, nothing left.

Everything is real (configuration, repository, cache, disks, site database) but the driver, which runs nothing.
"""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.cli import Result
from fakes.disks import MIB, ext_disk
from fakes.memory_site import configure
from pragma_boot.cli.main import main

VC_IN = """\
<vc version="0.1"><virtualization arch="{arch}"/><frontend><domain type="kvm"><devices>
<disk type="file" device="disk"><source file="{disk}"/></disk></devices></domain>{packing}</frontend></vc>
"""
FRAME = VC_IN.format(arch=os.uname().machine, disk="DISK", packing="PACKING")
GZIP = '<file type="gzip"><part>demo.img.gz</part></file>'
BOMB = (
    '<!DOCTYPE vc [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><vc>&i;</vc>"
)
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
LASTING = ("log", "state/site.db", "state/locks", "state/memory-driver", "state/accel.json")
"""What commands may leave behind for good (docs/state.md); locks of clusters are looked at apart."""


def document(disk: str = "demo.img", packing: str = "") -> str:
    return FRAME.replace("DISK", disk).replace("PACKING", packing)


class Case:
    """A site whose repository offers one image, `demo`; its parts are made bad by the tests."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys
        self.image = root / "images/demo"
        self.image.mkdir(parents=True)
        (root / "images/vcdb.txt").write_text("demo,demo/demo.xml\n")
        configure(root, root, "cpus_per_node = 2\n")
        (self.image / "demo.xml").write_text(document())
        (self.image / "demo.img").write_bytes(bytes(MIB))

    def pragma(self, *words: str) -> Result:
        status = main(words)
        captured = self._capsys.readouterr()
        return Result(status, captured.out, captured.err)

    def refuses(self, *words: str, status: int = 1, says: str) -> str:
        """Run a command that must fail with one error that tells *says* and a mend, and that leaves nothing."""
        before = self.files()
        done = self.pragma(*words)
        assert done.status == status, done.err
        assert done.out == ""
        assert done.err.count("pragma: error:") == 1, done.err
        assert says in done.err, done.err
        assert "→" in done.err, "no mend"
        assert "unexpected" not in done.err
        assert "Traceback" not in done.err
        assert self.files() == before
        assert not list(self.root.glob("state/locks/cluster-*"))
        assert self.pragma("list", "cluster", "--json").out == "[]\n"
        return done.err

    def files(self) -> dict[str, tuple[int, int]]:
        """All files but the lasting ones, with their size and time of change."""
        found = {str(path.relative_to(self.root)): path.lstat() for path in self.root.rglob("*") if path.is_file()}
        return {
            name: (status.st_size, status.st_mtime_ns) for name, status in found.items() if not name.startswith(LASTING)
        }


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Case:
    monkeypatch.setenv("PRAGMA_BOOT_ETC", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Case(tmp_path, capsys)


def boot(case: Case, says: str, *words: str, status: int = 1) -> str:
    return case.refuses("boot", "demo", "1", "wait=no", *words, status=status, says=says)


def system(path: Path) -> Path:
    """The least that counts as a root file system which can be made ready."""
    for name in ("etc/network/interfaces.d", "etc/ssh", "root", "sbin", "usr/sbin", "usr/bin", "usr/lib", "var/lib"):
        (path / name).mkdir(parents=True)
    (path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (path / "etc/network/interfaces").write_text("auto lo\niface lo inet loopback\n")
    for name in ("sbin/ifup", "usr/sbin/ifup", "usr/sbin/sshd", "usr/bin/ssh", "sbin/init"):
        (path / name).write_text("#!/bin/sh\n")
        (path / name).chmod(0o755)
    return path


# ------------------------------------------------------------------------------------------------------------- vc-in


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("<vc><frontend></vc>", "demo.xml:1", id="broken"),
        pytest.param(document()[:-40], "demo.xml:", id="truncated"),
        pytest.param("", "demo.xml", id="empty"),
        pytest.param(document() + "<!--" + "x" * 10 * MIB + "-->", "MiB", id="10 MiB"),
        pytest.param(BOMB, "DOCTYPE", id="entity bomb"),
        pytest.param("\0\1\2\xff", "demo.xml", id="binary"),
        pytest.param(document().replace(os.uname().machine, "s390"), "s390", id="foreign architecture"),
        pytest.param(document("../../other.img"), "other.img", id="leaves the repository"),
        pytest.param(document("/etc/shadow"), "/etc/shadow", id="absolute"),
    ],
)
def test_xml(case: Case, text: str, says: str) -> None:
    (case.image / "demo.xml").write_text(text)
    boot(case, says)


# ------------------------------------------------------------------------------------------------------------- names

BAD_NAMES = ["a b", "..", "../x", "a;b", "a" * 300, "größe", "-", "a/b", "a\nb", "$(id)", ""]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_images(case: Case, name: str) -> None:
    case.refuses("boot", "--", name, "1", status=2, says="cannot name an image")


@pytest.mark.parametrize("name", [*BAD_NAMES[:-1], "Upper", "compute-0", "frontend", "x-", "1st"])
def test_names_for_clusters(case: Case, name: str) -> None:
    case.refuses("boot", "demo", "1", f"name={name}", status=2, says="cannot name a cluster")


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("command", ["list cluster", "shutdown", "start", "clean"])
def test_names_of_clusters(case: Case, command: str, name: str) -> None:
    case.refuses(*command.split(), "--", name, status=2, says="cannot name a cluster")


def test_bad_names_in_the_catalog_hide_no_other_image(case: Case) -> None:
    lines = [f"{name},demo/demo.xml" for name in ("a b", "..", "a;b", "a" * 300, "größe")]
    (case.root / "images/vcdb.txt").write_text("\n".join([*lines, "demo,demo/demo.xml", "evil,../../etc/passwd", ""]))
    done = case.pragma("list", "repository")
    assert (done.status, done.out) == (0, "VIRTUAL IMAGE\ndemo\n")
    assert done.err.count("vcdb.txt:") == 6


# ------------------------------------------------------------------------------------------------------------- files


def test_a_missing_catalog(case: Case) -> None:
    (case.root / "images/vcdb.txt").unlink()
    boot(case, "vcdb.txt")


def test_a_missing_document(case: Case) -> None:
    (case.image / "demo.xml").unlink()
    boot(case, "demo.xml")


def test_a_missing_disk(case: Case) -> None:
    (case.image / "demo.img").unlink()
    boot(case, "demo.img")


@pytest.mark.parametrize("name", ["images/vcdb.txt", "images/demo/demo.xml", "images/demo/demo.img"])
def test_unreadable_files(case: Case, name: str) -> None:
    """A folder in the place of a file: the one thing that root cannot read, either."""
    (case.root / name).unlink()
    (case.root / name).mkdir()
    boot(case, Path(name).name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["images/vcdb.txt", "images/demo/demo.xml", "images/demo/demo.img", "memory.conf"])
def test_forbidden_files(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("PRAGMA_BOOT_ETC", str(open_folder))
    case = Case(open_folder, capsys)
    for open_one in ("log", "state"):
        (case.root / open_one).mkdir()
        (case.root / open_one).chmod(0o777)
    (case.root / name).chmod(0)
    os.seteuid(65534)
    try:
        done = case.pragma("boot", "demo", "1")
    finally:
        os.seteuid(0)
    assert done.status == 1
    assert Path(name).name in done.err
    assert "Permission denied" in done.err
    assert "→" in done.err or "mend" in done.err


def test_a_corrupt_gz(case: Case) -> None:
    packed = bytearray(gzip.compress(os.urandom(MIB)))
    packed[len(packed) // 2] ^= 0xFF
    (case.image / "demo.img").unlink()
    (case.image / "demo.img.gz").write_bytes(packed)
    (case.image / "demo.xml").write_text(document(packing=GZIP))
    boot(case, "demo.img.gz")


def test_a_truncated_gz(case: Case) -> None:
    packed = gzip.compress(os.urandom(MIB))
    (case.image / "demo.img").unlink()
    (case.image / "demo.img.gz").write_bytes(packed[: len(packed) // 2])
    (case.image / "demo.xml").write_text(document(packing=GZIP))
    boot(case, "demo.img.gz")


# ------------------------------------------------------------------------------------------------------------- disks


@pytest.mark.parametrize("size", [0, 100, MIB + 1])
def test_a_disk_that_is_cut(case: Case, size: int) -> None:
    (case.image / "demo.img").write_bytes(bytes(size))
    boot(case, "demo.img")


def test_a_disk_without_partitions(case: Case) -> None:
    boot(case, "demo.img")


def test_a_disk_without_an_etc(case: Case, tmp_path: Path) -> None:
    (tmp_path / "tree/home").mkdir(parents=True)
    ext_disk(case.image / "demo.img", tmp_path / "tree", 16 * MIB)
    boot(case, "demo.img")


@pytest.fixture
def small(case: Case) -> Iterator[Callable[[str, int], Path]]:
    """``small("state", 4)`` mounts a tmpfs of 4 MiB there, which is full soon."""
    mounted: list[Path] = []

    def mount(name: str, mib: int) -> Path:
        folder = case.root / name
        folder.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "pragma-test", str(folder)]
        if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode != 0:
            pytest.skip("needs root who may mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_below_the_cache(case: Case, small: Callable[[str, int], Path]) -> None:
    small("state/cache", 4)
    (case.image / "demo.img").unlink()
    (case.image / "demo.img.gz").write_bytes(gzip.compress(os.urandom(8 * MIB), 0))
    (case.image / "demo.xml").write_text(document(packing=GZIP))
    boot(case, "space")


def test_a_full_disk_below_the_overlays(case: Case, small: Callable[[str, int], Path], tmp_path: Path) -> None:
    ext_disk(case.image / "demo.img", system(tmp_path / "tree"), 32 * MIB)
    case.pragma("boot", "demo", "1", "wait=no", "name=good")
    assert case.pragma("shutdown", "good").status == case.pragma("clean", "good").status == 0
    room = small("state/disks", 1)
    (room / "filler").write_bytes(bytes(MIB - 256 * 1024))
    assert len(boot(case, "space").splitlines()) < 10


def test_a_full_disk_below_the_site_database(case: Case, small: Callable[[str, int], Path]) -> None:
    state = small("state", 1)
    with pytest.raises(OSError, match="No space"), (state / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    done = case.pragma("boot", "demo", "1")
    assert done.status == 1
    assert "→" in done.err
    assert "unexpected" not in done.err


# ------------------------------------------------------------------------------------------------- pool, CPUs and keys


def test_an_empty_address_pool(case: Case) -> None:
    text = (case.root / "memory.conf").read_text()
    (case.root / "memory.conf").write_text(text.replace('["198.51.100.10", "198.51.100.11"]', "[]"))
    done = case.pragma("boot", "demo", "1")
    assert done.status == 1
    assert "memory.conf:1 public_ips" in done.err


def test_an_address_pool_that_is_used_up(case: Case, tmp_path: Path) -> None:
    ext_disk(case.image / "demo.img", system(tmp_path / "tree"), 32 * MIB)
    for name in ("one", "two"):
        assert case.pragma("boot", "demo", "0", "wait=no", f"name={name}").status == 0
    before = case.files()
    done = case.pragma("boot", "demo", "0", "wait=no")
    assert done.status == 1
    assert "address" in done.err
    assert "→" in done.err
    assert case.files() == before


@pytest.mark.parametrize("cpus", ["-1", "-0.5", "1.5", "1e3", "two", "99999999999999999999", "0x10", "", " ", "٣"])
def test_cpus_that_are_no_number(case: Case, cpus: str) -> None:
    case.refuses("boot", "demo", cpus, status=2, says="num-cpus")


def test_more_cpus_than_the_site_has(case: Case) -> None:
    case.refuses("boot", "demo", "9999", says="not enough")


def test_no_cpus_are_a_frontend_alone(case: Case, tmp_path: Path) -> None:
    ext_disk(case.image / "demo.img", system(tmp_path / "tree"), 32 * MIB)
    done = case.pragma("boot", "demo", "0", "wait=no")
    assert done.status == 0, done.err
    assert "no compute nodes" in done.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(PRIVATE_KEY, "private key", id="private"),
        pytest.param("ssh-ed25519 AAAA\n" + PRIVATE_KEY, "private key", id="private after a public one"),
        pytest.param("", "key", id="empty"),
        pytest.param("hello\n", "key", id="no key"),
    ],
)
def test_key_files(case: Case, content: str, says: str) -> None:
    path = case.root / "user.key"
    path.write_text(content)
    log = case.root / "log/one.log"
    said = boot(case, says, f"key={path}", f"logfile={log}", "loglevel=DEBUG", status=2)
    assert "c2VjcmV0" not in said + log.read_text()


def test_a_key_file_that_is_missing(case: Case) -> None:
    boot(case, "No such file", f"key={case.root}/none", status=2)


@pytest.mark.parametrize("option", ["enable-ent=yes", "add-iface=openflow"])
def test_options_that_this_driver_does_not_have(case: Case, option: str) -> None:
    boot(case, f"boot without {option.partition('=')[0]}=", option)
