"""What is on disk about hosts, and who may change it."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.paths import CACHE_ENTRIES, STATE_ENTRIES, Paths, remove
from ingot.sandbox.state import (
    FIRST_NUMBER,
    LAST_NUMBER,
    HostRecord,
    free_number,
    locked,
    read_record,
    read_records,
    record_path,
    write_record,
)

RECORD = HostRecord("gpu-01", 10, "10.213.77.10", "none", "debian13", "debian13-0123", made=True)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def test_a_record_is_read_back(paths: Paths) -> None:
    write_record(paths, RECORD)
    assert read_record(paths, "gpu-01") == RECORD
    assert read_records(paths) == [RECORD]


@pytest.mark.parametrize("content", ["", '{"name": "gpu-01"', '{"name": "gpu-01"}', "[]"])
def test_a_record_that_was_cut_off_is_no_record(paths: Paths, content: str) -> None:
    path = record_path(paths, "gpu-01")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert read_record(paths, "gpu-01") is None
    assert read_records(paths) == []


def test_directories_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_SANDBOX_CACHE", "/big/cache")
    monkeypatch.delenv("INGOT_SANDBOX_STATE", raising=False)
    assert Paths.from_environment() == Paths(Path("/big/cache"), Path("/var/lib/ingot-sandbox"))


def test_the_lowest_free_number_is_given() -> None:
    assert free_number(set()) == FIRST_NUMBER
    assert free_number({FIRST_NUMBER, FIRST_NUMBER + 2}) == FIRST_NUMBER + 1


def test_a_full_subnet_is_refused() -> None:
    with pytest.raises(SandboxError, match="addresses are taken"):
        free_number(set(range(FIRST_NUMBER, LAST_NUMBER + 1)))


def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from ingot.sandbox.state import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waiting = threading.Thread(target=_take, args=(tmp_path,))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(30)
        assert not waiting.is_alive()


def test_who_waited_for_a_removed_directory_holds_the_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with locked(directory):
        waiting = threading.Thread(target=_take, args=(directory,))
        waiting.start()
        time.sleep(0.1)
        directory.rmdir()
    waiting.join(30)
    assert not waiting.is_alive()
    assert directory.is_dir()


def _take(path: Path) -> None:
    with locked(path):
        pass


@pytest.mark.parametrize("entries", [CACHE_ENTRIES, STATE_ENTRIES], ids=["cache", "state"])
def test_a_directory_with_somebody_elses_files_is_not_deleted(tmp_path: Path, entries: frozenset[str]) -> None:
    """INGOT_SANDBOX_CACHE and INGOT_SANDBOX_STATE may name a home directory by mistake."""
    for name in (*entries, f".{min(entries)}.123"):
        (tmp_path / "it" / name).mkdir(parents=True)
    (tmp_path / "it/thesis.tex").write_text("theirs")
    with pytest.raises(SandboxError, match=r"it stays, since thesis\.tex in it is not Ingot's"):
        remove(tmp_path / "it", entries)
    assert (tmp_path / "it/thesis.tex").exists() and len(list((tmp_path / "it").iterdir())) == len(entries) + 2
    (tmp_path / "it/thesis.tex").unlink()
    remove(tmp_path / "it", entries)
    assert not (tmp_path / "it").exists()
    remove(tmp_path / "it", entries)


def test_the_cache_is_removed_by_that_rule(paths: Paths) -> None:
    (paths.cache / "mirror").mkdir(parents=True)
    (paths.cache / "photos").mkdir()
    with pytest.raises(SandboxError, match="photos"):
        Sandbox(paths).purge()
    (paths.cache / "photos").rmdir()
    Sandbox(paths).purge()
    assert not paths.cache.exists()


TWICE = """
from gevent import monkey; monkey.patch_all()
import gevent, pathlib, sys
from ingot.sandbox.state import locked
gevent.get_hub()
for _ in range(2):
    with locked(pathlib.Path(sys.argv[1])):
        pass
"""


def test_a_deploy_which_gevent_patches_gives_the_lock_back_at_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", TWICE, str(tmp_path / "lock")], check=True, timeout=600)
