"""What a push does on a host: the very script, run by the shell of this machine."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from ingot.bundle.manifest import Manifest
from ingot.bundle.push import SCRIPT, _send, batches, missing, parse_there
from ingot.bundle.store import Entry, Store


def run(base: Path, step: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f"set -- {base} {step}\n{SCRIPT}"], input=given, capture_output=True, check=False
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bundle")


def bundle(store: Store, serial: int, **files: bytes) -> Manifest:
    entries = tuple(store.put(content, f"apt/{name}") for name, content in files.items())
    return Manifest(serial, "2026", entries, {"gpu-01": tuple(one.path for one in entries)})


def push(store: Store, made: Manifest, base: Path) -> int:
    there = parse_there(run(base, "look").stdout.decode())
    lacking = missing(made.files, there)
    tar = io.BytesIO()
    _send(store, lacking, tar)
    taken = run(base, "take", tar.getvalue())
    assert taken.returncode == 0, taken.stderr
    lines = f"{made.serial}\n" + "".join(f"{one.sha256} {one.path}\n" for one in made.files)
    shown = run(base, "show", lines.encode())
    assert shown.returncode == 0, shown.stderr
    return len(lacking)


def test_only_what_is_new_travels_and_what_nothing_needs_goes(store: Store, tmp_path: Path) -> None:
    base = tmp_path / "host"
    assert push(store, bundle(store, 1, a=b"a", b=b"b"), base) == 2
    assert (base / "current/apt/a").read_bytes() == b"a"
    assert push(store, bundle(store, 2, b=b"b", c=b"c c"), base) == 1
    found = {str(path.relative_to(base / "current/")) for path in (base / "current/").rglob("*") if path.is_file()}
    assert found == {"apt/b", "apt/c"} and len(list((base / "objects").iterdir())) == 2
    assert sorted(path.name for path in base.iterdir()) == ["current", "objects", "serial", "tree.2"]
    assert parse_there(run(base, "look").stdout.decode()).serial == 2
    assert push(store, bundle(store, 2, b=b"b", c=b"c c"), base) == 0


def test_an_object_that_arrives_with_other_bytes_is_not_taken(store: Store, tmp_path: Path) -> None:
    made = bundle(store, 1, a=b"a" * 600)
    tar = io.BytesIO()
    _send(store, made.files, tar)
    content = bytearray(tar.getvalue())
    content[512 + 300] ^= 1
    done = run(tmp_path / "host", "take", bytes(content))
    assert done.returncode == 1 and b"arrived with other bytes; push again" in done.stderr
    assert not list((tmp_path / "host/objects").iterdir())


def test_what_was_cut_off_is_healed_by_the_next(store: Store, tmp_path: Path) -> None:
    made, base = bundle(store, 1, a=b"a" * 5000, b=b"b"), tmp_path / "host"
    tar = io.BytesIO()
    _send(store, made.files, tar)
    done = run(base, "take", tar.getvalue()[:3000])
    assert done.returncode == 1 and b"cut off" in done.stderr
    lines = f"1\n{made.files[0].sha256} apt/a\n"
    assert run(base, "show", lines.encode()).returncode == 1 and not (base / "current").exists()
    assert push(store, made, base) == 2
    assert (base / "current/apt/b").read_bytes() == b"b"


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/diary").write_text("dear")
    done = run(tmp_path / "home", "look")
    assert done.returncode == 1 and b"has other files than a bundle's" in done.stderr


def test_large_bundles_travel_in_parts() -> None:
    entries = [Entry(name, name * 64, size) for name, size in (("a", 5), ("b", 6), ("c", 20), ("d", 1), ("e", 1))]
    assert [[one.path for one in part] for part in batches(entries, 11)] == [["a", "b"], ["c"], ["d", "e"]]
