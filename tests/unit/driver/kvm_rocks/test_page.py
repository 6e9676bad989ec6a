"""What docs/kvm-rocks.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from pragma_boot.config.validate import load_settings

PAGE = Path(__file__).parents[4] / "docs/kvm-rocks.md"
SITE = (
    'site_ve_driver = "kvm_rocks"\nrepository_settings = {"repository_class": "local", "repository_dir": "/images"}\n'
)


def test_the_settings_that_are_shown_are_a_sites(tmp_path: Path) -> None:
    beside, shortest = re.findall(r"^ *```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "site_conf.conf").write_text(SITE)
    (tmp_path / "kvm_rocks.conf").write_text("\n".join(line.strip() for line in (shortest + beside).splitlines()))
    found = load_settings(tmp_path, {"HOME": "/root"})
    assert found.kvm_rocks
    assert found.kvm_rocks.rocks == ("ssh", "root@ROCKS-FRONTEND", "/opt/rocks/bin/rocks")
    assert found.kvm_rocks.ssh == ("ssh", "-l", "root", "-J", "root@ROCKS-FRONTEND")
    assert (len(found.clusters.public_ips), len(found.clusters.vlans)) == (10, 20)
