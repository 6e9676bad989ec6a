"""A disk that Clonezilla would have saved, restored by class clonezilla, boots by its own boot loader."""

from __future__ import annotations

from pathlib import Path

from fakes.clonezilla import Part, Saver, make_iso
from fakes.repository import document
from fakes.saved_images import settings
from live.test_image_build import Machine
from pragma_boot.model import image_name
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository


def test_the_tiny_image_boots_after_save_and_restore(tiny: Path, tmp_path: Path) -> None:
    saver = Saver(tmp_path / "saved", [Part(0, "83", file_system="ext4")], existing=tiny.with_suffix(".img"))
    saver.save("zst", split=2_000_000)
    folder = tmp_path / "there" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.xml").write_text(document("any.img"))
    make_iso(saver.image, folder / "tiny-frontend.1G.iso")
    chosen = settings(tmp_path, str(folder.parent), local_image_url="file://$repository_dir/$imagename.raw")
    repository = ClonezillaRepository(chosen, tmp_path / "locks")
    disk = repository.fetch(repository.describe(image_name("tiny"))).frontend.path
    with Machine(disk, tmp_path) as machine:
        machine.hear(b"tiny: up", 60)
        machine.press_power_button()
        assert machine.process.wait(30) == 0
