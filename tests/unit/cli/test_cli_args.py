from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.cli.args import COMMON, Parameter, Positional, normalise, wants_help
from pragma_boot.cli.values import Cpus, Ent, Image, Text, YesNo
from pragma_boot.errors import UsageError

ROWS = (
    Positional("vc-name", Image(), "the image"),
    Positional("num-cpus", Cpus(), "the CPUs"),
    Parameter("key", Text("file"), "keys"),
    Parameter("dry-run", YesNo(), "change nothing"),
    *COMMON,
)


def words(*given: str) -> list[str]:
    return normalise(given, ROWS)[0]


@pytest.mark.parametrize("form", [("key=a.pub",), ("--key=a.pub",), ("--key", "a.pub")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_three_forms_mean_the_same_in_any_place(form: tuple[str, ...], place: int) -> None:
    line = ["demo", "4"]
    line[place:place] = form
    assert words(*line) == ["--key=a.pub", "--", "demo", "4"]


@given(value=st.text(min_size=1).filter(lambda text: text not in ("-h", "--help", "--")))
def test_a_value_is_never_changed_by_the_grammar(value: str) -> None:
    assert (
        words("demo", "4", f"key={value}")
        == words("demo", "4", "--key", value)
        == [f"--key={value}", "--", "demo", "4"]
    )


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (["--dry-run"], "yes"),
        (["dry-run=no"], "no"),
        (["--dry-run", "no"], "no"),
        (["--dry-run=TRUE"], "TRUE"),
    ],
)
def test_a_switch_may_be_bare(given: list[str], value: str) -> None:
    assert words("demo", "4", *given) == [f"--dry-run={value}", "--", "demo", "4"]


def test_a_bare_switch_does_not_swallow_the_words_after_it() -> None:
    assert words("--dry-run", "demo", "0") == ["--dry-run=yes", "--", "demo", "0"]
    assert words("demo", "--dry-run", "0") == ["--dry-run=yes", "--", "demo", "0"]


def test_a_switch_with_a_network_may_have_it_apart() -> None:
    rows = (Parameter("enable-ent", Ent(), "x"), Positional("vc-name", Image(), "x"))
    assert normalise(["--enable-ent", "10.1.0.1/24", "demo"], rows)[0] == ["--enable-ent=10.1.0.1/24", "--", "demo"]
    assert normalise(["--enable-ent", "demo"], rows)[0] == ["--enable-ent=yes", "--", "demo"]


def test_a_negative_number_is_no_option() -> None:
    assert words("demo", "-1") == ["--", "demo", "-1"]


def test_words_after_the_dashes_are_never_parameters() -> None:
    assert words("demo", "--", "key=1") == ["--", "demo", "key=1"]


def test_the_tail_is_given_back_apart() -> None:
    rows = (Positional("vc-name", Image(), "x"), *COMMON)
    assert normalise(["demo", "-q", "--", "ls", "-h", "a=b"], rows, tail=True) == (
        ["--quiet=yes", "--", "demo"],
        ("ls", "-h", "a=b"),
    )


@pytest.mark.parametrize("word", ["kee=x", "--kee=x", "--kee", "kee=x=y"])
def test_an_unknown_parameter_names_the_nearest(word: str) -> None:
    with pytest.raises(UsageError, match="unknown parameter") as caught:
        words("demo", "4", word)
    assert "'key='" in (caught.value.resolution or "")


def test_an_unknown_parameter_that_is_like_none_lists_all() -> None:
    with pytest.raises(UsageError) as caught:
        words("demo", "4", "-x")
    assert "key=, dry-run=, logfile=, loglevel=, quiet=" in (caught.value.resolution or "")


def test_old_spellings_with_underscores_are_recognised() -> None:
    with pytest.raises(UsageError) as caught:
        words("demo", "4", "dry_run=yes")
    assert "'dry-run='" in (caught.value.resolution or "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["demo", "4", "key=a", "--key=b"], "key= is given twice"),
        (["demo", "4", "key="], "key= has no value"),
        (["demo", "4", "--key"], "key= has no value"),
        ([], "{vc-name} and {num-cpus} are missing"),
        (["demo"], "{num-cpus} is missing"),
        (["demo", "4", "5"], "one word too many: '5'"),
    ],
)
def test_what_is_missing_or_too_much_is_said(line: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        words(*line)
    assert caught.value.message == message


def test_help_is_wanted_only_before_the_dashes() -> None:
    assert wants_help(["demo", "--help"])
    assert wants_help(["-h"])
    assert not wants_help(["demo", "--", "-h"])
