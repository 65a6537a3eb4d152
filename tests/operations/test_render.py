"""Templates are compiled once, and a compiled one is never taken for another source."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.operations.render import environment


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    (tmp_path / "a.j2").write_text("one {{ value }}\n")
    return tmp_path


def rendered(root: Path) -> str:
    environment.cache_clear()
    text = environment(root).get_template("a.j2").render(value=1)
    environment.cache_clear()
    return text


def test_a_template_is_compiled_once_and_again_where_it_changed(root: Path) -> None:
    assert rendered(root) == "one 1\n"
    (kept,) = (root / "__pycache__").iterdir()
    first = kept.read_bytes()
    assert rendered(root) == "one 1\n" and kept.read_bytes() == first
    (root / "a.j2").write_text("two {{ value }}\n")
    assert rendered(root) == "two 1\n" and kept.read_bytes() != first


def test_what_is_kept_and_cannot_be_read_is_made_anew(root: Path) -> None:
    rendered(root)
    (kept,) = (root / "__pycache__").iterdir()
    kept.write_bytes(b"cut off")
    assert rendered(root) == "one 1\n"


def test_a_directory_that_cannot_be_written_to_keeps_nothing(root: Path) -> None:
    (root / "__pycache__").write_text("a file is in the way")
    assert rendered(root) == "one 1\n"
