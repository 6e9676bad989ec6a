"""A NAS: `ssh`, `zfs` and `dd` as programs whose volumes are sparse files of a folder."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import os, random, re, shlex, subprocess, sys
root = {root!r}
host, command = sys.argv[-2:]
with open(root + "/asked", "a") as log:
    log.write(host + " " + command + chr(10))
if os.path.exists(root + "/down"):
    sys.exit("ssh: connect to host " + host + " port 22: No route to host")
words = shlex.split(command)
volume = lambda name: root + "/zvol/" + name
if words[0] == "dd":
    words = [word.replace("/dev/zvol/", root + "/zvol/") for word in words]
    if not os.path.exists(words[1].removeprefix("of=")):
        sys.exit("dd: failed to open")
    if os.path.exists(root + "/full"):
        sys.exit("dd: error writing: No space left on device")
    sys.exit(subprocess.run([*words, "status=none"]).returncode)
name = words[-1]
if words[1] == "get":
    if not os.path.exists(volume(name)):
        sys.exit("cannot open '" + name + "': dataset does not exist")
    print(open(volume(name) + ".guid").read())
    print(os.path.getsize(volume(name)))
elif words[1] == "list":
    for found in sorted(os.listdir(volume(name))) if os.path.isdir(volume(name)) else []:
        if not found.endswith(".guid"):
            print(name + "/" + found)
elif words[1] == "create":
    os.makedirs(os.path.dirname(volume(name)), exist_ok=True)
    with open(volume(name), "xb") as file:
        file.truncate(int(words[words.index("-V") + 1]))
    open(volume(name) + ".guid", "w").write(str(random.getrandbits(63)))
elif words[1] == "rename":
    for end in ("", ".guid"):
        os.rename(volume(words[2]) + end, volume(name) + end)
elif words[1] == "destroy":
    if os.path.exists(root + "/busy"):
        sys.exit("cannot destroy '" + name + "': volume has children")
    for end in ("", ".guid"):
        os.unlink(volume(name) + end)
else:
    sys.exit("unknown: " + command)
"""


class FakeNas:
    """Put `bin` before the PATH to use it. Files `down`, `full` and `busy` in *root* are its faults."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root, root / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "ssh"
        program.write_text(_PROGRAM.format(python=sys.executable, root=str(root)))
        program.chmod(0o755)

    def volumes(self) -> dict[str, bytes]:
        found = (path for path in (self.root / "zvol").rglob("*") if path.is_file() and path.suffix != ".guid")
        return {str(path.relative_to(self.root / "zvol")): path.read_bytes() for path in found}

    def asked(self) -> list[str]:
        return (self.root / "asked").read_text().splitlines()
