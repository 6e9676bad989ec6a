"""Work on the machines that run nodes: over ssh, both ends' outcome looked at. Never through `rocks run host`.

(That one's exit status is always 0, and it kills what takes longer than 30 seconds: rocks.md 3.18.)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pragma_boot.driver.kvm_rocks.names import is_host
from pragma_boot.errors import CommandError, DriverError
from pragma_boot.run import feeding, run

_OPTIONS = (
    "-x", "-T",
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=15",
    "-o", "ServerAliveCountMax=4",
)  # fmt: skip

_SIZES = 'for path; do if [ -f "$path" ]; then stat -c %s "$path"; else echo -; fi; done'
_REMOVE = """
status=0
for path; do
    rm -f -- "$path" "$path.unfinished" "$path.unfinished.log" || status=1
done
[ $status = 0 ] && echo gone
exit $status
"""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has."""

    cpus: int
    memory_mib: int


class Hosts:
    """The site's machines by name. ssh: the words that a call begins with."""

    def __init__(self, ssh: Sequence[str]) -> None:
        self._ssh = tuple(ssh)

    def run(self, host: str, script: str, *words: str, limit: float = 120) -> str:
        """Run a POSIX shell script with *words* as ``$1`` …; its output. Raises DriverError when it fails."""
        try:
            return run(self.command(host, script, words), timeout=limit).text
        except CommandError as error:
            raise _failed(host, error) from error

    def send(self, host: str, script: str, words: Sequence[str], data: Iterable[bytes]) -> None:
        """Run a script that reads *data*; returns when it read all and ended well. Raises DriverError."""
        try:
            with feeding(self.command(host, script, words)) as feed:
                feed.feed(data)
                feed.finish()
        except CommandError as error:
            raise _failed(host, error) from error

    def resources(self, host: str) -> Resources:
        """CPUs and memory as the machine itself counts them. Raises DriverError."""
        text = self.run(host, 'cat "$1" "$2"', "/proc/meminfo", "/proc/cpuinfo", limit=30)
        total = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
        if not total:
            raise DriverError(f"{host} does not tell its memory", resolution=f"look at: ssh {host} cat /proc/meminfo")
        return Resources(len(re.findall(r"^processor\s*:", text, re.MULTILINE)), int(total[1]) // 1024)

    def sizes(self, host: str, paths: Sequence[str]) -> list[int | None]:
        """The size of each regular file in bytes; None where there is none. Raises DriverError."""
        words = self.run(host, _SIZES, *paths).split()
        if len(words) != len(paths):
            raise DriverError(f"{host} gave no clear answer", details=" ".join(words), resolution="repeat")
        return [int(word) if word.isdigit() else None for word in words]

    def remove(self, host: str, paths: Sequence[str]) -> None:
        """Remove files; no error when they are gone. Raises DriverError."""
        if paths and self.run(host, _REMOVE, *paths).split() != ["gone"]:
            raise DriverError(f"{host} does not say that the files are gone", resolution="repeat")

    def command(self, host: str, script: str, words: Sequence[str]) -> list[str]:
        """The program and its arguments for one call. Raises DriverError for what is no host's name."""
        if not is_host(host):
            raise DriverError(f"{host!r} is no host's name", resolution="look at 'rocks list host'")
        return [*self._ssh, *_OPTIONS, host, shlex.join(["sh", "-c", script, "pragma", *words])]


def _failed(host: str, error: CommandError) -> DriverError:
    details = error.details or ""
    said = details.partition("\n")[2] or details
    return DriverError(
        f"{host}: {error.message}",
        details=said.strip(),
        resolution=f"see that 'ssh {host} true' works without a question, and that the disk there is not full",
    )
