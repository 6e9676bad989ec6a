"""The guest agent as edits of an image: the program, and what starts it with the image's own init (guest.md 8.3)."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path

from pragma_boot.build.agent import agent
from pragma_boot.errors import GuestError
from pragma_boot.image import peek, stale
from pragma_boot.image.base import Edit, Files, Remove, Symlink, Write
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import AGENT, GuestProfile, Hook

UNITS = ("pragma-guest-local.service", "pragma-guest-fetch.service", "pragma-guest-post.service")
_WANTED_BY = {"pragma-guest-local.service": "sysinit.target"}
_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")
_OLDEST = 6
_LINKS = 5


def program(python: str = "/usr/bin/env python3") -> str:
    """The agent's text, of the sources that run now; *python*: what starts it."""
    return f"#!{python}\n{_bundled().partition(chr(10))[2]}"


@cache
def _bundled() -> str:
    return agent(Path(str(resources.files("pragma_boot"))).parent)


def agent_edits(guest: Files) -> list[Edit]:
    """The edits that put the agent into an image and make the image one for many machines. The same each time.

    Its network files stay: with them a new machine finds its user data. What makes a machine itself (machine id, ssh
    host keys, random seed) goes, as it does for every clone.

    Raises GuestError for an image that already has a vc-out consumer, no Python 3.6, or no init that we know.
    """
    profile = inspect(guest)
    if profile.legacy:
        raise GuestError(
            "the image reads vc-out by itself",
            details=f"it has {profile.legacy}",
            resolution="use the image as it is",
        )
    text = program(f"{_python(guest)} -IS")
    left = ["/root/vc-out.xml", "/root/vc-out.xml.old", *peek.paths(guest, "/var/lib/pragma-guest", "*")]
    return [
        *(Remove(path) for path in left if guest.exists(path)),
        *stale.identity(guest, host_keys=True),
        Write(AGENT, text.encode(), 0o755),
        *_starters(guest, profile),
    ]


def _python(guest: Files) -> str:
    """The image's Python 3."""
    for path in _PYTHONS:
        if guest.exists(path):
            minor = _minor(guest, path)
            if minor is not None and minor < _OLDEST:
                raise GuestError(
                    f"the image's Python 3.{minor} is too old for the agent",
                    resolution=f"install Python 3.{_OLDEST} or later in the image",
                )
            return path
    raise GuestError(
        "the image has no Python 3 for the agent",
        details=f"looked for {', '.join(_PYTHONS)}",
        resolution="install python3 in the image (its minimal package and the standard library are enough)",
    )


def _minor(guest: Files, path: str) -> int | None:
    """N of Python 3.N, as the links to it tell; None when they do not."""
    for _ in range(_LINKS):
        if found := re.search(r"python3\.(\d{1,3})$", path):
            return int(found[1])
        target = guest.readlink(path)
        if not target:
            break
        path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
    return None


def _starters(guest: Files, profile: GuestProfile) -> list[Edit]:
    if profile.systemd:
        edits: list[Edit] = []
        for unit in UNITS:
            folder = f"/etc/systemd/system/{_WANTED_BY.get(unit, 'multi-user.target')}.wants"
            path = f"/etc/systemd/system/{unit}"
            edits += [Write(path, shipped(unit)), Symlink(f"{folder}/{unit}", path)]
        return edits
    if guest.is_dir("/etc/runlevels/default"):
        return [
            Write("/etc/init.d/pragma-guest", shipped("pragma-guest.openrc"), 0o755),
            Write("/etc/init.d/pragma-guest-late", shipped("pragma-guest-late.openrc"), 0o755),
            Symlink("/etc/runlevels/boot/pragma-guest", "/etc/init.d/pragma-guest"),
            Symlink("/etc/runlevels/default/pragma-guest-late", "/etc/init.d/pragma-guest-late"),
        ]
    if profile.hook is Hook.INIT and _starts_it_itself(guest):
        return []
    if guest.is_dir("/etc/rc.d/init.d"):
        edits = [Write("/etc/rc.d/init.d/pragma-guest", shipped("pragma-guest.sysv"), 0o755)]
        for level in (2, 3, 4, 5):
            edits += [
                Symlink(f"/etc/rc.d/rc{level}.d/{name}", "../init.d/pragma-guest")
                for name in ("S05pragma-guest", "S12pragma-guest-late")
            ]
        return edits
    raise GuestError(
        "nothing in the image would start the agent",
        details="it has neither systemd nor OpenRC nor /etc/rc.d/init.d",
        resolution=f"have its init run '{AGENT} local' before the network, and '{AGENT} fetch' and 'post' after it",
    )


def _starts_it_itself(guest: Files) -> bool:
    return any(AGENT in peek.text(guest, path) for path in peek.paths(guest, "/etc/init.d", "*"))


def shipped(name: str) -> bytes:
    """One of the files that belong to the agent."""
    return (resources.files("pragma_boot.build") / "files/agent" / name).read_bytes()
