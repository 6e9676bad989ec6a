"""Join information for tests: whole, valid, and the same for the same number."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pragma_boot.network.overlay import keys
from pragma_boot.network.overlay.information import JoinInformation


def join_information(number: int = 0, **changes: Any) -> JoinInformation:
    """An overlay's; another *number* is another overlay. changes: fields."""
    entropy = random.Random(number).randbytes
    values: dict[str, Any] = {
        "network": IPv4Network("172.20.4.0/22"),
        "hub": IPv4Address("198.51.100.7"),
        "hub_key": keys.new_key(entropy).public,
        "preshared": keys.new_preshared(entropy),
        "seed": keys.new_seed(entropy),
        "slots": 8,
    }
    return JoinInformation(**values | changes)
