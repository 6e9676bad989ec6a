"""Modules in one file for an old Python: what is cut, what is kept, and that the committed agent is up to date."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import vermin

from fakes.pythons import oldest
from pragma_boot.build import agent
from pragma_boot.build.bundle import Bundler, bundle
from pragma_boot.errors import PragmaError

CHECKOUT = Path(__file__).parents[3]
Run = Callable[..., str]

COMPAT = (CHECKOUT / "src/pragma_boot/agent/compat.py").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Bundle modules given by their names below `pragma_boot`, call main() of `start`, tell what it printed."""

    def call(**modules: str) -> str:
        for name, text in {"agent.compat": COMPAT, **{k.replace("__", "."): v for k, v in modules.items()}}.items():
            path = tmp_path / "pragma_boot" / Path(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)
        (tmp_path / "pragma_boot/__init__.py").touch()
        for folder in {path.parent for path in tmp_path.rglob("*.py")}:
            (folder / "__init__.py").write_text('"""A package."""\n')
        bundler = Bundler(tmp_path)
        bundler.collect("pragma_boot.start", "main")
        text = bundle(bundler, "#!python\n", "pragma_boot.start", "main()")
        (tmp_path / "bundle").write_text(text)
        done = subprocess.run([oldest(), tmp_path / "bundle"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def text_of(tmp_path: Path) -> str:
    return (tmp_path / "bundle").read_text()


def test_annotations_of_all_kinds_go(run: Run, tmp_path: Path) -> None:
    start = '''"""Start."""
from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
Alias = dict[str, int] | None
LIMIT: int = 3
class Kind(StrEnum):
    A = "a"
@dataclass(frozen=True, slots=True)
class Thing:
    """ünïcödé -> here: nothing."""
    name: str
    many: tuple[str, ...] = ()
    kind: Kind = field(default=Kind.A, repr=False)
    made: Mapping[str, int] = field(default_factory=dict)
    def twice(self, more: str = "->", *rest: int, key: Alias = None, **other: str) -> list[str | None]:
        found: list[str] = []
        later: int
        for each in (self.name, more): found.append(each)
        return [*found, "ü->" + str(rest)]
def main() -> None:
    thing: Thing = Thing("x", kind=Kind.A)
    print(thing, thing == Thing("x"), replace(thing, name="y").twice("z", 1), f"{thing.kind} {LIMIT}")
    try:
        thing.name = "other"
    except AttributeError:
        print("frozen")
'''
    assert run(start=start) == "Thing(name='x', many=(), made={}) True ['y', 'z', 'ü->(1,)'] a 3\nfrozen\n"
    assert "Alias" not in text_of(tmp_path)
    assert "Mapping" not in text_of(tmp_path)


def test_only_what_can_be_reached_is_kept(run: Run, tmp_path: Path) -> None:
    start = '"""S."""\nfrom pragma_boot import far\nfrom pragma_boot.near import a as b\n'
    start += "def main(): print(far.used() + b())\n"
    near = (
        '"""N."""\nimport json\ndef a(): return _c()\n# its comment\ndef _c(): return 1\n# gone\ndef d(): return json\n'
    )
    far = '"""F."""\ndef used(): return ONE\ndef unused(): return import_error\n'
    far += 'ONE = 1\n"""About it."""\nTWO = 2\n"""Not."""\n'
    assert run(start=start, near=near, far=far) == "2\n"
    text = text_of(tmp_path)
    assert "# its comment\ndef _c" in text
    assert "About it" in text
    assert not [word for word in ("unused", "TWO", "Not.", "json", "# gone", "def d") if word in text]


def test_modules_may_need_each_other_late(run: Run) -> None:
    start = '"""S."""\nfrom pragma_boot.pair import one\ndef main(): print(one.a())\n'
    one = '"""1."""\nfrom pragma_boot.pair.two import BASE, b\nA = BASE + 1\ndef a(): return b() + A\n'
    two = '"""2."""\nBASE = 10\ndef b():\n    from pragma_boot.pair.one import A\n    return A\n'
    assert run(start=start, pair__one=one, pair__two=two) == "22\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("from pragma_boot.x import gone\ndef main(): gone()\n", "has no gone"),
        ("X = \"'''\"\ndef main(): X\n", "quotes"),
    ],
)
def test_what_cannot_be_bundled_is_told(run: Run, text: str, why: str) -> None:
    with pytest.raises(PragmaError, match=why):
        run(start=f'"""S."""\n{text}', x='"""X."""\n')


# ------------------------------------------------------------------------------------------------------- the agent


def test_the_committed_agent_is_what_its_sources_make() -> None:
    for name, text in agent.shipped(CHECKOUT / "src").items():
        assert (CHECKOUT / "guest" / name).read_bytes() == text, "run: python -m pragma_boot.build.agent ."
    assert sorted(path.name for path in (CHECKOUT / "guest").iterdir()) == sorted(agent.shipped(CHECKOUT / "src"))


def agent_modules() -> dict[str, str]:
    text = (CHECKOUT / agent.FILE).read_text()
    names: dict[str, object] = {"__name__": "bundle"}
    exec(compile(text.partition("\n_load()\n")[0], agent.FILE, "exec"), names)
    found = names["_TEXTS"]
    assert isinstance(found, dict)
    return {"the loader": text, **found}


def test_nothing_in_it_is_newer_than_python_3_6() -> None:
    for name, text in agent_modules().items():
        ast.parse(text, feature_version=(3, 6))
        _, needed = vermin.detect(text)
        assert needed is None or needed <= (3, 6), name


def test_no_name_in_it_is_unknown_or_unused(tmp_path: Path) -> None:
    for name, text in agent_modules().items():
        (tmp_path / f"{name.replace(' ', '-')}.py").write_text(text)
    argv = ["-m", "ruff", "check", "--isolated", "--no-cache", "--target-version=py37", "--select=F,E9,B006,W605"]
    done = subprocess.run([sys.executable, *argv, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_needs_the_standard_library_only_and_answers_in_the_oldest_python() -> None:
    for python in (oldest(), sys.executable):
        done = subprocess.run(
            [python, "-IS", CHECKOUT / agent.FILE, "what"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: pragma-guest local | fetch | post\n")
