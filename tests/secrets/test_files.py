"""Files with secrets: private from their first byte, whole or as they were, and on disk before they are relied on."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ingot.secrets import files


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to files, in order: syncs by what lies there then, renames, links."""
    done: list[str] = []
    fsync, replace, link = os.fsync, Path.replace, os.link

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(f"sync {'directory' if path.is_dir() else path.read_text()}")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    def linked(source: Any, target: Any) -> None:
        done.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(os, "link", linked)
    return done


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_reader_of_the_old_file_goes_on_with_the_old_content(tmp_path: Path) -> None:
    """Written beside it and renamed: whoever has it open never meets a part of the new one."""
    path = tmp_path / "keys.yaml"
    files.replace(path, "old\n", 0o600)
    with path.open() as reader:
        before = path.stat().st_ino
        files.replace(path, "new\n", 0o600)
        assert reader.read() == "old\n"
    assert path.read_text() == "new\n" and path.stat().st_ino != before
    assert [one.name for one in tmp_path.iterdir()] == ["keys.yaml"]


def test_the_new_file_is_on_disk_before_it_has_the_name_and_the_name_before_it_is_relied_on(
    tmp_path: Path, steps: list[str]
) -> None:
    files.replace(tmp_path / "key", "whole", 0o600)
    assert steps == ["sync whole", "rename", "sync directory"]
    steps.clear()
    files.create_once(tmp_path / "once", "all of it")
    assert steps == ["sync all of it", "link", "sync directory"]


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o644])
def test_a_file_has_its_mode_and_is_private_until_then(
    tmp_path: Path, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chmod, seen = tmp_path / "key", os.fchmod, []

    def watched(descriptor: int, given: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        chmod(descriptor, given)

    monkeypatch.setattr(os, "fchmod", watched)
    old = os.umask(0)
    try:
        files.replace(path, "secret", wanted)
    finally:
        os.umask(old)
    assert seen == [0o600] and mode(path) == wanted


@pytest.mark.parametrize("failing", ["fchmod", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_no_part_of_the_new(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    files.replace(path, "old", 0o600)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    for write in (lambda: files.replace(path, "new", 0o600), lambda: files.create_once(tmp_path / "other", "new")):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["key"]


def test_who_comes_second_finds_what_the_first_has_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "ca.key"
    files.create_once(path, "first")
    files.create_once(path, "second")
    assert path.read_text() == "first" and mode(path) == 0o600 and mode(path.parent) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["ca.key"]
    files.private_directory(path.parent)


def test_text_is_written_as_utf_8_whatever_the_machine_prefers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "ascii")
    files.replace(tmp_path / "key", "schlüssel 钥匙", 0o600)
    assert (tmp_path / "key").read_bytes().decode() == "schlüssel 钥匙"


def test_a_file_that_is_being_written_is_hidden_and_says_what_it_becomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of the directory meets it after a power loss: known by its name, and taken for no key."""
    names: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda self, target: names.append(self.name) or self.rename(target))
    files.replace(tmp_path / "keys.yaml", "x", 0o600)
    assert names[0].startswith(".keys.yaml.") and len(names[0]) > len(".keys.yaml.")
