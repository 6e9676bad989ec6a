"""The reader: data in, faults out, and nothing ever run."""

import ast
import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pragma_boot.config import load
from pragma_boot.config.load import Loaded, load_file, parse

FILE = Path("/etc/site.conf")


def read(text: str) -> Loaded:
    return parse(textwrap.dedent(text).encode(), FILE)


def value(text: str) -> object:
    loaded = read(f"key = {text}")
    assert loaded.faults == ()
    return loaded.values["key"]


def fault(text: str) -> str:
    (found,) = read(text).faults
    assert found.mend
    return str(found)


class TestData:
    def test_range_is_a_list_of_its_numbers(self):
        assert value("range(22, 25)") == [22, 23, 24]
        assert value("range(3)") == [0, 1, 2]
        assert value("range(5, 1, -2)") == [5, 3]

    def test_ranges_and_lists_add_up(self):
        assert value("range(2) + [7] + [8, 9]") == [0, 1, 7, 8, 9]

    def test_texts_join_with_and_without_plus(self):
        assert value("'a' 'b' + 'c'") == "abc"

    def test_names_from_above_are_values(self):
        loaded = read("""
            base = "/state"
            here = base + "/images"
            site = {"dir": here, "other": [base]}
        """)
        assert loaded.values["site"] == {"dir": "/state/images", "other": ["/state"]}
        assert loaded.used == {"base", "here"}

    def test_minus_stands_before_numbers(self):
        assert value("-5") == -5
        assert value("- 1.5") == -1.5

    def test_the_last_assignment_counts(self):
        loaded = read("a = 1\na = 2")
        assert loaded.values["a"] == 2
        assert loaded.where("a") == "/etc/site.conf:2 a"

    def test_several_names_take_one_value(self):
        assert read("a = b = 3").values == {"a": 3, "b": 3}

    def test_comments_and_texts_alone_say_nothing(self):
        assert read('"""About this file."""\n# gw = 1\n').values == {}

    def test_a_byte_order_mark_is_no_fault(self):
        assert parse(b"\xef\xbb\xbfa = 1", FILE).values == {"a": 1}

    def test_inner_keys_have_lines_of_their_own(self):
        loaded = read('a = {\n  "x": 1,\n  "y": 2,\n}')
        assert loaded.where("a", "y") == "/etc/site.conf:3 a.y"
        assert loaded.where("a", "absent") == "/etc/site.conf:1 a.absent"
        assert loaded.where("absent") == "/etc/site.conf absent"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("key = open('/etc/passwd')", "a function call is not read"),
        ("key = range(1, stop=3)", "a function call is not read"),
        ("key = os.environ", "an attribute"),
        ("key = f'{1}'", "f before its quotes"),
        ("key = [1][0]", "an index"),
        ("key = 'a' * 9", "only + is read"),
        ("key = not 1", "only - is read"),
        ("key = {1, 2}", "a set"),
        ("key = [*'ab']", "'*' is not read"),
        ("key = {**{}}", "'**' is not read"),
        ("key = [x for x in 'a']", "a comprehension"),
        ("key = 1 if 1 else 2", "'if' is not read"),
        ("key = lambda: 1", "a function"),
        ("key = 1 < 2", "is not data"),
        ("key = (x := 1)", "is not data"),
        ("key = b'bytes'", "type bytes"),
        ("key = 1j", "type complex"),
        ("key = ...", "type ellipsis"),
        ("key = local", 'put quotes around it if it is text: "local"'),
        ("key = 1 + 'a'", "int + str"),
        ("key = [1] + (2,)", "list + tuple"),
        ("key = True + 1", "bool + int"),
        ("key = -'a'", "no number"),
        ("key = -True", "no number"),
        ("key = {[1]: 2}", "cannot be a key"),
        ("key = range()", "one to three whole numbers"),
        ("key = range(1.5)", "one to three whole numbers"),
        ("key = range(True)", "one to three whole numbers"),
        ("key = range(1, 9, 0)", "one to three whole numbers"),
        ("key = 1e999", "too large"),
        ("key = 0x" + "f" * 5000, "too large"),
        ("key = 9223372036854775807 + 1", "too large"),
        ("key = 'a\\0b'", "characters that are none"),
        ("key = '\\ud800'", "characters that are none"),
    ],
)
def test_an_expression_that_is_no_data_names_file_line_and_key(text: str, told: str):
    message = fault("\n" + text)
    assert message.startswith("/etc/site.conf:2 key: ")
    assert told in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os", "'import'"),
        ("from os import path", "'import'"),
        ("if 1: a = 2", "'if'"),
        ("for a in [1]: pass", "'for'"),
        ("def f(): pass", "a function"),
        ("print('x')", "an expression without a key"),
        ("a, b = 1, 2", "an assignment to anything but a name"),
        ("a: int = 3", "an assignment with a type"),
        ("a += 3", "write a = a + …"),
        ("pass", "this statement"),
    ],
)
def test_a_statement_that_is_no_assignment_is_a_fault(text: str, told: str):
    assert told in fault(text)


def test_all_faults_of_a_file_are_told_at_once():
    loaded = read("a = f()\nb = 2\nimport os\nc = g()")
    assert [found.where for found in loaded.faults] == [f"{FILE}:1 a", f"{FILE}:3", f"{FILE}:4 c"]
    assert loaded.values == {"b": 2}
    assert loaded.broken == {"a", "c"}


def test_what_follows_from_a_fault_is_not_told_again():
    loaded = read("a = f()\nb = a + 'x'\nc = [b]")
    assert len(loaded.faults) == 1
    assert loaded.broken == {"a", "b", "c"}


def test_a_mended_name_is_good_again():
    loaded = read("a = f()\na = 1\nb = a")
    assert loaded.values == {"a": 1, "b": 1}
    assert loaded.broken == frozenset()


class TestWholeFiles:
    def test_syntax_errors_have_their_line(self):
        loaded = read("a = 1\ngw = 10.0.0.1\n")
        assert str(loaded.faults[0]).startswith("/etc/site.conf:2: is not Python syntax")
        assert not loaded.complete

    def test_another_encoding_is_told_with_its_line(self):
        (found,) = parse(b"a = 1\nb = '\xe9'\n", FILE).faults
        assert found.where == "/etc/site.conf:2"
        assert "UTF-8" in found.what

    @pytest.mark.parametrize("source", [b"\0", b"a = '\0'", b"(" * 5000, b"a = " + b"-" * 90000 + b"1"])
    def test_nonsense_is_one_fault(self, source: bytes):
        assert len(parse(source, FILE).faults) == 1

    def test_a_missing_file_names_its_template(self, tmp_path: Path):
        (found,) = load_file(tmp_path / "libvirt.conf").faults
        assert "copy libvirt.conf.template" in found.mend

    def test_a_folder_or_fifo_in_its_place_is_a_fault(self, tmp_path: Path):
        os.mkfifo(tmp_path / "fifo")
        assert "regular file" in load_file(tmp_path / "fifo").faults[0].what
        assert "regular file" in load_file(tmp_path).faults[0].what

    def test_a_link_that_loops_is_a_fault(self, tmp_path: Path):
        (tmp_path / "a").symlink_to(tmp_path / "a")
        assert "cannot be read" in load_file(tmp_path / "a").faults[0].what


class TestBounds:
    def test_a_large_file_is_refused(self, tmp_path: Path):
        (tmp_path / "big").write_bytes(b"#" * (load.FILE_LIMIT + 1))
        assert "larger than" in load_file(tmp_path / "big").faults[0].what

    def test_a_large_range_is_refused_without_making_it(self):
        assert "too many numbers" in fault(f"a = range({2**62})")
        assert "too many numbers" in fault(f"a = range(-{2**62}, {2**62}, 3)")

    def test_deep_nesting_is_refused_written_or_built(self):
        assert "too deeply" in fault("a = " + "[" * 40 + "]" * 40)
        assert "too deeply" in fault("a = []\n" + "a = [a]\n" * load.DEPTH_LIMIT)
        assert "too deeply" in fault("a = " + "-" * 40 + "1")

    def test_doubling_stops_early(self):
        assert "far too much" in fault("a = 'xxxxxxxx'\n" + "a = a + a\n" * 60)
        assert "far too much" in fault("a = []\n" + "a = [a, a, a, a, a, a, a, a]\n" * 15)
        assert "far too much" in fault("a = range(99999)\n" * 60)

    def test_long_sums_are_refused(self):
        assert "too many terms" in fault("a = 1" + " + 1" * (load.SUM_LIMIT + 1))
        assert value("1" + " + 1" * 500) == 501


# ------------------------------------------------------------------------------------------------------- properties

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_plain = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
_keys = _plain | _texts
literals = st.recursive(
    _plain | _texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(_keys, inner, max_size=4)
    ),
    max_leaves=12,
)

_PIECES = (
    *("a", "b", "_", "range", "open", "__import__", "os", "=", "+", "-", "*", "(", ")", "[", "]", "{", "}", ":", ","),
    *("1", "0", "2.5", "'x'", '"', "'''", "f'{a}'", "#", "\\", "\n", "\n  ", " ", "if", "for", "in", "lambda", "def"),
    *("import", "True", "None", ".", ";", "@", "**", "class", "yield", "await", ":=", "del", "\t", "é", "\ufeff"),
)

_FRAMES = (
    *("a = {}", "a = [1, {}]", "a = {{'k': {}}}", "a = range({})", "a = -{}", "a = '' + {}", "a = f'{{{}}}'"),
    *("{}", "if {}: pass", "class A: x = {}", "def f(x={}): pass", "@{}\ndef f(): pass", "a: {} = 1", "assert {}"),
)


@given(literals)
def test_literals_are_what_python_reads(data: object):
    source = repr(data)
    assert value(source) == ast.literal_eval(source)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_make_it_raise(source: bytes):
    parse(source, FILE)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(_PIECES), max_size=30))
def test_no_python_makes_it_raise(pieces: list[str]):
    parse("".join(pieces).encode(), FILE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(_FRAMES),
    st.sampled_from(("open({!r}, 'w')", "__import__('os').mkdir({!r})", "exec('open({!r}, chr(119))')")),
)
def test_nothing_is_ever_executed(tmp_path: Path, frame: str, call: str):
    canary = tmp_path / "canary"
    loaded = parse(frame.format(call.format(str(canary))).encode(), FILE)
    assert loaded.faults
    assert not canary.exists()
