"""Fetching: a 2 GiB image from a web server against curl, pigz and dd; a list of 5,000 images. A trial is smaller."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "tests")]
from bench_site import BASE, BenchSite, bench_folder, done, note, quick, rounds, row, timed  # noqa: E402

from fakes.nginx import installed, running_nginx  # noqa: E402

MIB = 1024**2
SIZE, DATA = (256 * MIB, 100 * MIB) if quick() else (2048 * MIB, 1000 * MIB)
"""Bytes of the disk, and how much of it is not zero."""
IMAGES = 5000
DOCUMENT = (
    "<vc><virtualization engine='kvm' type='hvm' arch='x86_64'/><frontend><domain><devices>"
    "<disk type='file' device='disk'><source file='disk.img.gz'/></disk></devices></domain></frontend></vc>"
)
FETCH = r"""
import json, re, sys, time
from pathlib import Path
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.model import image_name
from pragma_boot.repository.http import HttpRepository
top, others = Path(sys.argv[1]), {"repository_url": sys.argv[2], "cache_format": sys.argv[3]}
settings = RepositorySettings("http", top / "copy", top / "copy/vcdb.txt", top / "cache", others)
repository = HttpRepository(settings, top / "locks")
image = repository.describe(image_name("big"))
began = time.perf_counter()
disk = repository.fetch(image).frontend.path
seconds = time.perf_counter() - began
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6
print(json.dumps([seconds, peak, str(disk)]))
"""


def main() -> None:
    if not installed() or not all(map(shutil.which, ("curl", "pigz", "dd", "qemu-img"))):
        sys.exit("bench: fetch needs nginx-light, openssl, curl, pigz and qemu-utils")
    with bench_folder() as folder:
        (folder / "server").mkdir()
        with running_nginx(folder / "server") as server:
            rows = _large(folder, server.url, server.www)
            rows.append(_list(folder, server.url, server.www))
    done(rows)


def _large(folder: Path, url: str, www: Path) -> list[dict[str, object]]:
    (www / "big").mkdir()
    os.link(packed(folder), www / "big" / "disk.img.gz")
    (www / "big" / "big.xml").write_text(DOCUMENT)
    (www / "vcdb.txt").write_text("big,big/big.xml\n")
    ours, qcow2, pipes, memory, out = [], [], [], [], folder / "pipe.img"
    for turn in range(rounds(3)):
        note(f"fetching, round {turn + 1}")
        pipes.append(timed(lambda: _pipe(f"{url}/big/disk.img.gz", out)))
        for form, samples in (("raw", ours), ("qcow2", qcow2)):
            seconds, peak, disk = _ours(folder / "ours", url, form)
            samples.append(seconds)
            memory.append(peak)
            if not turn:
                subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", form, out, disk], check=True)
            shutil.rmtree(folder / "ours")
        out.unlink()
    ratio = [mine / theirs for mine, theirs in zip(ours, pipes, strict=True)]
    return [
        row(f"fetch + unpack + sparse write of {SIZE // MIB} MiB", ours, "s"),
        row("curl | pigz -dc | dd conv=sparse", pipes, "s"),
        row("the one by the other", [statistics.median(ratio)], "", target="≤ 1.0", most=1.0),
        row("the same to qcow2", qcow2, "s"),
        row("peak memory", [max(memory)], "MB", target="< 150 MB", most=150),
    ]


def _ours(folder: Path, url: str, form: str) -> tuple[float, float, str]:
    folder.mkdir()
    argv = [sys.executable, "-c", FETCH, str(folder), url, form]
    seconds, peak, disk = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    return seconds, peak, disk


def _pipe(url: str, out: Path) -> None:
    words = 'curl -sf "$1" | pigz -dc | dd of="$2" bs=64k iflag=fullblock conv=sparse status=none'
    subprocess.run(["bash", "-o", "pipefail", "-c", words, "sh", url, out], check=True)


def packed(folder: Path) -> Path:
    """A gzipped disk of programs and texts of this machine, then zeros; kept for the next bench, a trial's is not."""
    path = (folder if quick() else BASE) / "fetch-disk.img.gz"
    if not path.exists():
        note(f"packing a disk of {SIZE // MIB} MiB")
        unfinished = folder / "packed"
        with unfinished.open("wb") as target:
            packer = subprocess.Popen(["pigz", "-6"], stdin=subprocess.PIPE, stdout=target)
            assert packer.stdin
            for piece in _disk():
                packer.stdin.write(piece)
            packer.stdin.close()
            if packer.wait():
                sys.exit("bench: pigz failed")
        unfinished.replace(path)
    return path


def _disk() -> Iterator[bytes]:
    left = DATA
    while left:  # a small machine's files are taken more than once
        for file in sorted(Path("/usr").rglob("*")):
            if left and file.is_file() and not file.is_symlink():
                piece = file.read_bytes()[:left]
                left -= len(piece)
                yield piece
    for _ in range((SIZE - DATA) // MIB):
        yield bytes(MIB)


def _list(folder: Path, url: str, www: Path) -> dict[str, object]:
    note(f"listing {IMAGES} images")
    (www / "vcdb.txt").write_text(
        "".join(f"image{number},image{number}/image{number}.xml\n" for number in range(IMAGES))
    )
    site = BenchSite(_made(folder / "list"), memory=256)
    (site.folder / "etc" / "site_conf.conf").write_text(
        f"site_ve_driver = 'libvirt'\nstate_directory = '{folder / 'state'}'\nlog_directory = '{folder / 'log'}'\n"
        "repository_settings = {'repository_class': 'http',"
        f" 'repository_dir': '{folder / 'copy'}', 'repository_url': '{url}'}}\n"
    )
    site.pragma("list", "repository")
    samples = [1000 * timed(lambda: site.pragma("list", "repository")) for _ in range(rounds(5))]
    return row(f"pragma list repository, {IMAGES} images over http", samples, "ms", target="≤ 1000 ms", most=1000)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
