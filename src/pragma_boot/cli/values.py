"""The kinds of values that the command line takes: each parses one word, explains itself and completes itself.

A word that does not fit raises UsageError (exit 2); nothing has been read or changed by then.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pragma_boot import model
from pragma_boot.errors import UsageError
from pragma_boot.log import LEVELS
from pragma_boot.model import ClusterName, ImageName, shorten

if TYPE_CHECKING:
    from pragma_boot.cli.session import Session

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic for the type checker, but not in every version that we run with

MAX_CPUS = 10_000
"""No site is larger; what a site really has free is checked later and told then."""
MAX_MEMORY_MIB = 16 * 1024 * 1024
MAX_WAIT = 7 * 24 * 3600

YES = ("yes", "true", "on", "y", "t", "1")
NO = ("no", "false", "off", "n", "f", "0")
_LONG_SWITCH_WORDS = tuple(word for word in YES + NO if len(word) > 1)


class Value(_ParamType):
    """One kind of value; *name* is its placeholder in the help. Words come in as `str`, parsed values pass through."""

    name = "text"
    bare: str | None = None
    """What a parameter of this kind means when it is given without a value, or None where it needs one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.parse(value, _label(param)) if isinstance(value, str) else value

    def parse(self, text: str, label: str) -> Any:
        """The parsed value; *label* names the parameter in messages. Raises UsageError."""
        return text

    def is_value(self, word: str) -> bool:
        """Whether a word after the bare parameter is its value (`--dry-run no`) and not the next positional.

        Short words are not: the 0 of `--dry-run demo 0` is a number of CPUs.
        """
        return self.bare is None or word.lower() in _LONG_SWITCH_WORDS

    def choices(self, session: Session) -> Iterable[str]:
        """The words that a shell may offer; may ask the site, so it may raise PragmaError."""
        return ()


class Text(Value):
    """Any text; *placeholder* says what it stands for."""

    def __init__(self, placeholder: str) -> None:
        self.name = placeholder


class YesNo(Value):
    """A switch: every usual word for yes and no; the bare parameter means yes."""

    name = "yes|no"
    bare = "yes"

    def parse(self, text: str, label: str) -> bool:
        word = text.lower()
        if word in YES or word in NO:
            return word in YES
        raise UsageError(
            f"{label} is neither yes nor no: {shorten(text)!r}", resolution=f"say {label}=yes or {label}=no"
        )

    def choices(self, session: Session) -> Iterable[str]:
        return ("yes", "no")


class Choice(Value):
    """One of a few words, in any case; a *placeholder* stands for them where they are too many for one line."""

    def __init__(self, words: Sequence[str], placeholder: str = "") -> None:
        self.words = tuple(words)
        self.name = placeholder or "|".join(self.words)

    def parse(self, text: str, label: str) -> str:
        for word in self.words:
            if word.lower() == text.lower():
                return word
        near = nearest(text, self.words)
        raise UsageError(
            f"{label} cannot be {shorten(text)!r}",
            details=f"did you mean {near!r}?" if near else None,
            resolution=f"choose one of {', '.join(self.words)}",
        )

    def choices(self, session: Session) -> Iterable[str]:
        return self.words


class Cpus(Value):
    """A number of CPUs: 0 and more."""

    name = "number"

    def parse(self, text: str, label: str) -> int:
        # int() would also take '1_000', ' 4 ' and digits of other scripts
        if re.fullmatch(r"[0-9]{1,9}", text) and int(text) <= MAX_CPUS:
            return int(text)
        raise UsageError(
            f"{label} is not a number of CPUs: {shorten(text)!r}",
            resolution=f"give a whole number from 0 (a frontend alone) to {MAX_CPUS}",
        )


class Memory(Value):
    """MB of each node, or `FE:CN` for frontend and computes; parsed to a pair of MiB, None where left open.

    0 means "not said": schedulers compute it by rounding and send it for small requests (docs/commands.md).
    """

    name = "MB|FE:CN"

    def parse(self, text: str, label: str) -> tuple[int | None, int | None]:
        if found := re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", text):
            frontend = int(found[1])
            compute = int(found[2]) if found[2] is not None else frontend
            if max(frontend, compute) <= MAX_MEMORY_MIB:
                return frontend or None, compute or None
        raise UsageError(
            f"{label} is no amount of memory: {shorten(text)!r}",
            resolution=f"give MB per node ({label}=2048), or the frontend's and the computes' ({label}=4096:1024)",
        )


class Wait(Value):
    """How long to wait until nodes are ready: seconds, `no` (0.0), or `yes` for as long as the site says (None)."""

    name = "no|seconds"

    def parse(self, text: str, label: str) -> float | None:
        word = text.lower()
        if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", word) and float(word) <= MAX_WAIT:
            return float(word)
        if word in YES or word in NO:
            return None if word in YES else 0.0
        raise UsageError(
            f"{label} is no time: {shorten(text)!r}", resolution=f"give seconds ({label}=600), or {label}=no"
        )

    def choices(self, session: Session) -> Iterable[str]:
        return ("no", "600")


class Ent(Value):
    """ENT: a switch, or the cluster's first address in ENT with its prefix length; parsed to text, "" for no."""

    name = "yes|no|CIDR"
    bare = "yes"

    def is_value(self, word: str) -> bool:
        return super().is_value(word) or "/" in word

    def parse(self, text: str, label: str) -> str:
        if text.lower() in YES or text.lower() in NO:
            return "yes" if text.lower() in YES else ""
        try:
            if "/" in text:
                return str(IPv4Interface(text))
        except ValueError:
            pass  # told below
        raise UsageError(
            f"{label} is neither yes, no nor a network: {shorten(text)!r}",
            resolution=f"say {label}=yes, or give the first address and its prefix length ({label}=10.103.0.1/28)",
        )


class FileName(Value):
    """A path; `~` is the user's home."""

    name = "file"

    def __init__(self, placeholder: str = "file") -> None:
        self.name = placeholder

    def parse(self, text: str, label: str) -> Path:
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise UsageError(
                f"{label} names the home of a user who does not exist: {shorten(text)!r}",
                resolution="give the path without '~'",
            ) from error


class Cluster(Value):
    """A cluster's name, or an image's that exactly one cluster runs (the cluster layer decides which)."""

    name = "vc-name"

    def parse(self, text: str, label: str) -> str:
        try:
            return model.image_name(text)  # cluster names are image names, too
        except UsageError as error:
            raise UsageError(
                f"{shorten(text)!r} cannot name a cluster", resolution="'pragma list cluster' shows the names"
            ) from error

    def choices(self, session: Session) -> Iterable[str]:
        return (cluster.name for cluster in session.site.clusters())


class NewCluster(Value):
    """The name of a cluster to be."""

    name = "name"

    def parse(self, text: str, label: str) -> ClusterName:
        return model.cluster_name(text)


class Image(Value):
    """An image's name."""

    name = "vc-name"

    def parse(self, text: str, label: str) -> ImageName:
        return model.image_name(text)

    def choices(self, session: Session) -> Iterable[str]:
        return (entry.name for entry in session.site.catalog().entries)


class NewImage(Value):
    """The name of an image to be."""

    name = "name"

    def parse(self, text: str, label: str) -> ImageName:
        return model.image_name(text)


class Size(Value):
    """A size with its unit, ``512M`` or ``4G``; parsed to bytes."""

    name = "512M|4G"

    def parse(self, text: str, label: str) -> int:
        if found := re.fullmatch(r"([1-9][0-9]{0,6})([MG])(?:i?B)?", text, re.IGNORECASE):
            return int(found[1]) * 1024 ** (2 if found[2] in "Mm" else 3)
        raise UsageError(f"{label} is no size: {shorten(text)!r}", resolution=f"give a number and M or G ({label}=4G)")


class Port(Value):
    """A TCP port; 0 stands for any that is free."""

    name = "number"

    def parse(self, text: str, label: str) -> int:
        if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 65535:
            return int(text)
        raise UsageError(f"{label} is no port: {shorten(text)!r}", resolution="give a number from 0 to 65535")


LOG_LEVEL = Choice(LEVELS, "level")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of *words* that was probably meant, or None when nothing is like it."""
    known = {candidate.lower(): candidate for candidate in words}
    found = difflib.get_close_matches(shorten(word).lower(), known, n=1, cutoff=0.55)
    return known[found[0]] if found else None


def _label(param: click.Parameter | None) -> str:
    if param is None or param.name is None:
        return "the value"
    return param.name.replace("_", "-")
