"""/etc/pragma-guest.conf: what an image's owner may say of the agent. The file is optional."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pragma_boot.agent.root import LiveRoot
from pragma_boot.image import peek
from pragma_boot.image.profile import Backend

_log = logging.getLogger(__name__)

FILE = "/etc/pragma-guest.conf"
DISABLED = "/etc/pragma-guest.disabled"
"""While this file is there the agent does nothing at all."""
_CHOICES = {
    "source": ("auto", "file", "cloudstack", "configdrive"),
    "backend": ("auto", *(str(backend) for backend in Backend)),
    "nat": ("auto", "yes", "no"),
    "keep_cloud_init_network": ("no", "yes"),
    "metadata_address": ("no", "yes"),
}


@dataclass(frozen=True)
class Config:
    """source: where the document comes from. backend: who brings the network up, instead of a guess.

    nat: whether a frontend translates addresses (`auto`: when it has compute nodes). keep_cloud_init_network: leave
    cloud-init its part. metadata_address: also ask 169.254.169.254.
    """

    source: str = "auto"
    backend: str = "auto"
    nat: str = "auto"
    keep_cloud_init_network: bool = False
    metadata_address: bool = False


def read(root: LiveRoot) -> Config:
    """The configuration; lines that make no sense are told and passed over."""
    found = {}
    for key, value in peek.assignments(peek.text(root, FILE)).items():
        name = key.lower()
        if value not in _CHOICES.get(name, ()):
            choices = f"use one of {', '.join(_CHOICES[name])}" if name in _CHOICES else "there is no such key"
            _log.warning("%s: %s=%.40s: %s", FILE, name, value, choices)
            continue
        found[name] = value
    return Config(
        found.get("source", "auto"),
        found.get("backend", "auto"),
        found.get("nat", "auto"),
        found.get("keep_cloud_init_network") == "yes",
        found.get("metadata_address") == "yes",
    )
