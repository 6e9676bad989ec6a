"""Apply a document: from its bytes to a machine that is the node, and the record of it (guest.md 8.4)."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pragma_boot.agent import activate, devices
from pragma_boot.agent.config import Config
from pragma_boot.agent.document import Document, parse
from pragma_boot.agent.root import LiveRoot
from pragma_boot.agent.system import System
from pragma_boot.errors import GuestError
from pragma_boot.image import peek
from pragma_boot.image.base import Edit, Write
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import Backend, GuestProfile, Nat
from pragma_boot.image.render import edits
from pragma_boot.image.render.agent import APPLIED, STATE, applied_mark
from pragma_boot.image.render.target import Target
from pragma_boot.image.wireguard import with_wireguard
from pragma_boot.model import PRIVATE, Mac

_log = logging.getLogger(__name__)

STATUS = f"{STATE}/status.json"
FRESH = "/run/pragma-guest/fresh"
"""A file that is there when this start of the machine has written its configuration: systemd planned without it."""


@dataclass(frozen=True)
class Outcome:
    """What `apply` did. names: the devices of interfaces by MAC; changed: the paths that were not as wanted."""

    document: Document
    profile: GuestProfile
    names: Mapping[Mac, str]
    changed: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """The networks whose interfaces have no device here."""
        return [nic.network for nic in self.document.node.nics if nic.mac not in self.names]


def is_applied(root: LiveRoot, data: bytes) -> bool:
    """Whether the document *data* was applied before, and all that was written then is still there."""
    lines = peek.text(root, APPLIED).splitlines()
    return lines[:1] == [hashlib.sha256(data).hexdigest()] and all(root.exists(path) for path in lines[1:])


def apply(root: LiveRoot, system: System, config: Config, data: bytes, *, running: bool) -> Outcome:
    """Make this machine the node of the document *data*; writes nothing that is as wanted already.

    running: the network is up (by DHCP, say) and is to change over now; else it has not been started yet.
    Raises GuestError for a bad document, when the private interface's device does not appear, or a file cannot be
    written.
    """
    document = parse(data)
    for note in document.notes:
        _log.warning("vc-out: %s", note)
    profile = _profile(root, config, document)
    names = devices.find(root, system, document.node.nics)
    private = document.node.nic(PRIVATE)
    if private.mac not in names:
        raise GuestError(f"no network device has the MAC {private.mac} of the private interface")
    target = Target(profile, document.allocation, document.node, document.access, names)
    change = activate.Activation(root, system, target)
    if running:
        change.let_go(names)
    todo = _edits(profile, document, data, names)
    before = len(root.changed)
    root.apply(todo)
    changed = tuple(root.changed[before:])
    activate.relabel(root, system)
    system.set_hostname(target.hostname)
    names = {**names, **devices.named(root, system, target)}
    if running:
        change.take_up(names)
    else:
        activate.before_the_network(root, system, profile)
    root.apply([applied_mark(data, todo), Write(FRESH, b"")])
    return Outcome(document, profile, names, changed)


def _profile(root: LiveRoot, config: Config, document: Document) -> GuestProfile:
    """What this machine is; its identity is its own, and stays."""
    profile = replace(inspect(root), identity=())
    if document.allocation.overlay:
        profile = with_wireguard(root, profile)
    if config.backend != "auto":
        profile = replace(profile, backend=Backend(config.backend))
    if config.nat == "no" or (config.nat == "auto" and not document.nat):
        profile = replace(profile, nat=Nat.NONE, firewalld=False)
    if config.keep_cloud_init_network:
        profile = replace(profile, cloud_init=False)
    return profile


def _edits(profile: GuestProfile, document: Document, data: bytes, names: Mapping[Mac, str]) -> list[Edit]:
    """The renderer's edits, without those that are for a disk on a host only."""
    todo = edits(profile, document.allocation, document.node, document.access, data, devices=names)
    return [edit for edit in todo if not edit.path.startswith(f"{STATE}/")]


def record(root: LiveRoot, verb: str, source: str, outcome: Outcome | None, error: str = "") -> None:
    """Write status.json: what came of it, for whoever looks in from outside. No secrets."""
    facts: dict[str, object] = {
        "verb": verb,
        "source": source,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "errors": [error] if error else [],
    }
    if outcome:
        document = outcome.document
        facts["errors"] = [f"no device for the network {network}" for network in outcome.missing]
        facts.update(
            {
                "role": str(document.node.role),
                "name": str(document.node.name),
                "fqdn": document.allocation.fqdn,
                "backend": str(outcome.profile.backend),
                "nics": [
                    {
                        "network": nic.network,
                        "mac": nic.mac,
                        "address": str(nic.address),
                        "device": outcome.names.get(nic.mac),
                    }
                    for nic in document.node.nics
                ],
                "notes": list(document.notes),
                "changed": len(outcome.changed),
            }
        )
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    root.apply([Write(STATUS, text.encode(), 0o644)])
