"""A disk saved by Clonezilla: restored by pragma, against pigz and partclone.restore; and the memory it takes.

Both write the same sparse raw file from the same parts of 2000 MB that are in the page cache; every result is compared
with the disk that was saved, sector by sector. A trial is smaller.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import bench_folder, done, note, quick, rounds, row, timed

MIB = 1024 * 1024
DISK, DATA = (256 * MIB, 64 * MIB) if quick() else (2048 * MIB, 600 * MIB)
START = 2048 * 512
PROGRAMS = ("partclone.ext4", "partclone.restore", "pigz", "sfdisk", "mke2fs", "qemu-img")

_RESTORE = """
import os, resource, sys
from pathlib import Path
from pragma_boot.model import DiskFormat
from pragma_boot.repository.clonezilla.directory import from_folder
from pragma_boot.repository.clonezilla.restore import restore_file
target = Path(sys.argv[2])
target.touch()
restore_file(from_folder(Path(sys.argv[1])), target, DiskFormat(sys.argv[3]), "bench")
with target.open("rb") as file:
    os.fsync(file)  # partclone does
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
"""


def main() -> None:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        sys.exit(f"bench: clonezilla needs {', '.join(missing)}")
    with bench_folder() as work:
        note(f"saving a disk with {DATA // MIB} MiB of data")
        disk, image = save(work)
        done(measure(work, disk, image))


def measure(work: Path, disk: Path, image: Path) -> list[dict[str, object]]:
    peaks: list[float] = []
    ours, theirs, qcow2 = [], [], []
    for turn in range(rounds(3)):  # in turns: the machine's mood is the same for all
        note(f"restoring, round {turn + 1}")
        theirs.append(timed(lambda: by_partclone(image, fresh(work / "theirs"))))
        ours.append(timed(lambda: peaks.append(restore(image, fresh(work / "ours"), "raw"))))
        qcow2.append(timed(lambda: peaks.append(restore(image, fresh(work / "qcow2"), "qcow2"))))
        for name in ("ours", "theirs"):
            subprocess.run(["cmp", disk, work / name], check=True)
        subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", disk, work / "qcow2"], check=True)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return [
        row(f"pigz -dc | partclone.restore, disk of {DISK // MIB} MiB", theirs, "s"),
        row("restored by pragma to raw", ours, "s"),
        row("restored by pragma to qcow2", qcow2, "s"),
        row("the raw one by partclone's", ratios, "", target="≤ 0.5", most=0.5),
        row("peak memory", [max(peaks)], "MB", target="< 150 MB", most=150),
    ]


def fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


def save(work: Path) -> tuple[Path, Path]:
    """A disk with one ext4 partition, half of whose data packs well, and its image directory."""
    tree = work / "tree"
    tree.mkdir()
    noise = random.Random(1)
    for number in range(DATA // (4 * MIB)):
        hard = noise.randbytes(2 * MIB)
        (tree / f"file-{number}").write_bytes(hard + (noise.randbytes(64) * (2 * MIB // 64)))
    disk, image = work / "disk.raw", work / "image"
    image.mkdir()
    with disk.open("xb") as file:
        file.truncate(DISK)
    subprocess.run(["sfdisk", "-q", disk], input=b"label: dos\ntype=83\n", check=True)
    size = (DISK - START) // 1024
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={START}", "-d", tree, disk, f"{size}k"], check=True
    )
    shutil.rmtree(tree)
    part = work / "part.raw"
    words = ["iflag=skip_bytes", f"skip={START}", "bs=1M", "conv=sparse", "status=none"]
    subprocess.run(["dd", f"if={disk}", f"of={part}", *words], check=True)
    os.truncate(part, DISK - START)
    saver = subprocess.Popen(
        ["partclone.ext4", "-c", "-s", part, "-o", "-", "-L", work / "save.log", "-q", "-F", "-z", "10485760"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert saver.stdout
    packed = image / "vda1.ext4-ptcl-img.gz."
    packer = subprocess.Popen(["pigz", "-c", "--fast", "-b", "1024", "-R"], stdin=saver.stdout, stdout=subprocess.PIPE)
    assert packer.stdout
    subprocess.run(["split", "-a", "2", "-b", "2000MB", "-", packed], stdin=packer.stdout, check=True)
    if saver.wait() or packer.wait():
        sys.exit("bench: partclone could not save the disk")
    part.unlink()
    describe(disk, image)
    return disk, image


def describe(disk: Path, image: Path) -> None:
    dump = subprocess.run(["sfdisk", "-d", disk], capture_output=True, text=True, check=True).stdout
    (image / "disk").write_text("vda\n")
    (image / "parts").write_text("vda1\n")
    (image / "vda-pt.sf").write_text(dump.replace(f"{disk}1 ", "/dev/vda1 "))
    parted = f"Disk /dev/vda: {DISK // 512}s\nSector size (logical/physical): 512B/512B\nPartition Table: msdos\n"
    (image / "vda-pt.parted").write_text(parted)
    with disk.open("rb") as file:
        (image / "vda-mbr").write_bytes(file.read(512))


def by_partclone(image: Path, target: Path) -> None:
    """As repositories.md 3.5 does it with the tools there are."""
    with target.open("xb") as file:
        file.truncate(DISK)
        file.write((image / "vda-mbr").read_bytes())
    cat = subprocess.Popen(["cat", *sorted(image.glob("vda1.*"))], stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["pigz", "-dc"], stdin=cat.stdout, stdout=subprocess.PIPE)
    argv = ["partclone.restore", "-C", "-s", "-", "-O", target, "-E", str(START), "-L", target.with_suffix(".log")]
    subprocess.run([*argv, "-q", "-F"], stdin=unpack.stdout, check=True, capture_output=True)
    if cat.wait() or unpack.wait():
        sys.exit("bench: pigz failed")


def restore(image: Path, target: Path, form: str) -> float:
    """In a process of its own; its peak memory, MB."""
    argv = [sys.executable, "-c", _RESTORE, image, target, form]
    return float(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
