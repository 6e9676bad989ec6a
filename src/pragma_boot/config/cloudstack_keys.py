"""The keys of `cloudstack.conf` that no other driver has, or that mean something else there: one row each.

The two keys are secrets: they may stand in the environment or in a file of their own as well (`credentials`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pragma_boot.config import netvalues, values
from pragma_boot.config.key import Key
from pragma_boot.errors import Fault

KEY, SECRET = "CLOUDSTACK_KEY", "CLOUDSTACK_SECRET"
"""The environment's variables, as other tools for CloudStack know them; they win over the files."""

CLOUDSTACK_KEYS: tuple[Key, ...] = (
    Key(
        "baseurl",
        values.web_url,
        "URL of the CloudStack API.",
        required=True,
        example="https://cloud.example.org:8080/client/api",
    ),
    Key(
        "apikey",
        values.optional_text,
        "Your API key.",
        default="",
        example="API-KEY",
        absent=f"of `key_file`; the environment's `{KEY}` wins",
        secret=True,
    ),
    Key(
        "secretkey",
        values.optional_text,
        "Your secret key.",
        default="",
        example="SECRET-KEY",
        absent=f"of `key_file`; the environment's `{SECRET}` wins",
        secret=True,
    ),
    Key(
        "key_file",
        values.optional_path,
        "File that holds the API key and, in the next line, the secret key; nobody but its owner may read it.",
        default="",
        example="/root/.cloudstack-keys",
    ),
    Key(
        "templatefilter",
        values.choice(
            "featured", "community", "self", "selfexecutable", "shared", "sharedexecutable", "executable", "all"
        ),
        "Which templates are looked at.",
        default="community",
        example="executable",
    ),
    Key(
        "networkoffering",
        values.text,
        "Name of the network offering for networks that clusters need; isolated, with source NAT and user data.",
        default="DefaultIsolatedNetworkOfferingWithSourceNatService",
        example="DefaultIsolatedNetworkOfferingWithSourceNatService",
    ),
    Key("zone", values.optional_text, "Name of the zone; needed where there are several.", default="", example="zone1"),
    Key(
        "public_network",
        values.optional_text,
        "Name or id of an existing network for the public side.",
        default="",
        example="shared-net",
        absent="the account's isolated network `public`, made when it is missing",
    ),
    Key(
        "service_offerings",
        values.words,
        "Names of the service offerings that nodes may have, as a list.",
        default=[],
        example=["Medium Instance"],
        absent="all that the site has",
    ),
    Key("ports", values.ports, "TCP ports of a frontend that are open.", default=[22, 80, 443], example=[22]),
    Key(
        "ca_file",
        values.optional_path,
        "Certificates (PEM) of a private authority that signed the server's.",
        absent="the system's authorities",
        example="/etc/ssl/site-ca.pem",
    ),
    Key("timeout", values.seconds(1, 600), "How long the server may take to answer, seconds.", default=30, example=60),
    Key("anti_affinity", values.boolean, "Ask for different hosts for a cluster's nodes.", default=False, example=True),
    Key(
        "default_nic",
        values.choice("public", "private"),
        "The frontend's interface that the cloud takes for its first; address translation works to that one only.",
        default="public",
        example="private",
    ),
    Key(
        "dns",
        netvalues.addresses,
        "DNS servers for the nodes.",
        default=[],
        example="198.51.100.1",
        absent="the zone's",
    ),
    Key(
        "private_network",
        netvalues.interface,
        "The frontend's address and mask in a cluster's private network; where that is in use, the networks after it"
        " are tried. The cloud's router has the first address.",
        default="10.3.3.2/24",
        example="10.7.0.2/22",
    ),
    Key(
        "cpus_per_node",
        values.whole(1, 1024),
        "Most CPUs of one compute node.",
        default=1024,
        example=4,
        absent="as many as the largest service offering has",
    ),
)

CLOUDSTACK_OWN = frozenset({"private_network", "cpus_per_node"})
"""Rows above that stand for those which all drivers have."""


def credentials(found: dict[str, Any], environ: Mapping[str, str], where: str) -> list[Fault]:
    """Fill in `apikey` and `secretkey` from the environment, which wins, or from `key_file`; what is wrong with them.

    where: the driver's file, for faults.
    """
    if not {"apikey", "secretkey", "key_file"} <= found.keys():  # refused already: that is told
        found.setdefault("apikey", "")
        found.setdefault("secretkey", "")
        return []
    faults = []
    keys = (environ.get(KEY, ""), environ.get(SECRET, ""))
    if not all(keys):
        keys = (found.get("apikey") or "", found.get("secretkey") or "")
    path = found.get("key_file")
    if not all(keys) and path:
        try:
            keys = _read(path)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            mend = "write the API key and, in the next line, the secret key; then: chmod 600"
            return [Fault(f"{where} key_file", f"{path}: {why}", mend)]
    if not all(keys):
        mend = f"set them, or key_file, or {KEY} and {SECRET} in the environment"
        faults.append(Fault(f"{where} apikey, secretkey", "are not both there", mend))
    found["apikey"], found["secretkey"] = keys
    return faults


def readable_by_others(path: Path) -> bool:
    """Whether somebody besides its owner may read a file; False when that cannot be told."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _read(path: Path) -> tuple[str, str]:
    """The two keys of a file. Raises OSError, or ValueError that says what is wrong with it."""
    with path.open() as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError("others than its owner may read it")
        lines = [line.strip() for line in file.read(10_000).splitlines() if line.strip()]
    if len(lines) != 2:
        raise ValueError(f"has {len(lines)} lines, not two")
    return lines[0], lines[1]
