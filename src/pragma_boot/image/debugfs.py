"""debugfs, the ext file system editor of e2fsprogs: scripts in, complaints out.

It exits with 0 whatever happens, so its standard error decides: anything there but its banner is a failure. Names
in an image are untrusted: they are quoted, and those that a line of a script cannot carry are refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from pragma_boot.errors import CommandError, GuestError
from pragma_boot.run import run

_log = logging.getLogger(__name__)

_LINE_LIMIT = 8000  # debugfs cuts longer lines of a script in two
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BANNER = re.compile(r"debugfs \d+\.\S+ \(.*\)")
_SHOWN = 3
_FULL = {
    "No space left on device": "make room on the host's file system that the nodes' disks are on, which is full, or"
    " set diskdir in the driver's configuration to a folder on another",
    "Could not allocate": "build the image with a larger disk: its file system is full",
}
_MEND = "repair the image's file system with 'e2fsck -f', or build the image anew"


def quote(word: str) -> str:
    """One word of a script's line. Raises GuestError for a name with a control character in it."""
    if _CONTROL.search(word):
        raise GuestError(f"odd file name {word!r}", resolution="remove or rename this file in the image")
    return '"' + word.replace('"', '""') + '"'


def edit(device: Path, offset: int, commands: Sequence[str], folder: Path) -> None:
    """Run a script that changes the file system in *device*, *offset* bytes from its beginning.

    folder: private, for the script and what debugfs writes. Raises GuestError when any command complains.
    """
    for command in commands:
        if len(command.encode(errors="surrogateescape")) > _LINE_LIMIT:
            raise GuestError("a path in the image is too long to be edited", details=command[:200])
    script = folder / "script"
    script.write_bytes("\n".join([*commands, ""]).encode(errors="surrogateescape"))
    done = run(
        ["debugfs", "-w", "-f", script, f"{device}?offset={offset}"],
        check=False,
        timeout=600,
        resolution=_MEND,
        output=folder / "output",  # it repeats each command: that many pieces need not wake us
    )
    lines = done.stderr.decode(errors="replace").splitlines()
    errors = [line for line in lines if line and not _BANNER.fullmatch(line)]
    if errors:
        _log.debug("debugfs said:\n%s", "\n".join(errors))
    if done.status != 0:
        raise CommandError(
            f"debugfs failed with status {done.status}", details="\n".join(errors[-_SHOWN:]), resolution=_MEND
        )
    if errors:
        raise _refused(errors)


def _refused(errors: Sequence[str]) -> GuestError:
    """The error for a script that failed: its first complaints, as the others follow from these."""
    more = [f"({len(errors) - _SHOWN} more complaints are in a log with loglevel=DEBUG)"] * (len(errors) > _SHOWN)
    mend = next((_FULL[why] for why in _FULL if any(why in line for line in errors)), _MEND)
    return GuestError("a node's disk cannot be edited", details="\n".join([*errors[:_SHOWN], *more]), resolution=mend)
