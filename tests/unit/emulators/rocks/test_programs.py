"""The programs as programs: start, log, locks, signals; `ssh` into the hosts, `zfs` on the NAS."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite

HERE = Path(__file__).parents[3] / "emulators/rocks"
ROOM = "vm-container-0-0"


def _namespaces() -> bool:
    return (
        subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode
        == 0
    )


needs_namespaces = pytest.mark.skipif(not _namespaces(), reason="needs mount namespaces (root, or unprivileged ones)")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_launcher_finds_its_site_without_environment(site: RocksSite) -> None:
    ran = site.run("report version")
    assert (ran.status, ran.out, ran.err) == (0, "7.0\n", "")


def test_the_program_here_is_told_its_site(site: RocksSite) -> None:
    env = {"ROCKS_EMU_DIR": str(site.folder), "PATH": os.environ["PATH"]}
    done = subprocess.run([HERE / "rocks", "report", "version"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7.0\n")
    done = subprocess.run(
        [HERE / "rocks"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert "no site; set ROCKS_EMU_DIR" in done.stderr


def test_every_call_is_logged(site: RocksSite) -> None:
    site.run("report version")
    site.run("frobnicate", "a b")
    logged = [(call["argv"], call["rc"], call["stdout"]) for call in site.calls()]
    assert logged == [
        (["report version"], 0, "7.0\n"),
        (["frobnicate", "a b"], 255, 'error - invalid rocks command "frobnicate"\n'),
    ]
    assert all(call["seconds"] >= 0 for call in site.calls())
    site.forget_calls()
    assert site.calls() == []


def test_every_call_can_be_slowed_and_slow_calls_overlap(site: RocksSite) -> None:
    with site.change() as state:
        state.options.delay = 0.5
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: site.call("list host"), range(8)))
    assert 0.5 <= time.monotonic() - start < 3


def test_side_by_side_no_change_gets_lost(site: RocksSite) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: site.run("set host boot", f"vm-container-0-{number % 3}", "action=os"), range(6)))
        list(pool.map(lambda number: site.run("add host interface", "fiji", f"x{number}"), range(12)))
    assert sum((row.device or "").startswith("x") for row in site.state().interfaces) == 12


def test_a_call_that_is_killed_leaves_its_steps(site: RocksSite, tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    site.faults({"at": "frontend", "race": ["touch", str(reached)], "hang": 60})
    words = [site.rocks, "add cluster", "198.202.88.60", "1", "fe-name=other", "cluster-naming=1", "vlan=7"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _wait_for(reached)
        assert site.call("report version").status == 0
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM
    assert site.inventory() == ["vlan fiji 7", "vm other"]


def test_a_hook_can_kill_the_caller(site: RocksSite) -> None:
    site.faults({"match": "nextmac", "race": ["sh", "-c", "kill -KILL $CALLER"]})
    script = f"{site.rocks} report version; {site.rocks} report vm nextmac; echo survived"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "survived" in done.stdout) == (-signal.SIGKILL, False)


@needs_namespaces
def test_a_hosts_root_is_its_folder(site: RocksSite) -> None:
    ran = site.run(
        "-o",
        "BatchMode=yes",
        "-T",
        f"root@{ROOM}",
        "mkdir -p /state/a && cat > /state/a/b; exit 7",
        program="ssh",
        stdin=b"data",
    )
    assert ran.status == 7
    assert (site.folder / "hosts" / ROOM / "state/a/b").read_text() == "data"
    assert f"file {ROOM}:/state/a/b" in site.inventory()
    assert not Path("/state/a/b").exists()


@needs_namespaces
def test_words_are_joined_and_streams_are_kept_apart(site: RocksSite) -> None:
    assert site.run(ROOM, "echo", "a  b;", "echo", "c", program="ssh").out == "a b\nc\n"
    ran = site.run("--", ROOM, "echo a; echo b >&2", program="ssh")
    assert (ran.status, ran.out, ran.err) == (0, "a\n", "b\n")


@needs_namespaces
def test_the_machines_programs_cannot_be_changed_from_a_host(site: RocksSite) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    ran = site.run(ROOM, "touch /usr/emulated; id -un; sed --version | head -1; ls -1 /dev", program="ssh")
    assert "Read-only file system" in ran.err
    assert ran.out.splitlines()[0] == "root"


@needs_namespaces
def test_folders_of_the_site_are_shared_by_all_hosts(site: RocksSite) -> None:
    shared = site.folder / "nfs"
    shared.mkdir()
    site.run(ROOM, f"echo disk > {shared}/a", program="ssh")
    assert site.run("vm-container-0-1", f"cat {shared}/a", program="ssh").out == "disk\n"


def test_a_host_that_is_down_or_unknown_is_not_reached(site: RocksSite) -> None:
    with site.change() as state:
        state.down = [ROOM]
    ran = site.run(ROOM, "true", program="ssh")
    assert (ran.status, ran.err) == (255, f"ssh: connect to host {ROOM} port 22: No route to host\n")
    ran = site.run("nosuch", "true", program="ssh")
    assert (ran.status, ran.err) == (255, "ssh: Could not resolve hostname nosuch: Name or service not known\n")


@needs_namespaces
def test_ssh_has_faults_and_a_log_of_its_own(site: RocksSite) -> None:
    site.faults({"program": "ssh", "nth": 2, "rc": 255, "stderr": "Connection closed\n"})
    assert [site.run(ROOM, "true", program="ssh").status for _ in range(3)] == [0, 255, 0]
    assert [call["rc"] for call in site.calls("ssh")] == [0, 255, 0]
    assert site.calls() == []


@needs_namespaces
def test_a_connection_may_break_half_way(site: RocksSite) -> None:
    site.faults({"program": "ssh", "cut": 3})
    ran = site.run(ROOM, "cat > /tmp/disk", program="ssh", stdin=b"a whole disk")
    assert (ran.status, ran.err) == (255, f"Connection to {ROOM} closed by remote host.\n")
    assert (site.folder / "hosts" / ROOM / "tmp/disk").read_bytes() == b"a w"


@needs_namespaces
def test_a_host_knows_its_name(site: RocksSite) -> None:
    assert site.run(ROOM, "uname -n", program="ssh").out == f"{ROOM}\n"


@needs_namespaces
def test_rocks_runs_commands_on_hosts_and_forgets_how_they_ended(site: RocksSite) -> None:
    with site.change() as state:
        state.down = ["vm-container-0-1"]
    ran = site.call("run host", "vm-container", "hostname >/dev/null; echo here; false", "collate=yes")
    assert (ran.status, ran.out) == (0, "vm-container-0-0: here\nvm-container-0-1: down\nvm-container-0-2: here\n")


def _zfs(site: RocksSite, words: str) -> tuple[int, str, str]:
    ran = site.run("nas-0-0", f"zfs {words}", program="ssh")
    return ran.status, ran.out, ran.err


@needs_namespaces
def test_a_clone_is_a_copy_that_holds_its_snapshot(site: RocksSite, tmp_path: Path) -> None:
    content = tmp_path / "image"
    content.write_bytes(b"bootable")
    site.add_zvol("pragma/centos", 1 << 20, content=content)
    for words in ("snapshot pragma/centos@s", "clone pragma/centos@s pragma/x-vol"):
        assert _zfs(site, words) == (0, "", "")
    assert (site.folder / "hosts/nas-0-0/dev/zvol/pragma/x-vol").read_bytes()[:8] == b"bootable"
    assert _zfs(site, "get -H -p -o value volsize pragma/x-vol") == (0, "1048576\n", "")
    assert _zfs(site, "get -H -o value origin pragma/x-vol")[1] == "pragma/centos@s\n"
    assert _zfs(site, "list -H -t snapshot -o name")[1] == "pragma/centos@s\n"
    assert "snapshot has dependent clones" in _zfs(site, "destroy pragma/centos@s")[2]
    for words in ("destroy pragma/x-vol", "destroy -r pragma/centos"):
        assert _zfs(site, words) == (0, "", "")
    assert site.inventory() == []


@needs_namespaces
def test_zfs_complains_as_it_should(site: RocksSite) -> None:
    site.add_zvol("pragma/x-vol", 1 << 20)
    assert _zfs(site, "list pragma/nosuch") == (1, "", "cannot open 'pragma/nosuch': dataset does not exist\n")
    assert "already exists" in _zfs(site, "create -V 1M pragma/x-vol")[2]
    assert _zfs(site, "frobnicate")[0] == 2
    site.call("add host storagemap", "nas-0-0", "pragma", "x-vol", "fiji", "1")
    assert "dataset is busy" in _zfs(site, "destroy pragma/x-vol")[2]


@needs_namespaces
def test_zfs_sizes_are_shown_for_people_unless_told(site: RocksSite) -> None:
    _zfs(site, "create -V 3g pragma/x")
    assert _zfs(site, "list")[1] == "NAME\tVOLSIZE\npragma/x\t3G\n"
    assert _zfs(site, "list -Hp -o name,volsize pragma/x")[1] == f"pragma/x\t{3 << 30}\n"
