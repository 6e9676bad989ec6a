"""The committed texts that are made from the rows of keys: ``etc/*.conf.template``, the tables of site-config.md.

``python -m pragma_boot.config.document CHECKOUT`` writes them anew; a test compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pragma_boot.config.generate import literal, render, shown_default
from pragma_boot.config.key import Key
from pragma_boot.config.keys import DRIVER_KEYS, DRIVERS, SITE_FILE, SITE_KEYS, driver_file
from pragma_boot.config.repository_keys import REPOSITORY_KEYS
from pragma_boot.files import write_atomic

PAGE = Path("docs/site-config.md")
"""The page whose tables are generated, in a checkout."""

_TABLE = re.compile(r"(<!-- keys of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def templates() -> dict[str, str]:
    """The texts of the template files, by file name."""
    site = {row.name: row.example for row in SITE_KEYS if row.required or row.name == "site_ve_driver"}
    texts = {SITE_FILE: render("The configuration of a site.", SITE_KEYS, site)}
    for driver in DRIVERS:
        required = {row.name: row.example for row in DRIVER_KEYS[driver] if row.required}
        texts[driver_file(driver)] = render(f"Settings of the driver {driver}.", DRIVER_KEYS[driver], required)
    return {f"{name}.template": text for name, text in texts.items()}


def page(text: str) -> str:
    """The page *text* with each table between ``<!-- keys of NAME -->`` and ``<!-- end -->`` made anew.

    NAME: a file's name, or repository_settings. Raises KeyError for another.
    """
    groups = {SITE_FILE: SITE_KEYS, "repository_settings": REPOSITORY_KEYS}
    groups |= {driver_file(driver): DRIVER_KEYS[driver] for driver in DRIVERS}
    return _TABLE.sub(lambda match: match[1] + _table(groups[match[2]]) + match[3], text)


def _table(rows: Iterable[Key]) -> str:
    lines = ["| key | meaning | default | example |", "|---|---|---|---|"]
    for row in rows:
        names = " or ".join(f"`{name}`" for name in (row.name, *row.aliases))
        meaning = row.help + (f" *For {', '.join(row.only)}.*" if row.only else "")
        default = shown_default(row)
        if row.required_by:
            others = "" if row.required_by == row.only else f", else {default}"
            default = f"required for {', '.join(row.required_by)}{others}"
        lines.append(f"| {names} | {meaning} | {default} | `{literal(row.example)}` |")
    return "\n".join(lines) + "\n"


def main(checkout: Path) -> None:
    """Write the templates and the tables into *checkout*."""
    for name, text in templates().items():
        write_atomic(checkout / "etc" / name, text)
    write_atomic(checkout / PAGE, page((checkout / PAGE).read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
