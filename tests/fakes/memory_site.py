"""The configuration files of a site whose driver runs nothing."""

from __future__ import annotations

from pathlib import Path

SITE_CONF = """\
site_ve_driver = "memory"
temp_directory = "{root}/tmp"
log_directory = "{root}/log"
state_directory = "{root}/state"
repository_settings = {{"repository_class": "local", "repository_dir": "{root}/images"}}
"""
MEMORY_CONF = """\
public_ips = ["198.51.100.10", "198.51.100.11"]
netmask = "255.255.255.0"
gw = "198.51.100.1"
dns = "198.51.100.1"
vlans = range(100, 110)
"""


def configure(etc: Path, root: Path, more: str = "") -> Path:
    """Write `site_conf.conf` and `memory.conf` into *etc*, for folders below *root*; *more* ends the driver's."""
    etc.mkdir(exist_ok=True)
    (etc / "site_conf.conf").write_text(SITE_CONF.format(root=root))
    (etc / "memory.conf").write_text(MEMORY_CONF + more)
    return etc
