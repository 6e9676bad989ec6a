"""One raw disk from a folder: MBR, GRUB for BIOS, one ext4 partition. Made by writing bytes into a sparse file.

Layout, in sectors of 512 bytes::

    0           GRUB's boot.img (440 bytes) and the partition table
    1 … 2047    GRUB's core.img, which looks up /boot/grub/grub.cfg on the first partition
    2048 …      ext4, the root file system
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from uuid import UUID

from pragma_boot.errors import PragmaError
from pragma_boot.run import run

SECTOR = 512
GRUB = "usr/lib/grub/i386-pc"
START = 2048
"""First sector of the partition: 1 MiB, as every partitioning tool of today has it."""
GRUB_MODULES = (
    "biosdisk", "part_msdos", "ext2", "normal", "linux", "echo", "test", "search", "search_fs_uuid", "gzio",
    "minicmd", "reboot", "halt", "cat", "ls", "configfile",
)  # fmt: skip
"""Built into core.img: one read through the slow firmware instead of a dozen."""

_BOOT_CODE = 440
_LINUX = 0x83
_EARLY = "set root=(hd0,msdos1)\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
# What GRUB 2.06 cannot read (metadata_csum_seed) and what older hosts cannot edit is left out.
_FEATURES = "^metadata_csum_seed,^orphan_file"


def make_disk(root: Path, target: Path, *, size: int, uuid: UUID, label: str, grub: Path, work: Path) -> None:
    """Make *target*, a sparse raw disk of *size* bytes whose first partition holds the files of *root*.

    grub: the folder of GRUB's own files for BIOS (`GRUB`, in Debian's grub-pc-bin). work: takes temporary files.
    The file system is flushed and complete: nothing is left for the first boot to initialise.
    Raises CommandError when the files do not fit, PragmaError when the boot loader does not.
    """
    sectors = size // SECTOR - START
    with target.open("xb") as disk:
        disk.truncate(size)
    run(
        [
            "mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", label, "-U", str(uuid), "-O", _FEATURES,
            "-E", f"offset={START * SECTOR},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed={uuid}",
            "-d", root, target, f"{sectors * SECTOR // 1024}k",
        ],
        timeout=1800,
        resolution="give the image a larger size=, or free some space in the repository's folder",
    )  # fmt: skip
    core = _core_image(grub, work)
    boot = (grub / "boot.img").read_bytes()
    with target.open("r+b") as disk:
        disk.write(master_boot_record(boot, sectors, signature=uuid.int & 0xFFFFFFFF))
        disk.write(core)
        disk.flush()
        os.fsync(disk.fileno())


def master_boot_record(boot_code: bytes, sectors: int, *, signature: int) -> bytes:
    """Sector 0: *boot_code*, the disk's *signature*, and one active Linux partition of *sectors* from `START` on.

    The old cylinder-head-sector fields say "beyond their range"; everything reads the sector numbers.
    """
    beyond = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0x80, beyond, _LINUX, beyond, START, sectors)
    code = boot_code[:_BOOT_CODE].ljust(_BOOT_CODE, b"\0")
    return code + struct.pack("<IH", signature, 0) + entry.ljust(64, b"\0") + b"\x55\xaa"


def menu(title: str, kernel: str, initrd: str, uuid: UUID, options: str) -> str:
    """A grub.cfg with one entry, in the shape that grub-mkconfig writes (and that kernel finders read)."""
    return f"""\
# Written by the image's builder; update-grub replaces it.
set default="0"
set timeout=0

menuentry '{title}' --class gnu-linux --class os {{
\tinsmod gzio
\tinsmod part_msdos
\tinsmod ext2
\tset root='hd0,msdos1'
\tsearch --no-floppy --fs-uuid --set=root {uuid}
\tlinux\t{kernel} root=UUID={uuid} {options}
\tinitrd\t{initrd}
}}
"""


def _core_image(grub: Path, work: Path) -> bytes:
    early, core = work / "early.cfg", work / "core.img"
    early.write_text(_EARLY)
    argv = ["grub-mkimage", "-O", "i386-pc", "-d", str(grub), "-c", str(early), "-p", "(hd0,msdos1)/boot/grub"]
    run([*argv, "-o", str(core), *GRUB_MODULES], resolution="install grub-common, of the image's release")
    data = core.read_bytes()
    if len(data) > (START - 1) * SECTOR:
        raise PragmaError(f"GRUB's core image has {len(data)} bytes, too many for the gap before the partition")
    return data
