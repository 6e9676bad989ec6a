"""Write configuration files: commented, complete, and read back without a fault."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pragma_boot.config.key import Key
from pragma_boot.config.keys import DRIVER_KEYS, SITE_FILE, SITE_KEYS, driver_file
from pragma_boot.config.repository_keys import REPOSITORY_KEYS

HEADER = (
    "Python in syntax, never executed: lines like name = value, where a value is text in quotes, a number, True, False,"
    " a list, a dictionary, range(), a name from above, or a sum of these. Lines that begin with #name show what holds"
    " when the key is absent, or else an example. docs/site-config.md explains every key."
)


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What `pragma init` found out or chose for a host that runs clusters behind a NAT network of its own.

    public_ips: the first and the last of the addresses for clusters; netmask and gw describe the network around them.
    vlans: a range, as in Python without its end.
    """

    state_directory: Path
    repository_dir: Path
    log_directory: Path
    libvirt_uri: str
    nat_network: str
    public_ips: tuple[IPv4Address, IPv4Address]
    netmask: IPv4Address
    gw: IPv4Address
    dns: tuple[IPv4Address, ...]
    vlans: range
    cpus_per_node: int
    memory_mib: int
    cpu_overcommit: int = 1


def site_files(facts: SiteFacts) -> dict[str, str]:
    """The texts of `site_conf.conf` and `libvirt.conf` for *facts*, by file name."""
    site = {
        "site_ve_driver": "libvirt",
        "log_directory": facts.log_directory,
        "state_directory": facts.state_directory,
        "repository_settings": {"repository_class": "local", "repository_dir": facts.repository_dir},
    }
    libvirt = {
        "public_ips": [f"{facts.public_ips[0]}-{facts.public_ips[1]}"],
        "netmask": facts.netmask,
        "gw": facts.gw,
        "dns": list(facts.dns),
        "vlans": facts.vlans,
        "hosts": [facts.libvirt_uri],
        "public_network": {"nat": facts.nat_network},
        "cpus_per_node": facts.cpus_per_node,
        "cpu_overcommit": facts.cpu_overcommit,
        "memory": facts.memory_mib,
    }
    return {
        SITE_FILE: render("The configuration of this site.", SITE_KEYS, site),
        driver_file("libvirt"): render("Settings of the driver libvirt.", DRIVER_KEYS["libvirt"], libvirt),
    }


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What `pragma init` found out or chose for a user's own site, whose clusters run without root."""

    state_directory: Path
    cache_dir: Path
    repository_dir: Path
    cpus_per_node: int
    memory_mib: int
    cpu_overcommit: int


def user_files(facts: UserFacts) -> dict[str, str]:
    """The texts of `site_conf.conf` and `qemu.conf` for *facts*, by file name."""
    site = {
        "site_ve_driver": "qemu",
        "log_directory": facts.state_directory / "log",
        "state_directory": facts.state_directory,
        "repository_settings": {
            "repository_class": "local",
            "repository_dir": facts.repository_dir,
            "cache_dir": facts.cache_dir,
        },
    }
    qemu = {
        "cpus_per_node": facts.cpus_per_node,
        "cpu_overcommit": facts.cpu_overcommit,
        "memory": facts.memory_mib,
    }
    return {
        SITE_FILE: render("The configuration of this site, which needs nothing of root's.", SITE_KEYS, site),
        driver_file("qemu"): render("Settings of the driver qemu.", DRIVER_KEYS["qemu"], qemu),
    }


def render(title: str, rows: Iterable[Key], given: Mapping[str, object]) -> str:
    """A configuration file with every key of *rows*: those *given* set to their values, the others as comments."""
    blocks = ["\n".join([*_comment(title), "#", *_comment(HEADER)])]
    blocks += ["\n".join(_entry(row, given)) for row in rows]
    return "\n\n".join(blocks) + "\n"


def literal(value: object) -> str:
    """A value as it stands in a file; paths and addresses become text, tuples lists."""
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case range():
            return f"range({value.start}, {value.stop})"
        case list() | tuple():
            return f"[{', '.join(literal(item) for item in value)}]"
        case dict():
            return "{" + ", ".join(f"{literal(name)}: {literal(item)}" for name, item in value.items()) + "}"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def shown_default(key: Key) -> str:
    """What holds when the key is absent, in words for people: a literal, a sentence, or `required`."""
    if key.required:
        return "required"
    return key.absent or (f"`{literal(key.default)}`" if key.default is not None else "none")


def _entry(row: Key, given: Mapping[str, object]) -> Iterator[str]:
    absent = f" Default: {row.absent}." if row.absent else ""
    yield from _comment(row.help + absent)
    if row.name == "repository_settings":
        value = given.get(row.name, row.example)
        assert isinstance(value, dict)
        yield f"{row.name} = {{"
        yield from _repository_entries(value)
        yield "}"
    elif row.name in given:
        yield f"{row.name} = {literal(given[row.name])}"
    else:
        yield f"#{row.name} = {literal(_stand_in(row))}"


def _repository_entries(given: Mapping[str, object]) -> Iterator[str]:
    for row in REPOSITORY_KEYS:
        absent = f" Default: {row.absent}." if row.absent else ""
        classes = f" For {', '.join(row.only)}." if row.only else ""
        yield from _comment(row.help + absent + classes, "    ")
        if row.name in given:
            yield f'    "{row.name}": {literal(given[row.name])},'
        else:
            yield f'    #"{row.name}": {literal(_stand_in(row))},'


def _stand_in(row: Key) -> object:
    """What a comment shows for a key that is not set: its default, or an example where that says nothing."""
    return row.example if row.default in (None, "", {}, []) else row.default


def _comment(text: str, indent: str = "") -> list[str]:
    lead = f"{indent}# "
    return textwrap.wrap(text, 100, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False)
