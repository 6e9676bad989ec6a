"""``pragma-guest local | fetch | post``: what the agent's units call at each start of the machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from pragma_boot.agent import activate, config, member, sources, userdata
from pragma_boot.agent.document import parse
from pragma_boot.agent.root import LiveRoot
from pragma_boot.agent.system import System
from pragma_boot.errors import GuestError
from pragma_boot.image import peek
from pragma_boot.image.base import Remove, Write
from pragma_boot.image.inspect import inspect, legacy_consumer
from pragma_boot.image.profile import GuestProfile, Hook, SshServer
from pragma_boot.image.render import VC_OUT, nat
from pragma_boot.image.render.ready import REPORT

_log = logging.getLogger("pragma_boot")

LOG = "/var/log/pragma-guest.log"
PATIENCE = 300.0
"""Seconds that user data may take to appear."""
_PAUSES = (2.0, 4.0, 8.0, 16.0, 30.0)
_USAGE = """usage: pragma-guest local | fetch | post
  local  make this machine the node of /root/vc-out.xml, before its network starts
  fetch  find the document in user data first, where there is no such file; then what `post` does
  post   what is to be done once the machine is up: host keys where there are none, our units
"""


class Agent:
    """The verbs. port: of virtual routers' web servers."""

    def __init__(self, root: LiveRoot, system: System, port: int = 80) -> None:
        self._root = root
        self._system = system
        self._port = port

    def run(self, verb: str) -> int:
        """Do *verb*; the exit status. Whatever goes wrong is in the log, in status.json, and on the console."""
        if self._root.exists(config.DISABLED):
            _log.info("switched off by %s", config.DISABLED)
            return 0
        try:
            legacy = legacy_consumer(self._root)
            if legacy:
                _log.info("left to %s, which reads vc-out by itself", legacy)
                return 0
            return {"local": self._local, "fetch": self._fetch, "post": self._post}[verb]()
        except GuestError as error:
            return self._failed(verb, f"{error.message}: {error.details}" if error.details else error.message)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told, too: nobody may be there to see more
            _log.exception("unexpected")
            return self._failed(verb, f"unexpected {type(error).__name__}: {error}")

    def _failed(self, verb: str, told: str) -> int:
        _log.error("%s: %s", verb, told)
        self._system.say(f"pragma-guest: {verb} failed: {told}")
        try:
            member.record(self._root, verb, "", None, told)
        except GuestError as full:
            _log.error("no status: %s", full.message)
        return 1

    def _local(self) -> int:
        data = self._present()
        if data is None:
            _log.info("there is no %s", VC_OUT)
            return 0
        if member.is_applied(self._root, data):
            _log.info("%s was applied before", VC_OUT)
            return 0
        self._apply("local", VC_OUT, data, running=False)
        return 0

    def _present(self) -> bytes | None:
        """The document that is here; ``.old`` too, as old consumers leave it, unless it was applied."""
        for path in (VC_OUT, f"{VC_OUT}.old"):
            if self._root.exists(path):
                data = self._root.read(path)
                if path == VC_OUT or not member.is_applied(self._root, data):
                    return data
        return None

    def _fetch(self) -> int:
        wish = config.read(self._root)
        if self._root.exists(VC_OUT) or wish.source == "file":
            _log.info("nothing to fetch")
            return 0
        end, refused = self._system.now() + PATIENCE, ""
        for pause in chain(_PAUSES, iter(lambda: _PAUSES[-1], None)):
            for name, read in self._offers(wish):
                try:
                    data = userdata.unpacked(read())
                    parse(data)
                except GuestError as error:
                    refused = f"{name}: {error.message}"
                    _log.info("%s", refused)
                    continue
                self._finish(self._apply("fetch", name, data, running=True).profile, known=False)
                self._root.apply([Remove(member.FRESH)])  # the unit need not start us again for it
                return 0
            left = end - self._system.now()
            if left <= 0:
                break
            self._system.wait(min(pause, left))
        raise GuestError("no user data holds a vc-out document", details=refused or "nobody offers any")

    def _offers(self, wish: config.Config) -> Iterator[sources.Offer]:
        if wish.source in ("auto", "configdrive"):
            yield from sources.config_drive(self._root, self._system)
        if wish.source in ("auto", "cloudstack"):
            yield from sources.cloud_init(self._root)
            metadata = wish.metadata_address
            yield from sources.virtual_router(self._root, self._system, metadata=metadata, port=self._port)

    def _apply(self, verb: str, source: str, data: bytes, *, running: bool) -> member.Outcome:
        outcome = member.apply(self._root, self._system, config.read(self._root), data, running=running)
        member.record(self._root, verb, source, outcome)
        node, fqdn = outcome.document.node, outcome.document.allocation.fqdn
        for network in outcome.missing:
            _log.error("no device for the network %s", network)
        _log.info("%s %s from %s: %d files changed", node.role, node.name, source, len(outcome.changed))
        whose = fqdn if node.name == outcome.document.allocation.frontend.name else f"{node.name} of {fqdn}"
        self._system.say(f"pragma-guest: {node.role} {whose} configured")
        return outcome

    def _post(self) -> int:
        if not self._root.exists(VC_OUT):
            _log.info("there is no %s", VC_OUT)
            return 0
        self._finish(inspect(self._root), known=True)  # `local` had systemd read our units
        return 0

    def _finish(self, profile: GuestProfile, *, known: bool) -> None:
        if profile.sshd is SshServer.OPENSSH and not peek.paths(self._root, "/etc/ssh", "ssh_host_*_key"):
            self._system.run(["ssh-keygen", "-A"], 120)
        if profile.systemd and self._root.exists(member.FRESH):
            activate.start_units(self._root, self._system, known=known)
        elif profile.hook is Hook.NONE:
            self._start_scripts()

    def _start_scripts(self) -> None:
        """Where nothing of the image starts them."""
        if self._root.exists(nat.SCRIPT):
            self._system.run(["/bin/sh", nat.SCRIPT])
        if self._root.exists(REPORT):
            self._system.start(["/bin/sh", REPORT])


def set_up_log(root: LiveRoot) -> None:
    """Log to the journal (or whoever has our standard error) and to `LOG`, which is for root only."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    try:
        if not root.exists(LOG):
            root.apply([Write(LOG, b"", 0o600)])
        handlers.append(logging.FileHandler(root.place(LOG)))
    except (OSError, GuestError):
        pass  # a disk that is full or not writable yet
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    for handler in handlers:
        handler.setFormatter(form)
        _log.addHandler(handler)
    _log.setLevel(logging.INFO)


def main(argv: Sequence[str]) -> int:
    """The program; *argv* without its name. Returns the exit status."""
    if len(argv) != 1 or argv[0] not in ("local", "fetch", "post"):
        sys.stderr.write(_USAGE)
        return 2
    root = LiveRoot()
    set_up_log(root)
    return Agent(root, System()).run(argv[0])
