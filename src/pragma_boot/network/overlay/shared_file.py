"""An exchange that is a file, on a file system that the sites share or on one machine for all its clusters.

``PATH`` has the join information, ``PATH.claims`` who has which slots; both are 0600 and replaced in one step. The lock
is on ``PATH.claims`` itself (`files.lock`): every change of either is made under it, and replacing it comes last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pragma_boot import files
from pragma_boot.errors import ClusterBusyError, ExchangeError, JoinInformationError
from pragma_boot.network.overlay import claims as slots_of
from pragma_boot.network.overlay.claims import Claims, Member
from pragma_boot.network.overlay.exchange import nothing_there
from pragma_boot.network.overlay.information import LIMIT, JoinInformation, parse

_log = logging.getLogger(__name__)

_PATIENCE = 30.0
"""Seconds to wait for another command that changes the same exchange: each takes milliseconds."""

_CLAIMS_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SharedFile:
    """An `Exchange`; *path* is absolute."""

    path: Path

    @property
    def shown(self) -> str:
        """See `Exchange`."""
        return f"file://{self.path}"

    @property
    def ticket(self) -> str:
        """See `Exchange`."""
        return f"file://{quote(str(self.path))}"

    def publish(self, information: JoinInformation) -> None:
        """See `Exchange`."""
        self._check_folder()
        with self._locked():
            files.write_atomic(self.path, information.text(), 0o600)

    def fetch(self) -> JoinInformation | None:
        """See `Exchange`. A folder that is not there is an error: nobody would ever publish in it."""
        self._check_folder()
        text, mode = _read(self.path, LIMIT)
        if not text.strip():
            return None
        if mode & 0o077:
            _log.warning("%s holds secrets and is open to others: chmod 600 it", self.path)
        return parse(text, str(self.path))

    def claim(self, holder: str, names: Sequence[str]) -> tuple[int, ...]:
        """See `Exchange`."""
        slots_of.check_claim(holder, names)
        self._check_folder()
        with self._locked():
            information = self.fetch()
            if information is None:
                raise nothing_there(self.shown)
            held = slots_of.grant(self._claims(information), holder, names, information.slots)
            self._write(information, held)
        return held.of(holder)

    def release(self, holder: str) -> None:
        """See `Exchange`."""
        if not self._claims_file.exists():
            return
        with self._locked():
            information = self._fetch_quietly()
            if information:
                self._write(information, slots_of.give_back(self._claims(information), holder))

    def members(self) -> Mapping[int, Member]:
        """See `Exchange`. Needs no lock: the file is replaced in one step."""
        information = self.fetch()
        return dict(slots_of.listed(self._claims(information))) if information else {}

    def withdraw(self, hub_key: str) -> None:
        """See `Exchange`."""
        if not self.path.parent.is_dir():
            return
        with self._locked():
            information = self._fetch_quietly()
            try:
                if information and information.hub_key == hub_key:
                    self.path.unlink()
                if not self.path.exists():
                    self._claims_file.unlink(missing_ok=True)
            except OSError as error:
                raise files.refused("remove", self.path, error) from error

    @property
    def _claims_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.claims")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        busy = f"another command works on the exchange {self.path}"
        try:
            with files.lock(self._claims_file, wait=_PATIENCE, busy=busy):
                yield
        except ClusterBusyError as error:
            raise ExchangeError(error.message, resolution=error.resolution) from error

    def _fetch_quietly(self) -> JoinInformation | None:
        """The join information, or None also for what nobody can read any more: there is nothing to give back to."""
        try:
            return self.fetch()
        except JoinInformationError as error:
            _log.info("%s: %s", self.path, error.message)
            return None

    def _claims(self, information: JoinInformation) -> Claims:
        """The claims on that overlay; none where the file is of another one, whose hub was here before."""
        text, _ = _read(self._claims_file, _CLAIMS_LIMIT)
        if not text.strip():
            return Claims()
        try:
            found = json.loads(text)
            if found["overlay"] != _mark(information):
                return Claims()
            return Claims({int(slot): Member(str(who), str(name)) for slot, (who, name) in found["slots"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExchangeError(
                f"{self._claims_file} cannot be read",
                details=f"{type(error).__name__}: not as this program writes it",
                resolution="restore it; or remove it, when no cluster but the hub's is in the overlay",
            ) from error

    def _write(self, information: JoinInformation, held: Claims) -> None:
        members = {str(slot): [member.holder, member.name] for slot, member in slots_of.listed(held)}
        content = {"overlay": _mark(information), "slots": members}
        files.write_atomic(self._claims_file, json.dumps(content, indent=1) + "\n", 0o600)

    def _check_folder(self) -> None:
        if not self.path.parent.is_dir():
            raise ExchangeError(
                f"{self.path.parent} is not a folder",
                resolution="make or mount it, or name another file in the URL",
            )


def _mark(information: JoinInformation) -> str:
    """What tells one overlay's claims from another's; nothing secret."""
    return hashlib.sha256(information.hub_key.encode()).hexdigest()[:16]


def _read(path: Path, limit: int) -> tuple[str, int]:
    """A file's text, up to a little more than *limit* bytes, and its permissions; empty when it is not there."""
    try:
        # a pipe that somebody has put there must not hold us up
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ExchangeError(f"{path} is no plain file", resolution="name another file in the URL")
            return file.read(limit + 1).decode("utf-8", "replace"), stat.S_IMODE(mode)
    except FileNotFoundError:
        return "", 0
    except OSError as error:
        raise files.refused("read", path, error) from error
