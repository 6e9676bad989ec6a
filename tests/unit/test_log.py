import logging
import re
import stat
from pathlib import Path

import pytest

from pragma_boot import log
from pragma_boot.errors import PragmaError


def written(path: Path, text: str, *args: object) -> str:
    log.set_up(path, "DEBUG")
    logging.getLogger("pragma_boot.test").info(text, *args)
    return path.read_text()


def test_the_record_format_is_what_schedulers_parse(tmp_path: Path) -> None:
    line = written(tmp_path / "boot.log", "Requesting %d CPUs", 4)
    assert re.fullmatch(r"[\d-]+ [\d:,]+ - pragma_boot\.test - INFO - Requesting 4 CPUs\n", line)


def test_the_log_is_private(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "boot.log"
    written(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://user:hunter2@example.org/x", "hunter2"),
        ("https://cdn.example.org/x?Signature=abcDEF123&Key-Pair-Id=APKA", "abcDEF123"),
        ("https://cdn.example.org/x?Signature=abcDEF123&Key-Pair-Id=APKA", "APKA"),
        ("call with apikey=12345678", "12345678"),
        ("boot demo 2 'enable-ipop-client=https://x.org/?jobId=1#token=opensesame1'", "opensesame1"),
        ("overlay=wireguard\npsk=abcDEF123=\nmtu=1420", "abcDEF123"),
        ("GET /?jobId=1&action=put&slot_seed=00ff00ff", "00ff00ff"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1\n-----END OPENSSH PRIVATE KEY-----", "b3BlbnNzaC1"),
    ],
)
def test_secrets_are_masked(tmp_path: Path, text: str, secret: str) -> None:
    line = written(tmp_path / "x.log", "%s", text)
    assert secret not in line
    assert "****" in line


def test_named_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    log.hide(["opensesame"])
    assert "opensesame" not in written(tmp_path / "x.log", "say %s", "opensesame")
    assert log.masked("say opensesame") == "say ********"


def test_ordinary_text_stays(tmp_path: Path) -> None:
    assert "Allocated cluster vc1 with compute nodes: compute-0" in written(
        tmp_path / "x.log", "Allocated cluster vc1 with compute nodes: compute-0"
    )


def test_a_log_that_cannot_be_written_is_one_error() -> None:
    with pytest.raises(PragmaError, match="cannot write the log file"):
        log.set_up(Path("/proc/no/such/file.log"), "INFO")
