"""`pragma exchange …` and `pragma serve exchange` without serving; how it serves is in tests/unit/exchange."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema
import pytest

from fakes.cli import Pragma
from fakes.overlay import join_information
from pragma_boot.errors import UsageError
from pragma_boot.exchange.jobs import Jobs, default_database

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "output.schema.json").read_text())


def validate(kind: str, text: str) -> None:
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(json.loads(text))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "exchange.db"


def test_a_token_is_printed_or_kept_in_a_file_for_its_owner(pragma: Pragma, database: Path, tmp_path: Path) -> None:
    done = pragma("exchange", "token", "lab", f"database={database}")
    assert (done.status, done.err) == (0, "")
    assert Jobs(database).admits("lab", done.out.strip())
    file = tmp_path / "token"
    kept = pragma("exchange", "token", "lab", f"database={database}", f"file={file}")
    assert kept.out == f"the token of job lab is in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Jobs(database).admits("lab", file.read_text().strip())
    assert not Jobs(database).admits("lab", done.out.strip())


def test_a_file_that_cannot_be_written_voids_no_token(pragma: Pragma, database: Path, tmp_path: Path) -> None:
    token = pragma("exchange", "token", "lab", f"database={database}").out.strip()
    done = pragma("exchange", "token", "lab", f"database={database}", f"file={tmp_path}/none/token")
    assert done.status == 1
    assert Jobs(database).admits("lab", token)


def test_jobs_are_listed_and_removed(pragma: Pragma, database: Path) -> None:
    jobs = Jobs(database)
    jobs.renew_token("lab")
    jobs.renew_token("other")
    jobs.put("lab", join_information(slots=5).pairs())
    jobs.claim("lab", "a", ["", ""])
    done = pragma("exchange", "list", f"database={database}")
    assert [line.split()[0] for line in done.out.splitlines()] == ["JOB", "lab", "other"]
    assert done.out.splitlines()[1].endswith("2 of 5")
    assert done.out.splitlines()[2].split()[2:] == ["-", "-"]
    assert join_information().preshared not in done.out
    listed = pragma("exchange", "list", f"database={database}", "--json").out
    validate("exchange list", listed)
    assert [job["claimed"] for job in json.loads(listed)] == [2, 0]
    assert pragma("exchange", "remove", "lab", f"database={database}").out == "removed job lab\n"
    gone = pragma("exchange", "remove", "lab", f"database={database}")
    assert gone.status == 1
    assert "there is no job lab" in gone.err


def test_what_it_serves_is_documented() -> None:
    validate("serve exchange", '{"url": "http://127.0.0.1:1/", "database": "/x.db", "pid": 1}')


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("exchange token a/b", 2, "cannot name a job"),
        ("exchange remove a/b", 2, "cannot name a job"),
        ("serve exchange port=70000", 2, "no port"),
        ("serve exchange host=192.0.2.1", 2, "unencrypted"),
        ("serve exchange certificate=/none", 2, "cannot serve with the certificate /none"),
        ("serve exchange key=/none", 2, "without certificate="),
        ("serve", 2, "needs one more word"),
    ],
)
def test_what_cannot_be_done_is_told(pragma: Pragma, database: Path, line: str, status: int, told: str) -> None:
    more = [f"database={database}"] if line != "serve" else []
    done = pragma(*line.split(), *more)
    assert done.status == status
    assert told in done.err
    assert done.out == ""


def test_the_database_is_in_the_users_own_state_folder() -> None:
    assert default_database({"XDG_STATE_HOME": "/x"}, root=False) == Path("/x/pragma_boot/exchange.db")
    assert default_database({"XDG_STATE_HOME": "/x"}, root=True) == Path("/var/lib/pragma_boot/exchange.db")
    with pytest.raises(UsageError, match="home"):
        default_database({}, root=False)
