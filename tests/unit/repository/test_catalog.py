from pathlib import Path

import pytest

from pragma_boot.errors import PragmaError, RepositoryError
from pragma_boot.model import Catalog, image_name
from pragma_boot.repository import catalog

DEMO = image_name("demo")


@pytest.fixture
def vcdb(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.xml").touch()
    return tmp_path / "vcdb.txt"


def read(vcdb: Path, content: bytes) -> Catalog:
    vcdb.write_bytes(content)
    return catalog.read(vcdb, vcdb.parent)


def names(found: Catalog) -> list[str]:
    return [entry.name for entry in found.entries]


def test_relative_and_absolute_paths_keep_file_order(vcdb: Path) -> None:
    found = read(vcdb, f"two,b.xml\none,{vcdb.parent}/a.xml\n".encode())
    assert [(entry.name, entry.path, entry.line) for entry in found.entries] == [
        ("two", vcdb.parent / "b.xml", 1),
        ("one", vcdb.parent / "a.xml", 2),
    ]
    assert found.warnings == ()


@pytest.mark.parametrize(
    "content",
    [b"one,a.xml", b"\xef\xbb\xbfone,a.xml\r\n", b"# my images\n\n  \n one , a.xml \n", b"one,a.xml\rtwo,b.xml"],
)
def test_comments_blanks_line_ends_and_marks_are_tolerated(vcdb: Path, content: bytes) -> None:
    found = read(vcdb, content)
    assert names(found)[0] == "one"
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"one", "is not 'name,path'"),
        (b"one,a.xml,b.xml", "is not 'name,path'"),
        (b"one,", "is not 'name,path'"),
        (b",a.xml", "is not 'name,path'"),
        (b"a b,a.xml", "cannot name an image"),
        (b"../x,a.xml", "cannot name an image"),
        (b"a;b,a.xml", "cannot name an image"),
        (b"x" * 300 + b",a.xml", "cannot name an image"),
        ("größe,a.xml".encode(), "cannot name an image"),
        (b"one,\xff.xml", "not UTF-8"),
        (b"one,a\0.xml", "control characters"),
        (b"one,../a.xml", "leaves the repository"),
        (b"one,none.xml", "none.xml: No such file"),
        (b"one," + b"x" * 5000, "File name too long"),
        (b"one,.", "is no file"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_and_hides_no_other(vcdb: Path, line: bytes, why: str) -> None:
    found = read(vcdb, line + b"\ngood,a.xml\n")
    assert names(found) == ["good"]
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"{vcdb}:1: ")
    assert why in found.warnings[0]


def test_of_two_lines_with_one_name_the_last_counts_and_both_are_told(vcdb: Path) -> None:
    found = read(vcdb, b"one,a.xml\none,b.xml\n")
    assert [entry.path.name for entry in found.entries] == ["b.xml"]
    assert found.warnings == (f"{vcdb}:2: image one is in line 1, too; this line counts",)


def test_absolute_paths_are_refused_where_they_come_from_elsewhere() -> None:
    found = catalog.parse(b"one,/etc/passwd\ntwo,x.xml", Path("/r"), "http://r/vcdb.txt", absolute=False)
    assert names(found) == ["two"]
    assert "leaves the repository" in found.warnings[0]


def test_a_missing_catalog_says_how_to_write_it(tmp_path: Path) -> None:
    for path in (tmp_path / "vcdb.txt", tmp_path):
        with pytest.raises(RepositoryError, match="cannot be read") as caught:
            catalog.read(path, tmp_path)
        assert "name,path" in (caught.value.resolution or "")


def test_a_huge_catalog_is_not_read(vcdb: Path) -> None:
    with vcdb.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RepositoryError, match="larger than 4 MiB"):
        catalog.read(vcdb, vcdb.parent)


def test_add_makes_a_catalog_and_reads_back(tmp_path: Path) -> None:
    vcdb, document = tmp_path / "vcdb.txt", tmp_path / "demo" / "demo.xml"
    document.parent.mkdir()
    document.touch()
    catalog.add(vcdb, tmp_path, DEMO, document, tmp_path / "locks")
    assert vcdb.read_text() == "demo,demo/demo.xml\n"
    assert catalog.read(vcdb, tmp_path).find(DEMO)


def test_add_replaces_lines_of_that_name_only(vcdb: Path) -> None:
    vcdb.write_bytes(b"# mine\r\n demo ,old.xml\r\n\r\nother,a.xml")
    catalog.add(vcdb, vcdb.parent, DEMO, Path("/far/demo.xml"), vcdb.parent / "locks")
    assert vcdb.read_bytes() == b"# mine\n\nother,a.xml\ndemo,/far/demo.xml\n"


@pytest.mark.parametrize("path", ["a,b.xml", "a\nb.xml"])
def test_add_refuses_paths_that_no_reader_would_understand(vcdb: Path, path: str) -> None:
    vcdb.write_text("one,a.xml\n")
    with pytest.raises(PragmaError, match="cannot stand in a catalog"):
        catalog.add(vcdb, vcdb.parent, DEMO, vcdb.parent / path, vcdb.parent / "locks")
    assert vcdb.read_text() == "one,a.xml\n"
