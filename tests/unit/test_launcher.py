"""bin/pragma and the scripts beside it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pragma_boot import __version__

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "bin/pragma"
VENV = CHECKOUT / ".venv/bin/python"
SCRIPTS = [
    *(CHECKOUT / name for name in ("script/lib.sh", "script/setup", "script/demo", "script/test", ".ci/run")),
    *sorted((CHECKOUT / "src/pragma_boot/build/files/tiny/etc/init.d").iterdir()),
]


def version(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run([*words, "version"], cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_works_from_anywhere_and_through_links(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(PROGRAM)
    (tmp_path / "two").symlink_to("one")
    assert __version__ in version(tmp_path / "two", cwd=tmp_path)


@pytest.mark.skipif(not VENV.exists(), reason="needs the checkout's .venv")
def test_a_python_without_our_libraries_gives_way_to_one_that_has_them(tmp_path: Path) -> None:
    assert __version__ in version("/usr/bin/python3", "-S", PROGRAM, cwd=tmp_path)


def test_what_is_missing_is_told_where_no_python_will_do(tmp_path: Path) -> None:
    lonely = tmp_path / "bin/pragma"
    lonely.parent.mkdir()
    lonely.write_text(PROGRAM.read_text().replace("range(19, 10, -1)", "[]").replace('["python3"]', "[]"))
    argv = ["/usr/bin/python3", "-S", str(lonely), "version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "lacks click" in done.stderr
    assert f"{tmp_path}/script/setup" in done.stderr


def test_shims_that_lead_to_nothing_are_passed_over(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    shutil.copy(PROGRAM, home / "bin/pragma")
    (home / "src").symlink_to(CHECKOUT / "src")
    acts = {"python3": '/usr/bin/python3 -S "$@"', "python3.19": "false", "python3.18": f'{sys.executable} "$@"'}
    for name, act in acts.items():
        shim = tmp_path / name
        shim.write_text(f"#!/bin/sh\nexec {act}\n")
        shim.chmod(0o755)
    argv = ["/usr/bin/python3", "-S", str(home / "bin/pragma"), "version"]
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60)
    assert __version__ in done.stdout, done.stderr


def test_any_python_3_can_read_it() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 0))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_plain_shell(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", script], check=True, timeout=10)
    assert script.name == "lib.sh" or script.stat().st_mode & 0o111
