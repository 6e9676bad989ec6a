"""`zfs` on an emulated NAS: snapshots, clones and volumes; a volume is a sparse file below ``/dev/zvol``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .faults import meet
from .model import Dataset
from .remote import HOST
from .store import Store, find

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class ZfsError(Exception):
    """What `zfs` complains about."""


def main() -> int:
    """Run one command of `zfs`."""
    started = time.monotonic()
    store = Store(find(sys.argv[0]))
    words = sys.argv[1:]
    fault = meet(store.folder, "zfs", words)
    status, out, err = fault.rc, fault.stdout, fault.stderr
    if status is None or fault.when == "after":
        done, out, err = _run(store, words)
        status = done if status is None else status
    sys.stdout.write(out)
    sys.stderr.write(err)
    store.log(program="zfs", argv=words, rc=status, stdout=out, stderr=err, seconds=time.monotonic() - started)
    return status


def _run(store: Store, words: list[str]) -> tuple[int, str, str]:
    with store.locked():
        try:
            nas = os.environ[HOST]
            return 0, Pool(store, nas).run(words), ""
        except ZfsError as error:
            return 1, "", f"{error}\n"
        except (KeyError, IndexError, ValueError):
            return 2, "", f"invalid usage: zfs {' '.join(words)}\n"


class Pool:
    """The datasets of one NAS."""

    def __init__(self, store: Store, nas: str) -> None:
        self.store, self.nas, self.rows = store, nas, store.state.datasets

    def run(self, words: list[str]) -> str:
        """One command; returns what it prints."""
        verb, *rest = words
        flags, names = _split(rest)
        if verb in ("list", "get"):
            return self._list(flags, names) if verb == "list" else self._get(flags, names)
        {"create": self._create, "snapshot": self._snapshot, "clone": self._clone, "destroy": self._destroy}[verb](
            flags, names
        )
        return ""

    def _find(self, name: str) -> Dataset:
        for row in self.rows:
            if (row.nas, row.name) == (self.nas, name):
                return row
        raise ZfsError(f"cannot open '{name}': dataset does not exist")

    def _new(self, name: str, size: int, origin: str | None = None) -> Path:
        if any((row.nas, row.name) == (self.nas, name) for row in self.rows):
            raise ZfsError(f"cannot create '{name}': dataset already exists")
        self.rows.append(Dataset(self.nas, name, size, origin))
        path = self._file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _file(self, name: str) -> Path:
        return self.store.folder / "hosts" / self.nas / "dev/zvol" / name

    def _create(self, flags: dict[str, str], names: list[str]) -> None:
        size = _bytes(flags["-V"])
        with self._new(names[0], size).open("wb") as file:
            file.truncate(size)

    def _snapshot(self, flags: dict[str, str], names: list[str]) -> None:
        origin = self._find(names[0].split("@")[0])
        _copy(self._file(origin.name), self._new(names[0], origin.size))

    def _clone(self, flags: dict[str, str], names: list[str]) -> None:
        source, target = names
        snapshot = self._find(source)
        _copy(self._file(source), self._new(target, snapshot.size, source))

    def _destroy(self, flags: dict[str, str], names: list[str]) -> None:
        row = self._find(names[0])
        own = [other for other in self.rows if other.nas == self.nas and other.name.startswith(f"{row.name}@")]
        mine = {row.name, *(other.name for other in own)}
        heirs = [other.name for other in self.rows if other.nas == self.nas and other.origin in mine]
        if own and "-r" not in flags and "-R" not in flags:
            raise ZfsError(f"cannot destroy '{row.name}': filesystem has children")
        if heirs:
            raise ZfsError(f"cannot destroy '{row.name}': snapshot has dependent clones\n{heirs[0]}")
        if any((held.nas, f"{held.zpool}/{held.name}") == (self.nas, row.name) and held.remotehost
               for held in self.store.state.volumes):  # fmt: skip
            raise ZfsError(f"cannot destroy '{row.name}': dataset is busy")
        for gone in [row, *own]:
            self.rows.remove(gone)
            self._file(gone.name).unlink(missing_ok=True)

    def _list(self, flags: dict[str, str], names: list[str]) -> str:
        wanted = flags.get("-t", "filesystem,volume").split(",")
        rows = [self._find(name) for name in names] or [row for row in self.rows if row.nas == self.nas]
        if not names and "all" not in wanted:
            kinds = [("snapshot" if "@" in row.name else "volume", row) for row in rows]
            rows = [row for kind, row in kinds if kind in wanted]
        columns = flags.get("-o", "name,volsize").split(",")
        head = [] if "-H" in flags else ["\t".join(column.upper() for column in columns)]
        return "".join(
            line + "\n" for line in head + ["\t".join(_value(row, key, flags) for key in columns) for row in rows]
        )

    def _get(self, flags: dict[str, str], names: list[str]) -> str:
        key, *datasets = names
        lines = []
        for row in map(self._find, datasets):
            known = {"name": row.name, "property": key, "value": _value(row, key, flags), "source": "-"}
            lines.append(
                "\t".join(known[column] for column in flags.get("-o", "name,property,value,source").split(","))
            )
        head = [] if "-H" in flags else ["NAME\tPROPERTY\tVALUE\tSOURCE"]
        return "".join(line + "\n" for line in head + lines)


def _value(row: Dataset, key: str, flags: dict[str, str]) -> str:
    sizes = ("volsize", "used", "refer", "referenced")
    if key in sizes:
        return str(row.size) if "-p" in flags else _human(row.size)
    return {"name": row.name, "origin": row.origin or "-", "type": "snapshot" if "@" in row.name else "volume"}[key]


def _human(size: int) -> str:
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor:
            return f"{size / factor:.3g}{unit}"
    return str(size)


def _bytes(text: str) -> int:
    unit = _UNITS.get(text.upper().rstrip("B")[-1], 1)
    return int(float(text.rstrip("bBkKmMgGtT")) * unit)


def _split(words: list[str]) -> tuple[dict[str, str], list[str]]:
    flags: dict[str, str] = {}
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            names.append(word)
        elif word[-1] in "Vot":
            flags |= {f"-{letter}": "" for letter in word[1:-1]}
            flags[f"-{word[-1]}"] = next(rest)
        else:
            flags |= {f"-{letter}": "" for letter in word[1:]}
    return flags, names


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", "--", source, target], check=True)
