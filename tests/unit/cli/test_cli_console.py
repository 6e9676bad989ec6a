from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.model import ClusterName


def _log(site: FakeSite, data: bytes) -> Path:
    site.add(cluster_view("vc1"))
    path = site.cluster_folder(ClusterName("vc1")) / "console" / "vc1.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_what_was_written_is_shown_without_what_steers_terminals(pragma: Pragma, site: FakeSite) -> None:
    _log(site, b"one\r\n\x1b[31mtwo\x1b[0m\r\n\x07three\n")
    done = pragma("console", "vc1", "follow=no")
    assert (done.status, done.out) == (0, "one\ntwo\nthree\n")


def test_a_node_without_a_log_is_an_error(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    done = pragma("console", "vc1", "compute-0", "follow=no")
    assert done.status == 1
    assert "there is no console log of compute-0" in done.err


def test_new_lines_are_followed_until_interrupted(site: FakeSite) -> None:
    path = _log(site, b"first\n")
    script = (
        "import sys, pathlib; from fakes.site import FakeSite, cluster_view; from pragma_boot.cli.main import main;"
        "site = FakeSite(pathlib.Path(sys.argv[1])); site.add(cluster_view('vc1'));"
        "sys.exit(main(['console', 'vc1'], site))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(site.root)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"first\n"
        with path.open("ab") as log:
            log.write(b"second\n")
        assert process.stdout.readline() == b"second\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
