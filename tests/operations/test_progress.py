"""In a terminal each host has one line, which stays the last; elsewhere every line is printed as it comes."""

from __future__ import annotations

import io
import logging
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra import logger
from pyinfra.api.host import Host

from ingot.operations import progress
from ingot.operations.progress import Board

pytestmark = pytest.mark.speed


class Terminal(io.StringIO):
    """What a terminal shows of what is written to it: of its codes, those that are used here."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[str]:
        lines, row = [""], 0
        for part in re.findall(r"\033\[[A-Z0-9]+|\r|\n|[^\033\r\n]+", self.getvalue()):
            if part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part == "\033[A":
                row -= 1
            elif part in ("\033[K", "\033[2K"):
                lines[row] = ""
            elif part != "\r":
                lines[row] += part
        return [line.strip() for line in lines if line.strip()]


class One:
    def __init__(self, name: str) -> None:
        self.name, self.print_prefix = name, f"[{name}] "


HOSTS = [cast(Host, One(name)) for name in ("gpu-01", "gpu-02")]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made))
    progress._board.cache_clear()
    before = (logger.level, list(logger.handlers), list(logger.filters))
    logger.setLevel(logging.INFO)
    # As pyinfra's command line prints.
    logger.handlers[:] = [logging.StreamHandler(made)]
    yield made
    logger.level, logger.handlers[:], logger.filters[:] = before
    progress._board.cache_clear()


def test_each_host_has_one_line_and_it_is_its_newest(terminal: Terminal) -> None:
    for text in ("1 of 9 GB", "2 of 9 GB"):
        for host in HOSTS:
            progress.said(host, text)
    assert terminal.shown == ["[gpu-01] 2 of 9 GB", "[gpu-02] 2 of 9 GB"]
    progress.ended(HOSTS[0])
    assert terminal.shown == ["[gpu-02] 2 of 9 GB"]


def test_what_is_printed_meanwhile_comes_above_and_stays(terminal: Terminal) -> None:
    progress.said(HOSTS[0], "1 of 9 GB")
    logger.info("[gpu-02] Success")
    progress.said(HOSTS[0], "2 of 9 GB")
    logger.warning("one source had other bytes")
    assert terminal.shown == ["[gpu-02] Success", "one source had other bytes", "[gpu-01] 2 of 9 GB"]
    progress.ended(HOSTS[0])
    assert terminal.shown == ["[gpu-02] Success", "one source had other bytes"]


def test_a_line_is_never_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    board = Board(terminal)
    board.put("gpu-01", "x" * 100)
    board.put("gpu-01", "y" * 100)
    (line,) = terminal.shown
    assert line.startswith("[gpu-01] yyy") and len(line) < 40


def test_without_a_terminal_every_line_is_printed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=io.StringIO()))
    progress._board.cache_clear()
    caplog.set_level(logging.INFO, "pyinfra")
    progress.said(HOSTS[0], "1 of 9 GB")
    progress.said(HOSTS[0], "2 of 9 GB")
    progress.ended(HOSTS[0])
    assert caplog.messages == ["[gpu-01] 1 of 9 GB", "[gpu-01] 2 of 9 GB"]
    progress._board.cache_clear()
