"""What shall go wrong: the rules of ``faults.json``, matched against each call.

A rule is an object. Which calls it meets: `program` (rocks; ssh, zfs), `match` (a regular expression on the words,
joined by blanks), `nth` (the how-manieth such call, from 1; without it every one), `times` (how often it acts at most,
1 unless said; null: always). The first rule that acts on a call is the only one. README.md lists the effects.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "ROCKS_EMU_FAULTS"


@dataclass
class Fault:
    """One rule; a rule without effects is what calls have that nothing happens to."""

    program: str = "rocks"
    match: str = ""
    nth: int | None = None
    times: int | None = 1

    rc: int | None = None
    stdout: str = ""
    stderr: str = ""
    when: str = "before"
    abort_at: str | None = None
    crash_at: str | None = None
    message: str = "injected failure"
    at: str | None = None
    delay: float = 0
    hang: float = 0
    race: list[str] | None = None
    noise: str = ""
    stray: str = ""
    lie_ok: bool = False
    empty: bool = False
    db_down: bool = False
    libvirt_down: list[str] = field(default_factory=list)
    vanish: bool = False
    cut: int | None = None
    nas_error: str = ""
    nas_busy: float = 0
    undeliverable: bool = False
    shuffle_rows: int | None = None
    no_unmap: bool = False


def meet(folder: Path, program: str, words: Sequence[str]) -> Fault:
    """The rule that acts on this call, or one without effects. Counts the call for all rules."""
    rules = _rules(folder)
    if not rules:
        return Fault()
    descriptor = os.open(folder / "faults.seen", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        counts: dict[str, list[int]] = json.loads(file.read() or "{}")
        chosen = _choose(rules, counts, program, " ".join(words))
        file.seek(0)
        file.truncate()
        json.dump(counts, file)
    return chosen or Fault()


def _rules(folder: Path) -> list[dict[str, Any]]:
    text = os.environ.get(VARIABLE, "")
    if not text.startswith("["):
        path = Path(text) if text else folder / "faults.json"
        text = path.read_text() if path.exists() else "[]"
    rules: list[dict[str, Any]] = json.loads(text)
    return rules


def _choose(rules: list[dict[str, Any]], counts: dict[str, list[int]], program: str, words: str) -> Fault | None:
    chosen = None
    for rule in rules:
        fault = Fault(**rule)
        if fault.program != program or not re.search(fault.match, words):
            continue
        seen, acted = counts.get(key := json.dumps(rule), [0, 0])
        due = fault.nth in (None, seen + 1) and (fault.times is None or acted < fault.times)
        if due and not chosen:
            chosen = fault
            acted += 1
        counts[key] = [seen + 1, acted]
    return chosen
