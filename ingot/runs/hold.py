"""The hold of one run on one host: a process there with a lock, which lives as long as the run's connection."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

from paramiko import Channel, SSHException

from ingot.errors import Held, IngotError
from ingot.runs.run import Run, ago

SCRIPT = (files(__package__) / "hold.sh").read_text()
#: Seconds between two signs of life; the host gives up after 90 s without one.
BEAT_S = 15
#: How long the host may take to answer, beyond the time that it is told to wait for another run, seconds.
ANSWER_S = 60
#: How long the end of a hold is waited for, seconds.
END_S = 10

#: Says one sentence to whoever watches.
Say = Callable[[str], None]


class Hold:
    """A host held by this run, over a channel of its SSH connection."""

    def __init__(self, channel: Channel, host: str, run: Run) -> None:
        self.host, self.run = host, run
        #: The audit's record before this run's: its end says how the run before came to its end.
        self.last: Mapping[str, Any] = {}
        #: What the host's schema file holds; nothing on a host without one.
        self.schema: Mapping[str, Any] = {}
        self._channel = channel
        self._unread = b""
        self._over = threading.Event()
        self._sending = threading.Lock()

    def take(self, wait_s: int, say: Say) -> None:
        """Wait until this run holds the host. Raises: Held; OSError, EOFError or SSHException of a lost connection."""
        self._channel.settimeout(wait_s + ANSWER_S)
        self._send(f"{wait_s}\n{json.dumps(self.run.to_dict())}\n")
        while True:
            word, _, rest = self._line().partition(" ")
            if word == "held" and wait_s:
                silent_s, by = _who(rest)
                say(f"{self.host}: it is being changed by {words(by, silent_s)}; waiting up to {wait_s} s for it.")
            elif word == "refused":
                silent_s, by = _who(rest)
                raise Held(
                    f"{self.host}: it is being changed by {words(by, silent_s)}; run this again when that has ended, "
                    f"or see `ingot lock show {self.host}`."
                )
            elif word == "work" and wait_s:
                say(f"{self.host}: {rest}.service of an earlier run is at work; waiting up to {wait_s} s for its end.")
            elif word == "working":
                raise Held(
                    f"{self.host}: {rest}.service of an earlier run is still at work, expected its end; run "
                    f"this again then, or see `journalctl -u {rest}` there."
                )
            elif word == "last":
                self.last = _object(rest)
            elif word == "schema":
                self.schema = _object(rest)
            elif word == "full":
                raise IngotError(
                    f"{self.host}: /var/log/ingot cannot be written, expected room for the audit; free it."
                )
            elif word == "ready":
                break
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether the host let go of it, or the connection is gone."""
        return self._channel.closed or self._channel.exit_status_ready()

    def broken_by(self) -> str | None:
        """Who broke the lock; None where nobody did. Asked of a hold that is over."""
        with suppress(OSError, EOFError, SSHException):
            self._channel.settimeout(1)
            while True:
                word, _, rest = self._line().partition(" ")
                if word == "broken":
                    return rest or "somebody"
        return None

    def end(self, record: Mapping[str, Any], questions: str | None = None) -> None:
        """Write the last line of this run's audit on the host and let go of it.

        `questions` is the script that the host keeps for the next deploy's look; None: it has that already.
        """
        self._over.set()
        with suppress(OSError, EOFError, SSHException):
            self._channel.settimeout(END_S)
            if questions:
                self._send(f"look {base64.b64encode(gzip.compress(questions.encode())).decode()}\n")
            self._send(f"end {json.dumps(record)}\n")
            self._channel.shutdown_write()
            while self._channel.recv(4096):
                pass
        self._channel.close()

    def abandon(self) -> None:
        """Let the host find out by itself that the connection is gone."""
        self._over.set()
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self._send("beat\n")
            except (OSError, EOFError, SSHException):
                return

    def _send(self, text: str) -> None:
        """Send a line. Raises: EOFError where this end is shut; OSError or SSHException of a lost connection."""
        left = text.encode()
        with self._sending:
            while left:
                # Not by `sendall`: where another thread shut this end meanwhile, it tries for ever and lets nobody in.
                sent = self._channel.send(left)
                if not sent:
                    raise EOFError("the hold has ended")
                left = left[sent:]

    def _line(self) -> str:
        """The next line. Raises: EOFError where the process there has ended."""
        while b"\n" not in self._unread:
            piece = self._channel.recv(4096)
            if not piece:
                raise EOFError("the process that holds the host ended")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace").strip()


def words(by: Run | None, silent_s: int) -> str:
    """A run that holds a host, in words."""
    if by is None:
        return "a run that has not said yet who it is"
    silence = f", silent for {silent_s} s" if silent_s > 3 * BEAT_S else ""
    return f"{by.owner} ({by.purpose}, run {by.id}, pid {by.pid}, for {ago(by.started)}{silence})"


def _who(text: str) -> tuple[int, Run | None]:
    age, _, stored = text.partition(" ")
    try:
        by = Run.from_dict(json.loads(stored))
    except (ValueError, KeyError, TypeError):
        by = None
    return int(age) if age.isdigit() else 0, by


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}
