"""What an image's own boot loader would start: its default kernel, initrd and command line.

Only for images whose /boot is on the root file system, and never by guessing: whatever is not plain (a variable that
nobody sets, several kernels in an entry, two boot loaders) gives None, and the node boots through its firmware.
Formats: GRUB manual 16 (simple scripts), UAPI.1 Boot Loader Specification, SYSLINUX's configuration.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from pragma_boot.errors import GuestError
from pragma_boot.image.base import Guest
from pragma_boot.model import KernelBoot

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_EXTLINUX = ("/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg", "/extlinux.conf", "/syslinux.cfg")
_BLS = "/boot/loader/entries"
_LINUX = ("linux", "linux16", "linuxefi")
_INITRD = ("initrd", "initrd16", "initrdefi")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class BootEntry:
    """An entry of a boot menu, resolved: paths in the image, and the words of the kernel's command line."""

    kernel: str
    initrd: str | None
    arguments: tuple[str, ...]


@dataclass(slots=True)
class _Menu:
    """A menu entry or submenu of grub.cfg: its names (title and id), its commands, the entries in a submenu."""

    names: tuple[str, ...] = ()
    commands: list[list[str]] = field(default_factory=list)
    entries: list[_Menu] = field(default_factory=list)
    is_submenu: bool = False


def find_kernel(guest: Guest, folder: Path) -> KernelBoot | None:
    """Copy the image's default kernel and initrd into *folder* (there already); None when in any doubt.

    The command line returned always has ``console=ttyS0``, so that the console's log tells what a node does, and
    ``no_timer_check``: a kernel waits for some ticks in a short loop and panics when a busy host that emulates the CPU
    is late with them (under KVM it does not look).
    The copies are 0644: QEMU's own user reads them. Raises GuestError when they cannot be copied.
    """
    entry = default_entry(guest)
    if not entry or not any(word.startswith("root=") for word in entry.arguments):
        return None
    if not guest.exists(entry.kernel) or (entry.initrd and not guest.exists(entry.initrd)):
        return None
    kernel, initrd = folder / "kernel", folder / "initrd"
    _copy(guest, entry.kernel, kernel)
    if not _is_kernel(kernel):
        kernel.unlink()
        return None
    if entry.initrd:
        _copy(guest, entry.initrd, initrd)
    return KernelBoot(kernel, initrd if entry.initrd else None, " ".join(_for_machine(entry.arguments)))


def _copy(guest: Guest, path: str, target: Path) -> None:
    guest.export(path, target)
    target.chmod(0o644)


def default_entry(guest: Guest) -> BootEntry | None:
    """The entry that the image's boot loader starts when nobody touches a key; None when in any doubt."""
    found = [path for path in (*_GRUB, *_EXTLINUX) if guest.exists(path)]
    if len(found) != 1 or _has_boot_volume(guest):
        return None
    try:
        text = guest.read(found[0]).decode()
        return _extlinux(text, found[0]) if found[0] in _EXTLINUX else _grub(guest, text, found[0])
    except (ValueError, GuestError):  # not UTF-8, unbalanced quotes, unreadable: the firmware's way is open
        return None


def _has_boot_volume(guest: Guest) -> bool:
    if not guest.exists("/etc/fstab"):
        return False
    lines = (line.split() for line in guest.read("/etc/fstab").decode(errors="replace").splitlines())
    return any(len(words) > 1 and not words[0].startswith("#") and words[1] == "/boot" for words in lines)


def _is_kernel(path: Path) -> bool:
    """Whether QEMU can start it directly: an x86 bzImage or an arm64 Image."""
    with path.open("rb") as file:
        head = file.read(0x210)
    return head[0x202:0x206] == b"HdrS" or head[0x38:0x3C] == b"ARM\x64"


def _for_machine(arguments: Iterable[str]) -> list[str]:
    """The image's arguments with what a virtual machine needs."""
    words = list(arguments)
    if not any(word.startswith("console=") for word in words):
        words.append("console=tty0")
    if not any(word.split(",")[0] == "console=ttyS0" for word in words):
        words.append("console=ttyS0")
    if "no_timer_check" not in words:
        words.append("no_timer_check")
    return words


# ----------------------------------------------------------------------------------------------------------------- GRUB


def _grub(guest: Guest, text: str, path: str) -> BootEntry | None:
    folder = PurePosixPath(path).parent
    if guest.exists(str(folder / "custom.cfg")):  # it may choose anything
        return None
    environment = _grubenv(guest, str(folder / "grubenv"))
    if environment.get("next_entry"):  # for one start only
        return None
    menu, uses_bls = _parse_grub(text)
    variables = _settings(menu.commands) | environment
    wanted = _default(menu.commands, environment)
    if wanted is None:
        return None
    if uses_bls:
        return None if menu.entries else _bls(guest, wanted, variables)
    chosen = _choose(menu, wanted)
    return _grub_entry(chosen.commands, variables) if chosen else None


def _grubenv(guest: Guest, path: str) -> dict[str, str]:
    if not guest.exists(path):
        return {}
    lines = guest.read(path).decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _parse_grub(text: str) -> tuple[_Menu, bool]:
    """The menu, and whether its entries are boot loader specification files (`blscfg`). Raises ValueError."""
    top = _Menu(is_submenu=True)
    stack = [top]
    depth = [0]
    uses_bls = False
    for words in _commands(text):
        if words[0] in ("menuentry", "submenu") and words[-1] == "{":
            entry = _Menu(_names(words), is_submenu=words[0] == "submenu")
            stack[-1].entries.append(entry)
            stack.append(entry)
            depth.append(0)
        elif words[-1] == "{":
            depth[-1] += 1
        elif words[0] == "}":
            if depth[-1]:
                depth[-1] -= 1
            elif len(stack) > 1:
                stack.pop()
                depth.pop()
        else:
            stack[-1].commands.append(words)
            uses_bls = uses_bls or words[0] == "blscfg"
    if len(stack) != 1:
        raise ValueError("unbalanced braces")
    return top, uses_bls


def _commands(text: str) -> Iterable[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def _names(words: list[str]) -> tuple[str, ...]:
    """A menu entry's title and, where given, its id (``--id X`` or ``$menuentry_id_option X``)."""
    names = [words[1]]
    for option, value in pairwise(words[:-1]):
        if option in ("--id", "$menuentry_id_option", "${menuentry_id_option}"):
            names.append(value)
    return tuple(names)


def _settings(commands: list[list[str]]) -> dict[str, str]:
    """The variables that ``set`` gives one and the same value wherever it is used."""
    found: dict[str, set[str]] = {}
    for words in commands:
        if words[0] == "set" and len(words) == 2 and "=" in words[1]:
            name, value = words[1].split("=", 1)
            found.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _default(commands: list[list[str]], environment: Mapping[str, str]) -> str | None:
    """The entry that ``set default`` names in the end; None when there are several answers."""
    values = {
        words[1].removeprefix("default=")
        for words in commands
        if words[0] == "set" and len(words) == 2 and words[1].startswith("default=")
    } - {"${next_entry}", "$next_entry"}
    if values & {"${saved_entry}", "$saved_entry"}:
        values = values - {"${saved_entry}", "$saved_entry"} | {environment.get("saved_entry") or "0"}
    if len(values) > 1 or any("$" in value for value in values):
        return None
    return values.pop() if values else "0"


def _choose(menu: _Menu, wanted: str) -> _Menu | None:
    """The entry that *wanted* (a number, title or id; ``A>B`` goes into submenus) names."""
    chosen = menu
    for step in wanted.split(">"):
        if not chosen.is_submenu:
            return None
        named = [entry for entry in chosen.entries if step in entry.names]
        if not named and step.isdecimal() and int(step) < len(chosen.entries):
            named = [chosen.entries[int(step)]]
        if len(named) != 1:
            return None
        chosen = named[0]
    return None if chosen.is_submenu else chosen


def _grub_entry(commands: list[list[str]], variables: Mapping[str, str]) -> BootEntry | None:
    kernels = [words[1:] for words in commands if words[0] in _LINUX]
    initrds = [words[1:] for words in commands if words[0] in _INITRD]
    if len(kernels) != 1 or len(initrds) > 1:
        return None
    return _entry(kernels[0], initrds[0] if initrds else [], variables)


def _entry(kernel: list[str], initrd: list[str], variables: Mapping[str, str]) -> BootEntry | None:
    kernel_words, initrd_words = _expand(kernel, variables), _expand(initrd, variables)
    if not kernel_words or initrd_words is None or len(initrd_words) > 1:
        return None
    paths = [kernel_words[0], *initrd_words]
    if any(not path.startswith("/") or ".." in path.split("/") for path in paths):
        return None
    return BootEntry(kernel_words[0], initrd_words[0] if initrd_words else None, tuple(kernel_words[1:]))


def _expand(words: list[str], variables: Mapping[str, str]) -> list[str] | None:
    """The words with variables replaced, which may add or remove words; None when one is unknown."""
    expanded: list[str] = []
    for word in words:
        for name in (a or b for a, b in _VARIABLE.findall(word)):
            if name not in variables or "$" in variables[name]:
                return None
        replaced = _VARIABLE.sub(lambda found: variables[found[1] or found[2]], word)
        expanded += replaced.split() if replaced != word else [word]
    return None if any("$" in word or " " in word for word in expanded) else expanded


def _bls(guest: Guest, wanted: str, variables: Mapping[str, str]) -> BootEntry | None:
    """The boot loader specification's entry named *wanted*; the only one where the default is no name."""
    names = [name for name in guest.listdir(_BLS) if name.endswith(".conf")]
    chosen = [name for name in names if name.removesuffix(".conf") == wanted]
    if not chosen and wanted == "0" and len(names) == 1:
        chosen = names
    if len(chosen) != 1:
        return None
    values: dict[str, list[str]] = {}
    for line in guest.read(f"{_BLS}/{chosen[0]}").decode().splitlines():
        key, _, value = line.strip().partition(" ")
        if key and not key.startswith("#"):
            values.setdefault(key, []).extend(value.split())
    return _entry(values.get("linux", []) + values.get("options", []), values.get("initrd", []), variables)


# ------------------------------------------------------------------------------------------------------------- EXTLINUX


def _extlinux(text: str, path: str) -> BootEntry | None:
    labels: dict[str, dict[str, str]] = {}
    common: dict[str, str] = {}
    current = common
    chosen: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        key, value = key.lower(), value.strip()
        if key == "label":
            current = labels.setdefault(value, {})
        elif key in ("default", "ontimeout"):
            chosen.add(value)
        elif key == "menu" and value.lower() == "default":
            chosen |= {label for label, keys in labels.items() if keys is current}
        elif key in ("include", "config"):
            return None
        elif key and not key.startswith("#"):
            current[key] = value
    if not chosen and len(labels) == 1:
        chosen = set(labels)
    if len(chosen) != 1 or not chosen <= set(labels):
        return None
    return _extlinux_entry({**common, **labels[chosen.pop()]}, path)


def _extlinux_entry(keys: Mapping[str, str], path: str) -> BootEntry | None:
    append = [word for word in keys.get("append", "").split() if not word.startswith("initrd=")]
    initrds = [word.removeprefix("initrd=") for word in keys.get("append", "").split() if word.startswith("initrd=")]
    initrds += [keys["initrd"]] if "initrd" in keys else []
    kernel = keys.get("linux") or keys.get("kernel")
    if not kernel or len(initrds) > 1 or "," in "".join(initrds):
        return None
    folder = PurePosixPath(path).parent
    return _entry([str(folder / kernel), *append], [str(folder / name) for name in initrds], {})
