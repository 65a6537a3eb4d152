"""Sandboxes of the tests' own: other state directories get other bridges, so that living hosts are left alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.sandbox import Paths, Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """An empty sandbox, gone after the test."""
    box = Sandbox(Paths(cache=Paths.from_environment().cache, state=tmp_path / "state"))
    yield box
    box.down_all()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox for all tests of a module."""
    box = Sandbox(Paths(cache=Paths.from_environment().cache, state=tmp_path_factory.mktemp("shared") / "state"))
    yield box
    box.down_all()
