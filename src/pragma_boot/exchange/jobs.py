"""What the exchange keeps: jobs, each with a token, with what was put there, and who holds which slots.

One SQLite database, 0600; every call is one transaction, so a process that is killed leaves the old or the new. Tokens
are kept as digests only: who reads the database cannot use them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pragma_boot import files
from pragma_boot.config.validate import state_directory
from pragma_boot.errors import ExchangeError, PragmaError, UsageError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.claims import Claims, Member, give_back, grant

SLOTS, HUB = "slot_count", "hub_public_key"
"""The two keys of join information that an exchange understands."""

_BUSY = 10.0
"""Seconds that a transaction waits for another process's."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COUNT = re.compile(r"[0-9]{1,5}")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    name      TEXT PRIMARY KEY,
    digest    BLOB NOT NULL,
    created   TEXT NOT NULL,
    published TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pairs (
    job   TEXT NOT NULL REFERENCES jobs (name) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    job    TEXT NOT NULL REFERENCES jobs (name) ON DELETE CASCADE,
    slot   INTEGER NOT NULL CHECK (slot >= 1),
    holder TEXT NOT NULL,
    name   TEXT NOT NULL,
    PRIMARY KEY (job, slot)
) WITHOUT ROWID;
"""


class NothingPublishedError(ExchangeError):
    """Slots were asked for where no hub has published."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job, without its secrets. created, published: UTC, ISO 8601; published is empty when nothing is there.

    slots: how many the overlay has; None where what is published does not say. claimed: how many are held.
    """

    name: str
    created: str
    published: str
    slots: int | None
    claimed: int


def job_name(text: str) -> str:
    """Check a job's name; raises UsageError."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{shorten(text)!r} cannot name a job", resolution="use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"
        )
    return text


def default_database(environ: Mapping[str, str] = os.environ, *, root: bool | None = None) -> Path:
    """Where the database is unless somebody says otherwise: in the state folder of this user.

    Raises UsageError for a user without a home folder.
    """
    folder = state_directory(environ, root=os.geteuid() == 0 if root is None else root)
    if folder is None:
        raise UsageError("you have no home folder for the exchange's database", resolution="give database=")
    return folder / "exchange.db"


def _now() -> datetime:
    return datetime.now(UTC)


class Jobs:
    """All jobs, in the database at *path*. Safe to use from several threads and processes.

    Every call raises PragmaError when the database cannot be used.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = _now) -> None:
        self.path, self._now = path, now

    def renew_token(self, name: str) -> str:
        """Make the job, if it is new, and a token for it, the only copy; the token that it had is void.

        What is published and claimed stays. Raises UsageError for a name that no job can have.
        """
        token = secrets.token_urlsafe(32)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (name, digest, created) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
                (job_name(name), _digest(token), self._time()),
            )
        return token

    def remove(self, name: str) -> bool:
        """Forget a job and all it has; False when there is none of that name."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM jobs WHERE name = ?", (name,)).rowcount > 0

    def listed(self) -> tuple[Job, ...]:
        """All jobs, by name."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT name, created, published,"
                " (SELECT value FROM pairs WHERE job = name AND key = ?) AS slots,"
                " (SELECT count(*) FROM claims WHERE job = jobs.name) AS claimed"
                " FROM jobs ORDER BY name",
                (SLOTS,),
            )
            return tuple(
                Job(row["name"], row["created"], row["published"], _count(row["slots"]), row["claimed"]) for row in rows
            )

    def admits(self, name: str, token: str) -> bool:
        """Whether *token* is that job's; an unknown job takes as long as a wrong token."""
        with self._reading() as connection:
            row = connection.execute("SELECT digest FROM jobs WHERE name = ?", (name,)).fetchone()
        return hmac.compare_digest(row["digest"] if row else bytes(32), _digest(token)) and row is not None

    def put(self, name: str, pairs: Mapping[str, str]) -> None:
        """Publish *pairs* in place of what was there. The claims on another hub's overlay are void then."""
        with self._transaction() as connection:
            if self._value(connection, name, HUB) != pairs.get(HUB):
                connection.execute("DELETE FROM claims WHERE job = ?", (name,))
            connection.execute("DELETE FROM pairs WHERE job = ?", (name,))
            connection.executemany(
                "INSERT INTO pairs VALUES (?, ?, ?, ?)",
                [(name, place, key, value) for place, (key, value) in enumerate(pairs.items())],
            )
            connection.execute("UPDATE jobs SET published = ? WHERE name = ?", (self._time(), name))

    def get(self, name: str) -> dict[str, str]:
        """What is published, in its order; empty when nothing is."""
        with self._reading() as connection:
            rows = connection.execute("SELECT key, value FROM pairs WHERE job = ? ORDER BY place", (name,))
            return {row["key"]: row["value"] for row in rows}

    def claim(self, name: str, holder: str, names: Sequence[str]) -> tuple[int, ...]:
        """Slots for *holder*'s nodes, see `network.overlay.claims.grant` (also for what it raises).

        Raises NothingPublishedError when no hub has published that it has slots.
        """
        with self._transaction() as connection:
            slots = _count(self._value(connection, name, SLOTS))
            if not slots:
                raise NothingPublishedError("no hub has published here", resolution="boot the overlay's hub first")
            held = grant(self._claims(connection, name), holder, names, slots)
            self._write(connection, name, held)
        return held.of(holder)

    def release(self, name: str, holder: str) -> None:
        """Take all slots of *holder* back; no error when it has none."""
        with self._transaction() as connection:
            self._write(connection, name, give_back(self._claims(connection, name), holder))

    def members(self, name: str) -> Claims:
        """Who holds which slot."""
        with self._reading() as connection:
            return self._claims(connection, name)

    def withdraw(self, name: str, hub_key: str) -> None:
        """Forget what that hub published, and the claims on it; another hub's stays."""
        with self._transaction() as connection:
            if self._value(connection, name, HUB) == hub_key:
                connection.execute("DELETE FROM claims WHERE job = ?", (name,))
                connection.execute("DELETE FROM pairs WHERE job = ?", (name,))
                connection.execute("UPDATE jobs SET published = '' WHERE name = ?", (name,))

    def _value(self, connection: sqlite3.Connection, name: str, key: str) -> str | None:
        row = connection.execute("SELECT value FROM pairs WHERE job = ? AND key = ?", (name, key)).fetchone()
        return row["value"] if row else None

    def _claims(self, connection: sqlite3.Connection, name: str) -> Claims:
        rows = connection.execute("SELECT slot, holder, name FROM claims WHERE job = ?", (name,))
        return Claims({row["slot"]: Member(row["holder"], row["name"]) for row in rows})

    def _write(self, connection: sqlite3.Connection, name: str, held: Claims) -> None:
        connection.execute("DELETE FROM claims WHERE job = ?", (name,))
        connection.executemany(
            "INSERT INTO claims VALUES (?, ?, ?, ?)",
            [(name, slot, member.holder, member.name) for slot, member in held.members.items()],
        )

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._transaction("DEFERRED")  # many may read at the same time

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._open()) as connection:
                connection.execute(f"BEGIN {kind}")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise PragmaError(
                f"cannot use the exchange's database {self.path}",
                details=str(error),
                resolution="see that it is one, that you may write there, and that the disk is not full",
            ) from error

    def _open(self) -> sqlite3.Connection:
        try:
            files.make_folder(self.path.parent, 0o711)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would take the umask's
        except OSError as error:
            raise files.refused("use", self.path, error) from error
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what was withdrawn is gone from the file
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _digest(token: str) -> bytes:
    # a plain digest will do: tokens are random, not chosen by people
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _count(text: str | None) -> int | None:
    return int(text) if text and _COUNT.fullmatch(text) else None
