from __future__ import annotations

from pathlib import Path

import pytest

from fakes.cli import Pragma
from pragma_boot import __version__
from pragma_boot.cli.command import Command, every
from pragma_boot.cli.docs import markdown
from pragma_boot.cli.main import root

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "help"
COMMANDS = {command.words: command for command in every(root())}


@pytest.mark.parametrize(
    ("name", "line"),
    [("pragma", ""), ("boot", "help boot"), ("list", "help list"), ("list-cluster", "help list cluster"),
     ("ssh", "help ssh"), ("list-help", "list help")],
)  # fmt: skip
def test_help_is_what_was_agreed(pragma: Pragma, request: pytest.FixtureRequest, name: str, line: str) -> None:
    done = pragma(*line.split())
    golden = GOLDEN / f"{name}.txt"
    if request.config.getoption("--regenerate-golden", default=False):
        golden.write_text(done.out)
    assert (done.status, done.err) == (0, "")
    assert done.out == golden.read_text()


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself_in_80_columns(pragma: Pragma, words: str) -> None:
    text = pragma("help", *words.split()).out
    command = COMMANDS[words]
    assert text.startswith(f"{command.summary}.\n\nUsage: pragma {words} ")
    assert all(f"{row.label}=" in text for row in command.parameters)
    assert all(line in text for line, _ in command.examples)
    assert len(command.examples) == 2 or words == "boot"
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("form", ["-h", "--help"])
def test_help_is_everywhere(pragma: Pragma, words: str, form: str) -> None:
    assert pragma(*words.split(), form) == pragma("help", *words.split())


def test_help_of_help_and_of_the_whole(pragma: Pragma) -> None:
    assert pragma() == pragma("help") == pragma("--help") == pragma("-h")
    assert pragma("list", "-h").out == pragma("help", "list").out


def test_every_example_is_a_line_that_we_understand(pragma: Pragma, tmp_path: Path) -> None:
    from pragma_boot.cli.args import normalise

    for command in COMMANDS.values():
        for line, _ in command.examples:
            words = line.removeprefix(f"pragma {command.words}").partition(">")[0].split()
            if line.startswith("pragma ") and "--version" not in line:
                normalise(words, command.params, tail=command.tail)


def test_list_help_may_be_limited(pragma: Pragma) -> None:
    done = pragma("list", "help", "subdir=list")
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["list", "cluster"],
        ["list", "repository"],
        ["list", "help"],
    ]
    assert pragma("list", "help", "subdir=lst").status == 2


@pytest.mark.parametrize("line", ["version", "--version", "-V"])
def test_the_version(pragma: Pragma, line: str) -> None:
    assert pragma(line).out == f"pragma_boot {__version__}\n"


def test_summaries_are_short_enough_for_one_line(pragma: Pragma) -> None:
    assert all(len(command.summary) <= 60 for command in COMMANDS.values())


def test_the_page_in_docs_is_made_from_the_same_rows() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == markdown()


def test_a_word_leads_to_its_own_command() -> None:
    for words, command in COMMANDS.items():
        assert isinstance(command, Command)
        assert command.name == words.split()[-1]
