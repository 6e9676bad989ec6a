import contextlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pragma_boot import files
from pragma_boot.errors import ClusterBusyError, PragmaError


def test_an_atomic_write_sets_content_and_mode(tmp_path: Path) -> None:
    target = tmp_path / "key"
    files.write_atomic(target, "secret", 0o600)
    assert target.read_text() == "secret"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "catalog"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.unfinished(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_not_verified_is_not_published(tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise PragmaError("wrong digest")

    with pytest.raises(PragmaError), files.unfinished(tmp_path / "image", verify=refuse) as temporary:
        temporary.write_text("wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PragmaError, match="cannot write"):
        files.write_atomic(tmp_path / "no" / "such" / "file", "x")


def test_a_full_disk_names_the_mend() -> None:
    with pytest.raises(PragmaError) as caught:
        files.write_atomic(Path("/dev/full/x"), "x")
    assert caught.value.details


def test_the_second_holder_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    with files.lock(path):
        assert files.is_locked(path)
        with pytest.raises(ClusterBusyError, match="busy indeed"), files.lock(path, wait=0, busy="busy indeed"):
            pass
    assert not files.is_locked(path)


def test_shared_locks_share(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with files.lock(path, shared=True), files.lock(path, shared=True, wait=0):
        pass


def test_a_lock_outlives_those_who_tidy_up_its_folder(tmp_path: Path) -> None:
    """Holders remove their lock and then the folder, when that is empty; others are on their way to it."""
    path, failed = tmp_path / "state" / "x.lock", list[BaseException]()

    def work() -> None:
        try:
            for _ in range(300):
                with files.lock(path):
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        path.parent.rmdir()
        except PragmaError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    order: list[str] = []

    def second() -> None:
        with files.lock(path):
            order.append("second")
            assert files.is_locked(path)

    thread = threading.Thread(target=second)
    with files.lock(path):
        thread.start()
        path.unlink()
        order.append("first")
    thread.join()
    assert sorted(order) == ["first", "second"]


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    code = f"import os,sys; sys.path[:0]={sys.path!r}; from pathlib import Path; from pragma_boot import files\n"
    code += f"with files.lock(Path({os.fspath(path)!r})): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with files.lock(path, wait=0):
        pass


def test_free_space_is_asked_of_the_nearest_parent(tmp_path: Path) -> None:
    assert files.free_bytes(tmp_path / "not" / "yet") > 0
