"""The guest agent's one file, made from its and the renderer's modules: ``python -m pragma_boot.build.agent .``."""

from __future__ import annotations

import sys
from pathlib import Path

from pragma_boot.build.bundle import Bundler, bundle
from pragma_boot.files import write_atomic

FILE = "guest/pragma-guest"
_ENTRY = "pragma_boot.agent.main"
_HEAD = """\
#!/usr/bin/env python3
# Made by: python -m pragma_boot.build.agent . -- change src/pragma_boot, not this file.
# SPDX-License-Identifier: Apache-2.0
\"\"\"Makes this machine a member of its virtual cluster (docs/guest-agent.md). For Python 3.6 and later.\"\"\"
"""


def agent(source: Path) -> str:
    """The text of the agent; *source*: the folder that the package is in."""
    bundler = Bundler(source)
    bundler.collect(_ENTRY, "main")
    return bundle(bundler, _HEAD, _ENTRY, "main(sys.argv[1:])")


def shipped(source: Path) -> dict[str, bytes]:
    """The files of the folder `guest`: the agent, and what starts it with each init."""
    found = {"pragma-guest": agent(source).encode()}
    for path in sorted((source / "pragma_boot/build/files/agent").iterdir()):
        found[path.name] = path.read_bytes()
    return found


def main(checkout: Path) -> None:
    """Write the folder `guest` of *checkout*."""
    for name, data in shipped(checkout / "src").items():
        write_atomic(checkout / "guest" / name, data, 0o755 if data.startswith(b"#!") else 0o644)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
