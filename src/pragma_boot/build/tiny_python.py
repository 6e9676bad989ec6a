"""The `tiny-python` flavour: `tiny` with just so much of Python that the guest agent runs, for tests of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pragma_boot.build import tiny, tree
from pragma_boot.build.inject import program
from pragma_boot.build.packages import Release
from pragma_boot.run import run

SIZE = 160 * 1024 * 1024

_MORE = tiny.More(packages=("python3-minimal", "libpython3-stdlib"), programs=("/usr/bin/python3",))
_PYTHON = "/usr/bin/python3"
_MORE_IMPORTS = (
    "compileall",
    "email.generator",
    "email.mime.multipart",
    "encodings.idna",
    "encodings.latin_1",
    "stringprep",
    "xml.etree.ElementTree",
)
"""What modules import late, and what compiles them."""
_IMPORT = re.compile(r"^\s*(?:from|import) ((?!pragma_boot)[a-z_][\w.]*)", re.MULTILINE)
_LIST = "import sys, {}; print(*sorted({{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}}))"
_COMPILE = """import compileall, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
sys.exit(not compileall.compile_dir({!r}, quiet=1, invalidation_mode=mode))
"""


def make_tree(root: Path, release: Release, work: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """As `tiny.make_tree`. Modules are compiled beforehand: emulated CPUs take seconds for it."""
    boot = tiny.make_tree(root, release, work, say, _MORE)
    say("picking Python's modules")
    packages = work / "packages"
    names = sorted({*_IMPORT.findall(program()), *_MORE_IMPORTS})
    listed = run(["chroot", packages, _PYTHON, "-IS", "-c", _LIST.format(", ".join(names))]).text.split()
    modules = [name for name in listed if name.endswith(".py")]
    for name in (*modules, *(name for name in listed if "/_json." in name or "/_uuid." in name)):
        tree.copy(packages, name, root)
    library = str(Path(*Path(modules[0]).parts[:4]))  # /usr/lib/python3.N
    run(["chroot", root, _PYTHON, "-IS", "-c", _COMPILE.format(library)], timeout=300)
    return boot
