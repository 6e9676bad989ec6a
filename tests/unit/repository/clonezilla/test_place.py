"""Where `local_image_url` puts disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pragma_boot.errors import ImageError, RepositoryError
from pragma_boot.model import DiskFormat
from pragma_boot.repository.clonezilla.place import FilePlace, VolumePlace, image_stem, place


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("file://$repository_dir/$imagename.qcow2", FilePlace("fe.qcow2", DiskFormat.QCOW2)),
        ("file://${repository_dir}/vm-${imagename}.raw", FilePlace("vm-fe.raw", DiskFormat.RAW)),
        ("zfs://nas-0-0/tank/vms/$imagename-vol", VolumePlace("nas-0-0", "tank/vms", "fe-vol")),
        ("zfs://nas.local/tank", VolumePlace("nas.local", "tank", "fe-vol")),
    ],
)
def test_places_follow_the_template(template: str, found: object) -> None:
    assert place(template, Path("/images/demo"), "fe") == found


@pytest.mark.parametrize(
    "template",
    [
        "file://$repository_dir/$imagename", "file:///elsewhere/$imagename.raw", "file://$repository_dir/disk.raw",
        "file://$repository_dir/../$imagename.raw", "$imagename.raw", "file://$repository_dir/$name.raw", "zfs://nas",
        "zfs:///tank/$imagename", "zfs://-oProxyCommand=x/tank/$imagename", "zfs://nas/ta nk/$imagename", "a $ b",
    ],
)  # fmt: skip
def test_wrong_templates_are_refused_with_an_example(template: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        place(template, Path("/images/demo"), "fe")
    assert "file://$repository_dir/$imagename.qcow2" in (caught.value.resolution or "")


def test_a_disks_name_ends_at_the_first_dot() -> None:
    assert image_stem("centos7-frontend.100G.iso") == "centos7-frontend"
    for name in ("", ".iso", "a b.iso", "-x.iso", "a$b.iso"):
        with pytest.raises(ImageError):
            image_stem(name)
