from __future__ import annotations

import os
from pathlib import Path

import pytest

from pragma_boot.build import builder
from pragma_boot.errors import PragmaError, PreflightError, UsageError
from pragma_boot.model import ImageName
from pragma_boot.repository import vc_in

NAME = ImageName("small")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def build(folder: Path, flavour: str = "tiny", size: int | None = None) -> Path:
    return builder.build_image(flavour, folder, NAME, size=size)


def test_an_unknown_flavour_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(tmp_path, "huge")
    assert "demo, tiny" in str(caught.value.resolution)


@pytest.mark.parametrize("size", [1, 2**50])
def test_a_size_that_no_disk_can_have_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        build(tmp_path, size=size)


@needs_root
def test_a_name_that_is_taken_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(PragmaError, match="is there already"):
        build(tmp_path)


def test_all_missing_tools_are_told_at_once() -> None:
    with pytest.raises(PreflightError) as caught:
        builder.preflight({"no-such-tool": "package-one", "nor-this": "package-two"})
    assert {"apt-get install package-one", "apt-get install package-two"} <= {
        fault.mend for fault in caught.value.faults
    }


@pytest.mark.parametrize("flavour", builder.FLAVOURS)
def test_the_document_is_read_by_our_own_reader(tmp_path: Path, flavour: str) -> None:
    kind = builder.FLAVOURS[flavour]
    text = builder.document(NAME, kind).encode()
    image = vc_in.parse(text, name=NAME, origin="small.xml", directory=tmp_path)
    assert image.frontend.memory_mib == kind.memory_mib
    assert image.compute is None
    assert image.description == kind.description
