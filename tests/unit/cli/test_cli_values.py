from __future__ import annotations

from pathlib import Path

import pytest

from pragma_boot.cli import values
from pragma_boot.errors import UsageError


@pytest.mark.parametrize(
    ("value", "text", "parsed"),
    [
        (values.YesNo(), "T", True),
        (values.YesNo(), "1", True),
        (values.YesNo(), "off", False),
        (values.Cpus(), "0", 0),
        (values.Cpus(), "0016", 16),
        (values.Cpus(), "10000", 10000),
        (values.Memory(), "2048", (2048, 2048)),
        (values.Memory(), "4096:1024", (4096, 1024)),
        (values.Memory(), "0", (None, None)),
        (values.Memory(), "0:512", (None, 512)),
        (values.Wait(), "no", 0.0),
        (values.Wait(), "0", 0.0),
        (values.Wait(), "yes", None),
        (values.Wait(), "1", 1.0),
        (values.Wait(), "2.5", 2.5),
        (values.Ent(), "YES", "yes"),
        (values.Ent(), "no", ""),
        (values.Ent(), "10.103.0.1/28", "10.103.0.1/28"),
        (values.Size(), "512M", 512 * 1024**2),
        (values.Size(), "4GiB", 4 * 1024**3),
        (values.LOG_LEVEL, "debug", "DEBUG"),
        (values.FileName(), "/x/~y", Path("/x/~y")),
    ],
)
def test_words_that_fit(value: values.Value, text: str, parsed: object) -> None:
    assert value.parse(text, "x") == parsed


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (values.YesNo(), ["maybe", "2"]),
        (values.Cpus(), ["-1", "+1", "1.5", "1_0", "four", "٤", " 4", "10001", "9" * 300, "0x10", "4\n"]),
        (values.Memory(), ["-1", "1G", ":", "1:", ":1", "1:2:3", "9" * 20, "99999999"]),
        (values.Wait(), ["-1", "never", "inf", "nan", "1e9", "9999999"]),
        (values.Ent(), ["perhaps", "10.1.1.1", "10.1.1.1/99", "a/24"]),
        (values.Size(), ["4", "0G", "-1G", "4T", "G"]),
        (values.LOG_LEVEL, ["LOUD", ""]),
        (values.FileName(), ["~no-such-user-here/x"]),
        (values.Cluster(), ["a b", "..", "a;b", "x" * 300, "ä", "../etc", "-rf"]),
        (values.Image(), ["a b", "..", "a;b", "x" * 300, "ä", "a/b"]),
        (values.NewCluster(), ["Demo", "compute-0", "localhost", "a.b"]),
    ],
)
def test_words_that_do_not_fit_are_refused_with_a_mend(value: values.Value, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(UsageError) as caught:
            value.parse(text, "x")
        assert caught.value.resolution
        assert len(caught.value.message) < 160


def test_a_choice_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        values.LOG_LEVEL.parse("DEBUGG", "loglevel")
    assert caught.value.details == "did you mean 'DEBUG'?"


def test_nothing_is_near_to_nonsense() -> None:
    assert values.nearest("qqqqqq", ["boot", "clean"]) is None
    assert values.nearest("BOOTT", ["boot", "clean"]) == "boot"
