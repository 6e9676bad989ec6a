"""Global settings of the management server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass
class Config:
    """Global settings of the management server, with its own defaults. Times in seconds."""

    version: str = "4.23.0.0"
    default_page_size: int = 500
    expunge_delay: float = 86400
    expunge_interval: float = 86400
    network_gc_wait: float = 600
    network_gc_interval: float = 600
    allow_user_expunge: bool = False
    allow_user_view_destroyed: bool = False
    allow_user_force_stop: bool = True
    enforce_post_and_timestamps: bool = False
    userdata_max: int = 32768
    distinct_hostname_scope: str = "network"
    api_limit: int | None = None
    """Calls of one account in api_interval."""
    api_interval: float = 1
    success_in_words: bool = False
    """``"success": "true"``, as some versions answer."""
    json_content_type: str = "application/json; charset=UTF-8"
    cidr_limit: int = 22
    allow_public_cidrs: bool = False
    duplicate_network_names: bool = True
    guest_domain_suffix: str = "cloud.internal"
    job_expire: float = 86400
    job_cancel: float = 3600
    ip_quarantine: float = 0

    def since(self, version: str) -> bool:
        """Whether this server has what came with *version*."""
        return _numbers(self.version) >= _numbers(version)


@cache
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
