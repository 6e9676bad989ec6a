"""Which commands there are, and what each of them takes.

A declaration is a line of words, one per parameter::

    name!  zoneid!=zones  networkids=networks*  startport#  forced?  userdata~1048576  keypairs*@4.17  details[]

``!`` required · ``=table`` the id of a row · ``*`` comma list · ``#`` whole number · ``?`` boolean · ``~N`` longest
value (255) · ``@V`` since version V (older servers ignore it) · ``[]`` list of objects · ``^`` root admin only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ApiError, bad
from .wire import Args

if TYPE_CHECKING:
    from .cloud import Call, Cloud
    from .jobs import Until

_WORD = re.compile(r"([a-z0-9]+)(\[\])?([!?#*^]*)(?:=([a-z_]+))?([*!]*)(?:~(\d+))?(?:@([\d.]+))?")
PAGING = "page# pagesize# keyword listall? account domainid projectid"
COMMON = frozenset({"command", "response", "apikey", "signature", "signatureversion", "expires", "sessionkey"})

Work = Generator["float | Until", None, dict[str, Any] | None]
"""A job's body: it gives the seconds or the condition that it waits for, and returns the job's result."""


@dataclass(frozen=True)
class Task:
    """What an asynchronous command leaves to do. id: of the object that it makes or works on."""

    work: Work
    queue: str | None
    kind: str | None = None
    id: str | None = None
    machine: str | None = None
    """The name of the machine that it works on, for faults."""


@dataclass(frozen=True)
class Param:
    name: str
    required: bool = False
    table: str | None = None
    many: bool = False
    form: str = "text"
    longest: int = 255
    since: str = "0"
    admin: bool = False


@dataclass(frozen=True)
class Command:
    """form: sync, async (a job), create (a job and the id of a new object)."""

    name: str
    form: str
    params: dict[str, Param]
    handler: Callable[[Cloud, Call], Any]
    since: str = "0"
    admin: bool = False
    key: str = ""

    @property
    def answer(self) -> str:
        return self.key or f"{self.name.lower()}response"


COMMANDS: dict[str, Command] = {}


def _param(word: str) -> Param:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ValueError(f"no parameter: {word}")
    marks = match[3] + match[5]
    form = "map" if match[2] else "bool" if "?" in marks else "int" if "#" in marks else "text"
    return Param(
        match[1], "!" in marks, match[4], "*" in marks, form, int(match[6] or 255), match[7] or "0", "^" in marks
    )


def command(
    name: str, params: str = "", *, form: str = "sync", since: str = "0", admin: bool = False, key: str = ""
) -> Callable[[Callable[[Cloud, Call], Any]], Callable[[Cloud, Call], Any]]:
    """Serve *name*."""

    def keep(handler: Callable[[Cloud, Call], Any]) -> Callable[[Cloud, Call], Any]:
        declared = [_param(word) for word in params.split()]
        COMMANDS[name] = Command(name, form, {one.name: one for one in declared}, handler, since, admin, key)
        return handler

    return keep


def unknown(made: Command, sent: dict[str, str]) -> list[str]:
    """Parameters that no version of the command has."""
    names = {re.sub(r"\[.*", "", name) for name in sent}
    return sorted(names - set(made.params) - COMMON)


def arguments(cloud: Cloud, made: Command, sent: dict[str, str]) -> Args:
    """Checked and converted; raises 431 as the server does."""
    values: dict[str, Any] = {}
    for param in made.params.values():
        if not cloud.config.since(param.since):
            continue
        if param.form == "map":
            found = _entries(param.name, sent)
            if found:
                values[param.name] = found
            elif param.required:
                raise _refused(made, f"due to missing parameter {param.name}")
            continue
        if param.name not in sent:
            if param.required:
                raise _refused(made, f"due to missing parameter {param.name}")
            continue
        text = sent[param.name]
        if not text.strip():
            if param.required:
                raise _refused(made, f"due to invalid value. Invalid value provided for API arg: {param.name}")
            continue
        values[param.name] = _value(cloud, made, param, text)
    return Args(values)


def _refused(made: Command, why: str) -> ApiError:
    return bad(f"Unable to execute API command {made.name.lower()} {why}")


def _entries(name: str, sent: dict[str, str]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for key, value in sent.items():
        match = re.fullmatch(rf"{name}\[(\d+)\]\.(.+)", key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return found


def _value(cloud: Cloud, made: Command, param: Param, text: str) -> Any:
    if param.form == "bool":
        return text.lower() == "true"
    if param.form == "int":
        if not re.fullmatch(r"[-+]?\d+", text.strip()):
            raise _refused(made, f"due to invalid value. Invalid parameter {param.name} value={text}")
        return int(text)
    if not param.many and len(text) > param.longest:
        raise bad(f"Value greater than max allowed length {param.longest} for param: {param.name}")
    words = [word.strip() for word in text.split(",")] if param.many else [text]
    if param.table:
        rows = getattr(cloud.state, param.table)
        for word in words:
            if word not in rows:
                raise _refused(
                    made,
                    f"due to invalid value. Invalid parameter {param.name} value={word} due to incorrect long value "
                    "format, or entity does not exist or due to incorrect parameter annotation for the field in api "
                    "cmd class.",
                )
    return words if param.many else text
