"""The program `rocks`: finds the command, runs it on the site, prints at the end, and logs the call."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence

from . import clusters, edits, lists, nas, power, reports, sync  # noqa: F401 - they fill COMMANDS
from .call import COMMANDS, Call, Command, suffer
from .errors import AbortError, CrashError
from .faults import Fault, meet
from .model import State
from .py2 import traceback
from .store import Store, find

_PARAMETER = re.compile(r"^[a-zA-z0-9\-_+]+=")
_DB_ERROR = (
    "Dabase error: (OperationalError) (2002, \"Can't connect to local MySQL server through socket "
    "'/var/opt/rocks/mysql/mysql.sock' (2)\") None None"
)
Answer = tuple[int, str, str]
"""Exit status, standard output, standard error."""


def main() -> int:
    """Run one command of `rocks`."""
    status, out, err = serve(Store(find(sys.argv[0])), sys.argv[1:])
    sys.stdout.write(out)
    sys.stderr.write(err)
    return status


def serve(store: Store, words: Sequence[str]) -> Answer:
    """One call of the program, its log entry included."""
    started = time.monotonic()
    status, out, err = answer(store, words, meet(store.folder, "rocks", words))
    seconds = time.monotonic() - started
    store.log(program="rocks", argv=list(words), rc=status, stdout=out, stderr=err, seconds=seconds)
    return status, out, err


def answer(store: Store, words: Sequence[str], fault: Fault) -> Answer:
    """What a call gives back, the fault's effects included."""
    with store.locked() as state:
        delay, known = state.options.delay, _known(state)
    if delay:
        time.sleep(delay)
    if fault.when == "before" and not fault.at:
        suffer(fault)
        if fault.rc is not None:
            return fault.rc, fault.stdout, fault.stderr
    if fault.lie_ok or fault.empty:
        return 0, "", fault.noise
    status, out, err = _execute(store, words, fault, known)
    if fault.when == "after":
        suffer(fault)
        if fault.rc is not None:
            return fault.rc, fault.stdout or out, fault.stderr or err
    return status, fault.stray + out, fault.noise + err


def _execute(store: Store, words: Sequence[str], fault: Fault, known: Mapping[str, Command]) -> Answer:
    if "" in words:
        return 1, "", traceback("IndexError", "string index out of range")
    found, rest = _find(words, known)
    if not found:
        return 255, _not_found(words, known), ""
    args = [word for word in rest if word.startswith("select ") or not _PARAMETER.match(word)]
    params = dict(word.split("=", 1) for word in rest if word not in args)
    if args[:1] == ["help"]:
        return 0, f"rocks {found.words} {found.usage}\n", ""
    if fault.db_down:
        return (0, "", "") if found.old else (1, f"Error: {_DB_ERROR}\n{found.usage}\n", "")
    with store.locked() as state:
        store.advance(state.options.tick)
        call = Call(store, found, args, params, fault)
        status = _guarded(call)
    return status, "".join(call.out), "".join(call.err)


def _guarded(call: Call) -> int:
    try:
        call.command.run(call)
    except AbortError as error:
        call.say(f"Error: {error}")
        call.say(call.command.usage)
        return 1
    except CrashError as error:
        call.err.append(traceback(error.kind, error.message))
        return 1
    return 0


def _known(state: State) -> Mapping[str, Command]:
    """The commands that this site has."""
    return {words: found for words, found in COMMANDS.items() if state.img_storage or not found.nas}


def _find(words: Sequence[str], known: Mapping[str, Command]) -> tuple[Command | None, list[str]]:
    if words and " " in words[0] and words[0] in known:
        return known[words[0]], list(words[1:])
    for length in range(len(words), 0, -1):
        if found := known.get(" ".join(words[:length])):
            return found, list(words[length:])
    return None, []


def _not_found(words: Sequence[str], known: Mapping[str, Command]) -> str:
    for length in range(len(words), 0, -1):
        prefix = " ".join(words[:length]) + " "
        if longer := sorted(name for name in known if name.startswith(prefix)):
            return "".join(f"{name} {known[name].usage}\n" for name in longer)
    return f'error - invalid rocks command "{words[0] if words else ""}"\n'
