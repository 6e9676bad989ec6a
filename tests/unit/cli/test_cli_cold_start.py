"""What a cold start imports: the fast commands must not pay for the slow ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    "asyncio", "cryptography", "guestfs", "urllib3", "inotify_simple", "libvirt", "lxml", "rich", "sqlite3", "ssl",
    "tempfile", "urllib.request", "xml.sax",
}  # fmt: skip
SCRIPT = """
import json, pathlib, sys
from pragma_boot.cli.main import main
site = None
if sys.argv[1]:
    from fakes.site import FakeSite
    before = set(sys.modules)
    site = FakeSite(pathlib.Path("."))
status = main(sys.argv[2:], site)
sys.stderr.write(json.dumps([status, sorted(sys.modules)]))
"""


def imported(*words: str, fake: bool = False) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    argv = [sys.executable, "-c", SCRIPT, "x" if fake else "", *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stderr)
    assert status == 0
    return set(modules)


@pytest.mark.parametrize(
    "words", [[], ["help"], ["help", "boot"], ["list", "help"], ["version"], ["completion", "bash"]]
)
def test_help_needs_nothing_heavy(words: list[str]) -> None:
    modules = imported(*words)
    assert not {name for name in modules if name in HEAVY - {"tempfile"}}
    assert not {name for name in modules if name.startswith(("pragma_boot.cluster", "pragma_boot.config"))}


def test_a_command_imports_only_its_own_module() -> None:
    modules = {name for name in imported("version") if name.startswith("pragma_boot.cli.commands.")}
    assert modules == {"pragma_boot.cli.commands.version"}


def test_listing_needs_no_terminal_library() -> None:
    assert not imported("list", "cluster", fake=True) & {"rich", "lxml", "cryptography", "guestfs", "inotify_simple"}
