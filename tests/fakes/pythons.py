"""Other Pythons of this machine, for what has to run in old ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def oldest() -> str:
    """The oldest Python from 3.6 on that runs here: of PATH, of pyenv; our own when there is no other."""
    for minor in range(6, sys.version_info.minor):
        name = f"python3.{minor}"
        candidates = [
            shutil.which(name),
            *map(str, Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/{name}")),
        ]
        for candidate in candidates:
            if candidate and _runs(candidate):
                return candidate
    return sys.executable


def _runs(program: str) -> bool:
    return subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0
