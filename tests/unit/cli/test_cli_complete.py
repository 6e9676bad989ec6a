from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.cli.complete import SCRIPTS
from pragma_boot.errors import ConfigError


@pytest.fixture
def completed(pragma: Pragma, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> object:
    site.add(cluster_view("lab"))
    site.add(cluster_view("vc1"))
    monkeypatch.setenv("_PRAGMA_COMPLETE", "bash")
    return lambda *words: pragma(*words).out.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["bo"], ["boot"]),
        (["list", ""], ["cluster", "repository", "help"]),
        (["help", "c"], ["console", "clean", "check", "completion"]),
        (["help", "list", "c"], ["cluster"]),
        (["boot", "Ro"], ["Rocks-7.0"]),
        (["boot", "demo", "4", "k"], ["key="]),
        (["boot", "demo", "4", "--dr"], ["--dry-run="]),
        (["boot", "demo", "4", "on-failure="], ["on-failure=undo", "on-failure=keep"]),
        (["boot", "demo", "4", "--on-failure=k"], ["--on-failure=keep"]),
        (["boot", "demo", "4", "--on-failure", ""], ["undo", "keep"]),
        (["boot", "demo", "4", "name=x", "na"], []),
        (["clean", "l"], ["lab", "logfile=", "loglevel="]),
        (["ssh", "lab", "--", "l"], []),
        (["completion", ""], ["bash", "zsh", "fish", "logfile=", "loglevel=", "quiet="]),
        (["nonsense", ""], []),
    ],
)
def test_words_are_completed(completed: object, words: list[str], found: list[str]) -> None:
    assert completed(*words) == found  # type: ignore[operator]


def test_files_are_completed(completed: object, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "key.pub").touch()
    assert completed("boot", "demo", "1", f"key={tmp_path}/k") == [  # type: ignore[operator]
        f"key={tmp_path}/key.pub",
        f"key={tmp_path}/keys/",
    ]


def test_other_shells_get_the_meanings(pragma: Pragma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PRAGMA_COMPLETE", "fish")
    assert pragma("shut").out == "shutdown\tShut a cluster's nodes down; its disks and addresses stay\n"


def test_a_site_without_configuration_completes_to_no_names(
    pragma: Pragma, site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(FakeSite):
        def clusters(self) -> object:  # type: ignore[override]
            raise ConfigError("none", ())

    site.__class__ = Broken
    monkeypatch.setenv("_PRAGMA_COMPLETE", "bash")
    done = pragma("clean", "")
    assert (done.status, done.err) == (0, "")
    assert "logfile=" in done.out


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_printed_and_parse(pragma: Pragma, shell: str) -> None:
    script = pragma("completion", shell).out
    assert "_PRAGMA_COMPLETE" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pragma bo", "boot"),
        ("pragma list c", "cluster"),
        ("pragma boot demo 4 on-failure=k", "keep"),
        ("pragma boot demo 4 loglevel=", "DEBUG INFO WARNING ERROR CRITICAL"),
    ],
)
def test_bash_itself_completes(tmp_path: Path, line: str, found: str) -> None:
    program = tmp_path / "pragma"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pragma_boot.cli.main "$@"\n')
    program.chmod(0o755)
    ask = f'{SCRIPTS["bash"]}\nCOMP_LINE="{line}" COMP_POINT={len(line)}\n_pragma\necho "${{COMPREPLY[@]}}"\n'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{found}\n", done.stderr
