"""What Rocks inherits from Python 2: the order of dictionaries, the width of numbers, tracebacks."""

from __future__ import annotations

from collections.abc import Iterable

_BITS = (1 << 64) - 1


def _hash(text: str) -> int:
    data = text.encode()
    if not data:
        return 0
    value = data[0] << 7
    for byte in data:
        value = (1000003 * value ^ byte) & _BITS
    return value ^ len(data)


def dict_order(keys: Iterable[str]) -> list[str]:
    """The keys as a Python 2 dictionary (64 bits, no random hashes) gives them after inserting them in this order."""
    slots: list[str | None] = [None] * 8
    for used, key in enumerate(dict.fromkeys(keys), 1):
        _insert(slots, key)
        if used * 3 >= len(slots) * 2:
            slots = _grown(slots, used)
    return [key for key in slots if key is not None]


def _insert(slots: list[str | None], key: str) -> None:
    mask, perturb = len(slots) - 1, _hash(key)
    place = perturb
    while slots[place & mask] is not None:
        place = (place << 2) + place + perturb + 1
        perturb >>= 5
    slots[place & mask] = key


def _grown(slots: list[str | None], used: int) -> list[str | None]:
    size = 8
    while size <= used * 4:
        size *= 2
    larger: list[str | None] = [None] * size
    for key in slots:
        if key is not None:
            _insert(larger, key)
    return larger


class Long(int):
    """A number from the database: Python 2 writes it with an L, which counts where widths are reckoned."""


class Unicode(str):
    """Text from a NAS daemon: Python 2 writes it as u'…', which counts where widths are reckoned."""

    __slots__ = ()


def width(cell: object) -> int:
    """How wide Rocks thinks a cell is: text by its length, None nothing, the rest as Python 2 represents it."""
    if cell is None:
        return 0
    if isinstance(cell, Unicode):
        return len(cell) + 3
    if isinstance(cell, Long):
        return len(str(cell)) + 1
    return len(str(cell))


def traceback(kind: str, message: str) -> str:
    """What Python 2 writes to standard error for an exception that nobody caught."""
    return (
        "Traceback (most recent call last):\n"
        '  File "/opt/rocks/bin/rocks", line 301, in <module>\n'
        "    command.runWrapper(name, args[i:])\n"
        f"{kind}: {message}\n"
    )
