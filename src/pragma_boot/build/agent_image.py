"""`add_agent`: a copy of an image, with the guest agent in it, that a repository offers; in one step or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import escape

from pragma_boot import files
from pragma_boot.build.inject import agent_edits, program
from pragma_boot.errors import NotAvailableError, PragmaError
from pragma_boot.image.base import DiskStore
from pragma_boot.model import (
    Disk,
    DiskFormat,
    ImageName,
    LocalDisk,
    LocalImage,
    NodeName,
    Progress,
    ProgressSink,
    Role,
    no_progress,
)
from pragma_boot.run import run

_RECORD = "agent.json"


def add_agent(
    source: LocalImage, name: ImageName, repository: Path, disks: DiskStore, progress: ProgressSink = no_progress
) -> Path:
    """Put a copy of the image *source* with the agent in it into *repository* as *name*; its vc-in document.

    The source is only read. Disks become qcow2 files that stand alone, fit for a cloud's template, too. The second
    time, with nothing changed, nothing happens; so is an image that already carries the agent brought up to date.

    Raises PragmaError when the name is taken by something else (running nodes may stand on it) or the disk is full,
    NotAvailableError for disks on volumes, GuestError for an image that cannot take the agent.
    """
    record = _record(source)
    target = repository / name
    if _is_made(target, record):
        return target / f"{name}.xml"
    with _scratch(repository, name) as work:
        for disk, path in _copies(source, name):
            progress(Progress("prepare", name, f"copying {disk.path.name}"))
            _copy(disk, work / path)
            progress(Progress("prepare", name, "putting the agent in"))
            copy = Disk(NodeName("agent"), work / path, DiskFormat.QCOW2, disk)
            with disks.edit((copy,)) as (guest,):
                guest.apply(agent_edits(guest))
        (work / f"{name}.xml").write_bytes(_document(source, name))
        (work / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        for file in work.iterdir():
            file.chmod(0o644)
        work.chmod(0o755)
        if target.exists():
            raise _taken(target)
        work.rename(target)
    return target / f"{name}.xml"


def _record(source: LocalImage) -> dict[str, str]:
    """What a copy was made of: another agent or other disks give another record."""
    found = {"agent": hashlib.sha256(program().encode()).hexdigest()}
    for role in Role:
        disk = source.for_role(role)
        if disk.volume:
            raise NotAvailableError(
                f"the disks of image {source.image.name} are volumes ({disk.path})",
                resolution="copy the volume's content into a file, and offer that as an image",
            )
        facts = disk.path.stat()
        found[str(role)] = f"{disk.path} {facts.st_size} {facts.st_mtime_ns}"
    return found


def _is_made(target: Path, record: dict[str, str]) -> bool:
    if not target.exists():
        return False
    try:
        made = json.loads((target / _RECORD).read_text())
    except (OSError, ValueError):
        made = None
    if made != record:
        raise _taken(target)
    return True


def _taken(target: Path) -> PragmaError:
    return PragmaError(
        f"{target} is there already",
        details="it was made of something else, or by another version",
        resolution="choose another name=, or remove that folder when no cluster uses the image",
    )


@contextmanager
def _scratch(repository: Path, name: str) -> Iterator[Path]:
    files.make_folder(repository)
    work = Path(tempfile.mkdtemp(prefix=f"{files.UNFINISHED}{name}.", dir=repository))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copies(source: LocalImage, name: ImageName) -> list[tuple[LocalDisk, str]]:
    """Each disk once, and the name of its copy."""
    if source.frontend == source.compute:
        return [(source.frontend, f"{name}.qcow2")]
    return [(source.frontend, f"{name}.qcow2"), (source.compute, f"{name}-compute.qcow2")]


def _copy(disk: LocalDisk, target: Path) -> None:
    run(
        ["qemu-img", "convert", "-q", "-f", str(disk.format), "-O", "qcow2", disk.path.absolute(), target],
        timeout=3600,
        resolution="see that the image is a sound disk image and that there is space for its copy",
    )


def _document(source: LocalImage, name: ImageName) -> bytes:
    """The vc-in document of the copy."""
    from lxml import etree  # noqa: PLC0415 - slow to import

    form = (resources.files("pragma_boot.build") / "files/vc-in.xml").read_text()
    about = f"{source.image.description or source.image.name}, with pragma_boot's guest agent"
    text = form.format(name=name, memory=source.image.frontend.memory_mib or 512, description=escape(about))
    root = etree.fromstring(text.encode())
    frontend = root.find("frontend")
    assert frontend is not None
    names = [path for _, path in _copies(source, name)]
    parts = [frontend]
    if len(names) > 1:
        compute = deepcopy(frontend)
        compute.tag = "compute"
        devices = compute.find("domain/devices")
        assert devices is not None
        devices.remove(devices.findall("interface")[1])
        frontend.addnext(compute)
        parts.append(compute)
    for part, file in zip(parts, names, strict=True):
        for path, key, value in (("disk/driver", "type", "qcow2"), ("disk/source", "file", file)):
            element = part.find(f"domain/devices/{path}")
            assert element is not None
            element.set(key, value)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
