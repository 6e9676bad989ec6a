from pathlib import Path

from fakes.cli import Pragma
from fakes.repository import DISK, document
from fakes.site import FakeSite


def test_an_old_list_tells_its_age_as_a_note(pragma: Pragma, site: FakeSite) -> None:
    site.notes = ("http://x cannot be reached; this list is 2 hours old",)
    done = pragma("list", "repository")
    assert done.status == 0
    assert done.out.splitlines()[0] == "VIRTUAL IMAGE"
    assert done.err == "pragma: note: http://x cannot be reached; this list is 2 hours old\n"


def test_index_says_what_it_wrote(pragma: Pragma, tmp_path: Path) -> None:
    folder = tmp_path / "published" / "demo"
    folder.mkdir(parents=True)
    (folder / "demo.xml").write_text(document())
    (folder / "disk.img").write_bytes(DISK)
    done = pragma("repository", "index", str(folder.parent), "quiet=yes")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"1 image, 3 MiB: wrote SHA256SUMS, vcdb.json in {folder.parent}\n"


def test_index_tells_all_faults(pragma: Pragma, tmp_path: Path) -> None:
    (tmp_path / "vcdb.txt").write_text("demo,demo/demo.xml\nbroken\n")
    done = pragma("repository", "index", str(tmp_path))
    assert done.status == 1
    assert "vcdb.txt:2: 'broken' is not 'name,path'" in done.err
    assert "the description of image demo cannot be read" in done.err
