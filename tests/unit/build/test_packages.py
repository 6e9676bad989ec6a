from __future__ import annotations

import pytest

from pragma_boot.build.packages import KEYRING, Release, Source, choose_release
from pragma_boot.errors import PragmaError

URI, SECURITY = "http://mirror.example/debian/", "http://mirror.example/debian-security/"


def target(codename: str, suite: str, uri: str = URI, **other: str) -> str:
    row = {"kind": "Packages", "origin": "Debian", "component": "main", "trusted": "yes"} | other
    return "|".join((row["kind"], row["origin"], codename, suite, row["component"], uri, row["trusted"]))


BOOKWORM = [
    target("bookworm-security", "bookworm-security", SECURITY),
    target("bookworm", "bookworm"),
    target("bookworm-updates", "bookworm-updates"),
]


def test_the_main_source_comes_first_and_its_pockets_follow() -> None:
    release = choose_release("\n".join(BOOKWORM), None)
    assert release.codename == "bookworm"
    assert release.sources[0] == Source(URI, "bookworm")
    assert set(release.sources[1:]) == {Source(SECURITY, "bookworm-security"), Source(URI, "bookworm-updates")}


@pytest.mark.parametrize(
    "foreign",
    [
        target("bookworm", "bookworm", "http://other.example/", origin="Other"),
        target("bookworm", "bookworm", "http://other.example/", component="contrib"),
        target("bookworm", "bookworm", "http://other.example/", trusted="no"),
        target("bookworm", "bookworm", "http://other.example/", kind="Translations"),
        target("bookworm-backports", "bookworm-backports", "http://other.example/"),
        "no|such|line",
    ],
)
def test_only_debians_own_signed_main_packages_are_taken(foreign: str) -> None:
    assert choose_release("\n".join([foreign, *BOOKWORM]), None) == choose_release("\n".join(BOOKWORM), None)


def test_another_release_is_taken_when_it_is_asked_for() -> None:
    targets = "\n".join([*BOOKWORM, target("trixie", "trixie")])
    assert choose_release(targets, "trixie") == Release("trixie", (Source(URI, "trixie"),))


def test_a_suite_may_go_by_its_alias() -> None:
    assert choose_release(target("bookworm", "oldstable"), None) == Release("bookworm", (Source(URI, "oldstable"),))


@pytest.mark.parametrize(("targets", "wanted"), [("", None), ("\n".join(BOOKWORM), "potato")])
def test_no_lists_is_an_error_that_names_the_mend(targets: str, wanted: str | None) -> None:
    with pytest.raises(PragmaError) as caught:
        choose_release(targets, wanted)
    assert "apt-get update" in str(caught.value.resolution)


def test_a_line_names_its_keys() -> None:
    assert Source(URI, "bookworm").line(KEYRING) == f"deb [signed-by={KEYRING}] {URI} bookworm main"
    assert Source(URI, "bookworm").line(None) == f"deb {URI} bookworm main"
