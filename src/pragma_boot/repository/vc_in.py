"""Reads vc-in, the XML document that describes an image, in every form that it ever had (guest.md 2.1–2.3).

The document is a stranger's: names in it never leave its folder, numbers are bounded, and all its faults are told
at once, each with its line. What old readers ignored is ignored, too; what nobody knows is logged.
"""

from __future__ import annotations

import logging
import re
from ipaddress import IPv4Interface
from pathlib import Path, PurePosixPath

from pragma_boot.errors import Fault, ImageError
from pragma_boot.model import DiskFormat, FileSource, Image, ImageName, NodeImage, Packing, VolumeSource, shorten
from pragma_boot.repository import markup
from pragma_boot.repository.markup import Element

_log = logging.getLogger(__name__)

ARCHITECTURES = ("x86_64", "aarch64")
DELAY_LIMIT = 600
"""The longest delay between frontend and computes that an image may ask for, seconds."""

_KNOWN = frozenset(
    ("virtualization", "driver", "distro", "description", "frontend", "compute", "networks", "files"),
)
_PACKINGS = {
    "raw": Packing.RAW,
    "gzip": Packing.GZIP,
    "split": Packing.SPLIT,
    "splited": Packing.SPLIT,
    "split_gzip": Packing.SPLIT_GZIP,
    "splited_gzip": Packing.SPLIT_GZIP,
    **dict.fromkeys(("compressed", "zstd", "xz", "bzip2"), Packing.COMPRESSED),
    **{f"split_{name}": Packing.SPLIT_COMPRESSED for name in ("compressed", "zstd", "xz", "bzip2")},
}
_SUFFIXES = {
    ".gz": Packing.GZIP, ".zst": Packing.COMPRESSED, ".xz": Packing.COMPRESSED, ".bz2": Packing.COMPRESSED,
}  # fmt: skip
_SPLIT = {Packing.GZIP: Packing.SPLIT_GZIP, Packing.COMPRESSED: Packing.SPLIT_COMPRESSED}
_UNITS = {"b": 1, "byte": 1, "bytes": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", start=1)
    for unit, base in ((letter, 1024), (f"{letter}ib", 1024), (f"{letter}b", 1000))
}
_MEMORY_LIMIT_MIB = 64 * 1024 * 1024
_VCPU_LIMIT = 4096
_MIB = 1024 * 1024
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*(?:/[A-Za-z0-9][A-Za-z0-9_.:-]*)*")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


def load(path: Path, name: ImageName) -> Image:
    """Read the document at *path*; relative names in it start from its folder.

    Raises ImageError when the file cannot be read, and as `parse` does.
    """
    try:
        with path.open("rb") as file:
            data = file.read(markup.SIZE_LIMIT + 1)
    except OSError as error:
        raise ImageError(
            f"the description of image {name} cannot be read",
            details=f"{path}: {error.strerror}",
            resolution="mend the image's line in the catalog, or the file and its permissions",
        ) from error
    return parse(data, name=name, origin=str(path), directory=path.parent)


def parse(data: bytes, *, name: ImageName, origin: str, directory: Path) -> Image:
    """Turn a document into an Image.

    origin: its path or URL, for messages. directory: the local folder that relative names start from.

    Raises ImageError that lists every fault of the document, one line each, with line numbers.
    """
    root = markup.read(data, origin)
    reader = _Reader(root, origin)
    image = reader.image(name, directory)
    if image is None:
        raise ImageError(
            f"the description of image {name} has {len(reader.faults)} fault{'s'[: len(reader.faults) > 1]}",
            details="\n".join(map(str, sorted(reader.faults, key=lambda fault: int(fault.where.rpartition(":")[2])))),
            resolution="mend the document; docs/vc-documents.md describes its form",
        )
    return image


class _Reader:
    """One walk over a document, which collects its faults; what is at fault reads as None meanwhile."""

    def __init__(self, root: Element, origin: str) -> None:
        self.faults: list[Fault] = []
        self._root = root
        self._origin = origin

    def image(self, name: ImageName, directory: Path) -> Image | None:
        root = self._root
        if root.tag != "vc":
            self._fault(root, f"the root element is <{shorten(root.tag)}>, not <vc>", "this is no vc-in document")
            return None
        self._look_over()
        arch = self._arch(name)
        frontend, compute = self._nodes()
        network, delay = self._private_network(), self._delay()
        if self.faults or frontend is None:
            return None
        return Image(
            name=name,
            arch=arch,
            origin=self._origin,
            directory=directory,
            frontend=frontend,
            compute=compute,
            private_network=network,
            compute_delay=delay,
            description=shorten(_text(root.find("description")), 1000),
        )

    def _fault(self, element: Element, what: str, mend: str = "") -> None:
        self.faults.append(Fault(f"{self._origin}:{element.line}", what, mend))

    def _warn(self, element: Element, what: str) -> None:
        _log.warning("%s:%d: %s", self._origin, element.line, what)

    def _look_over(self) -> None:
        for child in self._root.children:
            if child.tag not in _KNOWN:
                self._warn(child, f"<{shorten(child.tag)}> is unknown and ignored")
        for tag in ("virtualization", "frontend", "compute"):
            for again in list(self._root.all(tag))[1:]:
                self._fault(again, f"a second <{tag}>", "keep one")

    def _arch(self, name: ImageName) -> str:
        element = self._root.find("virtualization")
        arch = element.get("arch") if element else None
        if element is None or not arch:
            self._fault(element or self._root, "the architecture is missing", '<virtualization arch="x86_64"/>')
            return ""
        if arch not in ARCHITECTURES:
            what = f"unsupported architecture {shorten(arch)!r} of image {name}"
            self._fault(element, what, f"one of {', '.join(ARCHITECTURES)}")
        if element.get("engine") not in (None, "", "kvm"):
            self._warn(element, f"made for {shorten(element.get('engine') or '')!r}, it may not start under KVM")
        return arch

    # ------------------------------------------------------------------------------------------------------- nodes

    def _nodes(self) -> tuple[NodeImage | None, NodeImage | None]:
        first, second = self._root.find("frontend"), self._root.find("compute")
        if first is None:
            self._fault(self._root, "<frontend> is missing", "add it, with the frontend's disk")
            return None, self._node(second, None) if second else None
        disk = _disk(first)
        if disk is None:
            self._fault(first, "<frontend> has no disk", 'add <disk><source file="…"/></disk>')
        frontend = self._node(first, None)
        return frontend, self._node(second, frontend) if second else None

    def _node(self, node: Element, fallback: NodeImage | None) -> NodeImage | None:
        """One role; a node without a disk gets that of *fallback*."""
        disk = _disk(node)
        source = self._source(node, disk) if disk else fallback and fallback.source
        memory, vcpus = self._memory(node), self._vcpus(node)
        return NodeImage(source, memory, vcpus) if source else None

    def _source(self, node: Element, disk: Element) -> FileSource | VolumeSource | None:
        for again in list(_disks(node))[1:]:
            self._warn(again, "a node has one disk, further ones are ignored")
        element = disk.find("source")
        if element is None:
            self._fault(disk, "the disk has no <source>", '<source file="…"/>')
            return None
        forms = [form for form in ("file", "dev", "volume") if element.get(form) is not None]
        if forms == ["volume"]:
            return self._volume(element)
        if forms == ["file"]:
            return self._file(node, disk, element)
        what = "a block device as source" if forms == ["dev"] else "the source must have exactly one form"
        self._fault(element, what, 'file="…", or volume="…" with pool="…"')
        return None

    def _volume(self, element: Element) -> VolumeSource | None:
        pool, volume, host = element.get("pool") or "", element.get("volume") or "", element.get("host") or None
        if not pool:
            pool, _, volume = volume.rpartition("/")
        volume = volume.removeprefix(f"{pool}/")
        for what, text, pattern in (("pool", pool, _POOL), ("volume", volume, _VOLUME), ("host", host, _HOST)):
            if text is not None and (len(text) > 255 or not pattern.fullmatch(text)):
                self._fault(element, f"{shorten(text)!r} cannot name a {what}")
        return VolumeSource(pool, volume, host)

    def _file(self, node: Element, disk: Element, element: Element) -> FileSource | None:
        declared = self._declared_format(disk)
        file = self._relative(element, element.get("file") or "", "file")
        if file is None:
            return None
        packed = self._packed(node, file)
        return FileSource(packed[0], packed[1], packed[2], declared) if packed else None

    def _declared_format(self, disk: Element) -> DiskFormat | None:
        driver = disk.find("driver")
        text = (driver.get("type") if driver else None) or disk.get("format")
        if not text:
            return None
        try:
            return DiskFormat(text.lower())
        except ValueError:
            self._fault(driver or disk, f"unsupported disk format {shorten(text)!r}", "convert it to raw or qcow2")
            return None

    # ---------------------------------------------------------------------------------------------------- packing

    def _packed(self, node: Element, file: str) -> tuple[str, Packing, tuple[str, ...]] | None:
        """The assembled name, how it is packed, and its parts."""
        element = self._file_element(node, file)
        if element is None:
            plain, packed = _plain(file)
            return (plain, packed, (file,)) if packed else (file, Packing.RAW, (file,))
        kind = element.get("type") or ""
        packing = _PACKINGS.get(kind.lower())
        if packing is None:
            self._fault(element, f"unknown packing {shorten(kind)!r}", f"type is one of {', '.join(_PACKINGS)}")
            return None
        found = [self._relative(part, part.text, "part") for part in element.iter("part")]
        parts = tuple(part for part in found if part is not None)
        return self._combined(element, file, packing, parts) if len(parts) == len(found) else None

    def _file_element(self, node: Element, file: str) -> Element | None:
        """Rule 2 of guest.md 2.3: `file` below the node, else the one at the root that is named like the source."""
        base = PurePosixPath(file).name
        below = list(node.iter("file"))
        for element in below:
            if PurePosixPath(element.get("filename") or "").name == base:
                return element
        if below:
            return below[0]
        listed = (element for files in self._root.all("files") for element in files.all("file"))
        return next((one for one in listed if PurePosixPath(one.get("filename") or "").name == base), None)

    def _combined(
        self, element: Element, file: str, packing: Packing, parts: tuple[str, ...]
    ) -> tuple[str, Packing, tuple[str, ...]] | None:
        plain, packed = _plain(file)
        if packing is Packing.RAW and (not parts or file in parts):
            return file, packing, (file,)
        if not parts:
            self._fault(element, f"packing {packing.value!r} without a <part>", "name the packed file in <part>")
            return None
        if packing is Packing.SPLIT and packed:
            packing = _SPLIT[packed]
        if packing in (Packing.SPLIT, *_SPLIT.values()):
            return plain, packing, parts
        if packing in _SPLIT:
            parts = tuple(part for part in parts if part in (file, *(plain + end for end in _SUFFIXES))) or parts
        if len(parts) > 1:
            better = {Packing.GZIP: "splited_gzip", Packing.COMPRESSED: "split_compressed"}.get(packing, "splited")
            self._fault(element, f"packing {packing.value!r} with several parts", f"type is {better!r}, perhaps?")
            return None
        return (plain if packing in _SPLIT else file), packing, parts

    def _relative(self, element: Element, text: str, what: str) -> str | None:
        """A file name that stays below the document's folder, cleaned of `./` and `//`."""
        path = PurePosixPath(text)
        if not text or not path.parts:
            self._fault(element, f"an empty {what} name")
        elif path.is_absolute() or ".." in path.parts:
            self._fault(
                element, f"{what} {shorten(text)!r} leaves the image's folder", "name it relative, without '..'"
            )
        elif (
            not text.isprintable() or len(text.encode()) > 1024 or any(len(part.encode()) > 255 for part in path.parts)
        ):
            self._fault(element, f"{what} {shorten(text)!r} is no usable file name", "rename the file")
        else:
            return str(path)
        return None

    # ---------------------------------------------------------------------------------------------------- numbers

    def _memory(self, node: Element) -> int | None:
        """MiB, rounded up: the domain's, else the old attribute of the node (KiB)."""
        element = _in_domain(node, "memory")
        text, unit = (element.text, element.get("unit") or "KiB") if element else (node.get("memory"), "KiB")
        if text is None:
            return None
        factor = _UNITS.get(unit.lower())
        if factor is None:
            self._fault(element or node, f"unknown unit {shorten(unit)!r} of memory", "KiB, MiB or GiB")
            return None
        amount = self._number(element or node, text, "memory", _MEMORY_LIMIT_MIB * _MIB // factor)
        return None if amount is None else -(-amount * factor // _MIB)

    def _vcpus(self, node: Element) -> int | None:
        element = _in_domain(node, "vcpu")
        text = element.text if element else node.get("vcpu")
        return None if text is None else self._number(element or node, text, "vcpu", _VCPU_LIMIT)

    def _delay(self) -> int:
        compute = self._root.find("compute")
        for wait in compute.iter("wait") if compute else ():
            if wait.get("type") == "clock":
                value = self._number(wait, wait.get("value") or "", "wait", 10**9, least=0) or 0
                if value > DELAY_LIMIT:
                    self._warn(wait, f"a delay of {value} seconds is cut to {DELAY_LIMIT}")
                return min(value, DELAY_LIMIT)
        return 0

    def _number(self, element: Element, text: str, what: str, most: int, least: int = 1) -> int | None:
        digits = text.isascii() and text.isdigit() and len(text) <= 20
        if digits and least <= int(text) <= most:
            return int(text)
        self._fault(element, f"{what} is {shorten(text)!r}", f"a whole number from {least} to {most}")
        return None

    # ---------------------------------------------------------------------------------------------------- network

    def _private_network(self) -> IPv4Interface | None:
        networks = self._root.find("networks")
        listed = list(networks.all("network")) if networks else []
        chosen = next((one for one in listed if one.get("name") == "private"), listed[0] if listed else None)
        if chosen is None:
            return None
        old = chosen.find("ip")
        address = old.get("address") if old else _text(chosen.find("ipaddress"))
        mask = old.get("netmask") if old else _text(chosen.find("netmask"))
        if not address and not mask:
            return None
        try:
            return _frontend_side(IPv4Interface(f"{address}/{mask}"))
        except ValueError:
            what = f"{shorten(f'{address}/{mask}')!r} is no private network"
            self._fault(old or chosen, what, "the frontend's address and a mask, 10.1.1.1 and 255.255.0.0 say")
            return None


def _plain(file: str) -> tuple[str, Packing | None]:
    """A file's name without the suffix of a compressor, and which packing that suffix means."""
    for suffix, packing in _SUFFIXES.items():
        if file.endswith(suffix) and len(PurePosixPath(file).name) > len(suffix):
            return file.removesuffix(suffix), packing
    return file, None


def _frontend_side(given: IPv4Interface) -> IPv4Interface:
    """The frontend's address: some documents name the network instead, whose first address is meant then."""
    network = given.network
    address = given.ip + 1 if given.ip == network.network_address else given.ip
    odd = given.is_multicast or given.is_loopback or given.is_link_local or int(given.ip) >> 24 == 0
    if odd or not 8 <= network.prefixlen <= 30 or address == network.broadcast_address:
        raise ValueError(str(given))
    return IPv4Interface(f"{address}/{network.prefixlen}")


def _disks(node: Element) -> list[Element]:
    return [disk for disk in node.iter("disk") if disk.get("device") in (None, "", "disk")]


def _disk(node: Element) -> Element | None:
    return next(iter(_disks(node)), None)


def _in_domain(node: Element, tag: str) -> Element | None:
    domain = node.find("domain")
    return domain.find(tag) if domain else None


def _text(element: Element | None) -> str:
    return element.text if element else ""
