"""One group of keys in one file: what is unknown in it, what it defaults to, and what its values are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pragma_boot.config.key import Key
from pragma_boot.config.keys import DRIVER_KEYS, SITE_FILE, SITE_KEYS, driver_file
from pragma_boot.config.load import Loaded
from pragma_boot.config.repository_keys import REPOSITORY_KEYS
from pragma_boot.config.values import WrongValueError, nearest
from pragma_boot.errors import Fault
from pragma_boot.model import shorten


@dataclass(frozen=True, slots=True)
class Section:
    """The keys that may be given (*rows*), those that are (*given*), and where they stand.

    prefix: the key whose dictionary this is; empty for the file itself.
    """

    rows: tuple[Key, ...]
    given: Mapping[Any, object]
    loaded: Loaded
    prefix: tuple[str, ...] = ()

    def fault(self, key: Key, what: str, mend: str, name: str = "") -> Fault:
        """A fault of *key*, which the file calls *name*; it tells the value unless that is secret."""
        name = name or self.name(key)
        shown = f"{shorten(ascii(self.given[name]))} " if name in self.given and not key.secret else ""
        return Fault(self.loaded.where(*self.prefix, name), shown + what, mend)

    def name(self, key: Key) -> str:
        """What the file calls *key*: its name or the alias that is used."""
        return next((name for name in (key.name, *key.aliases) if name in self.given), key.name)


def unknown(section: Section) -> list[Fault]:
    """A fault for each given key that has no row, with the nearest that has one.

    Names that other values are made of, and those that begin with ``_``, are the file's own affair.
    """
    known = [name for row in section.rows for name in (row.name, *row.aliases)]
    faults = []
    for name in section.given:
        if name in known:
            continue
        if not isinstance(name, str):
            where = section.loaded.where(*section.prefix)
            faults.append(Fault(where, f"has the key {shorten(ascii(name))}", "write keys as text in quotes"))
        elif section.prefix or not (name in section.loaded.used or name.startswith("_")):
            where = section.loaded.where(*section.prefix, name)
            faults.append(Fault(where, "is not a known key", _advice(section, name, known)))
    return faults


def _advice(section: Section, name: str, known: list[str]) -> str:
    near = nearest(name, known)
    if near:
        return f"did you mean {near}?"
    homes = [SITE_FILE] * any(name in (row.name, *row.aliases) for row in SITE_KEYS)
    homes += [driver_file(driver) for driver, rows in DRIVER_KEYS.items() if any(name == row.name for row in rows)]
    homes += ["repository_settings"] * any(name == row.name for row in REPOSITORY_KEYS)
    homes = [home for home in homes if home not in (section.loaded.path.name, "memory.conf")]
    return f"it belongs in {' or '.join(homes)}" if homes else "remove it; docs/site-config.md has all keys"


def defaulted(section: Section) -> dict[str, object]:
    """The values as written, under their proper names, with the default of each key that is absent.

    Keys without default are None when optional, and are left out when required; so are required ones that are empty.
    """
    result = {}
    for key in section.rows:
        name = section.name(key)
        if name in section.given and not (key.required and section.given[name] == ""):
            result[key.name] = section.given[name]
        elif not key.required:
            result[key.name] = key.default
    return result


def validated(section: Section, raw: Mapping[str, object]) -> tuple[dict[str, Any], list[Fault]]:
    """Parse what `defaulted` gave: the values that are right, and a fault for each that is wrong or missing."""
    parsed: dict[str, Any] = {}
    faults = []
    for key in section.rows:
        names = [name for name in (key.name, *key.aliases) if name in section.given]
        if len(names) > 1 and section.given[names[0]] != section.given[names[1]]:
            faults.append(section.fault(key, f"differs from {names[0]}", f"keep only {names[0]}", names[1]))
        if key.name not in raw:
            faults += _missing(section, key)
        elif raw[key.name] is None and not names:
            parsed[key.name] = None
        else:
            try:
                parsed[key.name] = key.parse(raw[key.name])
            except WrongValueError as error:
                faults.append(section.fault(key, error.what, error.mend))
    return parsed, faults


def _missing(section: Section, key: Key) -> list[Fault]:
    """A required key that is absent; nothing where its assignment itself was refused, which has been told."""
    if not section.loaded.complete or section.loaded.broken.intersection((key.name, *key.aliases)):
        return []
    example = f'"{key.name}": {key.example!r}' if section.prefix else f"{key.name} = {key.example!r}"
    return [section.fault(key, "is missing", f"add it, for example {example}")]
