"""Debian's packages, from the sources that this host's apt already trusts, put into a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import PragmaError
from pragma_boot.model import shorten
from pragma_boot.run import background, run

_INDEX = "$(IDENTIFIER)|$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(TRUSTED)"
_POCKETS = ("-updates", "-security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's own keys (package debian-archive-keyring), for sources that say nothing of keys."""


@dataclass(frozen=True, slots=True)
class Source:
    """One package source: `deb URI SUITE main`."""

    uri: str
    suite: str

    def line(self, keyring: Path | None) -> str:
        """The line for a sources.list; *keyring* None leaves the choice of keys to apt."""
        signed = f"[signed-by={keyring}] " if keyring else ""
        return f"deb {signed}{self.uri} {self.suite} main"


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release as this host can get it: its code name and its sources, the main one first."""

    codename: str
    sources: tuple[Source, ...]


def host_release(wanted: str | None = None) -> Release:
    """The Debian release that this host's apt has sources for, or the *wanted* one of several.

    Raises PragmaError when apt knows none: then its lists are empty, or the host is no Debian.
    """
    return choose_release(run(["apt-get", "indextargets", "--format", _INDEX]).text, wanted)


def choose_release(targets: str, wanted: str | None) -> Release:
    """Read apt's *targets* (lines in the form of ``_INDEX``): Debian's own, signed, component main, with pockets.

    Third parties' sources are passed over: an image is made from Debian's packages alone.
    """
    main: dict[str, Source] = {}
    pockets: dict[str, dict[Source, None]] = {}
    for line in targets.splitlines():
        kind, origin, codename, suite, component, uri, trusted = (line.split("|") + [""] * 7)[:7]
        if (kind, origin, component, trusted) != ("Packages", "Debian", "main", "yes"):
            continue
        base, _, pocket = codename.partition("-")
        if not pocket and not suite.endswith(_POCKETS):
            main.setdefault(base, Source(uri, suite))
        elif suite.endswith(_POCKETS):  # backports and the like are left alone
            pockets.setdefault(base, {})[Source(uri, suite)] = None
    complete = {base: (source, *pockets.get(base, ())) for base, source in main.items()}
    name = wanted or next(iter(complete), None)
    if name not in complete:
        raise PragmaError(
            f"apt on this host has no package lists of Debian{f' {shorten(wanted)}' if wanted else ''}",
            details=f"it has: {', '.join(complete) or 'none'}",
            resolution="run 'apt-get update'; if that does not help, add Debian's main archive to apt's sources",
        )
    return Release(name, complete[name])


def unpack(
    release: Release,
    target: Path,
    *,
    variant: str,
    packages: Iterable[str],
    work: Path,
    options: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Fill the folder *target* by mmdebstrap: `minbase` installs, `extract` only unpacks *packages* and what they need.

    Everything it mounts is in a mount namespace of its own and vanishes with it. say: told each step.
    Raises PragmaError with the end of mmdebstrap's messages.
    """
    keyring = KEYRING if KEYRING.exists() else None
    sources = work / "debian.list"
    sources.write_text("".join(f"{source.line(keyring)}\n" for source in release.sources))
    argv = [
        "unshare",
        "--mount",
        "mmdebstrap",
        "--mode=root",
        f"--variant={variant}",
        f"--include={','.join(packages)}",
    ]
    argv += ['--aptopt=Apt::Install-Recommends "false"', *_proxies(), *options]
    argv += [release.codename, os.fspath(target), os.fspath(sources)]
    said: list[str] = []
    with background(argv, env={"TMPDIR": os.fspath(work), "DEBIAN_FRONTEND": "noninteractive"}, grace=30) as process:
        assert process.stderr
        for raw in process.stderr:
            line = raw.decode(errors="replace").strip()
            said.append(line)
            if line.startswith("I: ") and "hook" not in line:
                say(line[3:].rstrip("."))
        status = process.wait()
    if status != 0:
        raise PragmaError(
            f"mmdebstrap could not put Debian {release.codename} into a folder",
            details="\n".join(line for line in said[-20:] if line),
            resolution="see that 'apt-get update' works on this host and that there is space left, then repeat",
        )


def _proxies() -> list[str]:
    """This host's apt proxies, for mmdebstrap's own apt (which does not read the host's configuration)."""
    dump = run(["apt-config", "dump", "--format", "%f=%v%n", "Acquire::http::Proxy", "Acquire::https::Proxy"]).text
    pairs = (line.partition("=") for line in dump.splitlines())
    return [f'--aptopt={name} "{value}"' for name, _, value in pairs if value]
