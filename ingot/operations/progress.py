"""How far the work on each host is: in a terminal a line per host that stays the last, elsewhere a line each time."""

from __future__ import annotations

import logging
import shutil
import sys
from functools import cache
from typing import TextIO

from pyinfra import logger
from pyinfra.api.host import Host


class Board:
    """The newest line of each host that waits, below everything else that is printed to the same stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: dict[str, str] = {}
        self._drawn = 0

    def put(self, name: str, text: str) -> None:
        """Show this of a host from now on."""
        self.erase()
        self._lines[name] = text
        self.draw()

    def end(self, name: str) -> None:
        """Show nothing of a host any more."""
        self.erase()
        self._lines.pop(name, None)
        self.draw()

    def erase(self) -> None:
        """Take the lines off the terminal, so that what is printed next takes their place."""
        if self._drawn:
            # pyinfra's own line, which turns while it waits, is below them.
            self._stream.write("\r\033[K" + "\033[A\033[2K" * self._drawn)
            self._stream.flush()
        self._drawn = 0

    def draw(self) -> None:
        """Put the lines back; each fits in one of the terminal's, so that they can be counted."""
        width = shutil.get_terminal_size().columns - 1
        for name, text in self._lines.items():
            self._stream.write(f"\r\033[K{f'    [{name}] {text}'[:width]}\n")
        self._stream.flush()
        self._drawn = len(self._lines)


class _Above(logging.Handler):
    """Draws again what a message has taken the place of; it comes after the handler that prints."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board

    def emit(self, record: logging.LogRecord) -> None:
        self.board.draw()


@cache
def _board() -> Board | None:
    """The board of this process; None where nobody looks at a terminal."""
    if not sys.stderr.isatty():
        return None
    made = Board(sys.stderr)

    def before(record: logging.LogRecord) -> bool:
        made.erase()
        return True

    logger.addFilter(before)
    logger.addHandler(_Above(made))
    return made


def said(host: Host, text: str) -> None:
    """Say how far the work on a host is."""
    if board := _board():
        board.put(host.name, text)
    else:
        logger.info(f"{host.print_prefix}{text}")


def ended(host: Host) -> None:
    """The work on a host has ended, or is waited for no longer."""
    if board := _board():
        board.end(host.name)
