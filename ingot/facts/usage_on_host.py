"""Sums a host's logs of requests and tokens; runs on the host itself, by its own python3 (3.10 or newer).

    python3 -c "$(cat usage_on_host.py)" DIRECTORY SINCE UNTIL BY

SINCE and UNTIL are seconds since 1970, BY names of GROUPS joined by commas. Prints one JSON object: rows of sums, and
how many lines could not be read. The gateway knows every request, the engines know tokens.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

GROUPS = ("team", "model", "day", "key")
#: Times are counted in steps of 5 %, so that those of several hosts can be added: 48 steps to a factor of ten.
STEPS = 48
#: What teams, models, days and keys consist of.
WORD = re.compile(r"[A-Za-z0-9._:/@-]{0,256}", re.ASCII)
#: A line is some hundred bytes; what is longer is read in pieces, which are no lines.
LONGEST_LINE = 65536
#: More than any request can take.
MOST_TOKENS = 10**12
#: Requests that wait at a time for an engine's line to name their model; the oldest of more count without a model.
MOST_WAITING = 100_000
#: Groups at most; lines of further ones count as unreadable. A taken-over engine could name any number.
MOST_ROWS = 100_000
#: The port of callers; a fleet gateway comes by another one, and wrote the request down itself.
PORT = 443


def lines(directory: Path, pattern: str, since: float) -> Iterator[bytes]:
    """Every line of the files of a pattern that may be as young as `since`, rotated and compressed ones too."""
    seen = set()
    for path in sorted(directory.glob(pattern)):
        try:
            # The engines' files lie where an engine could put a link.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as raw:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_ino in seen or status.st_mtime < since:
                continue
            seen.add(status.st_ino)
            try:
                file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
                yield from iter(partial(file.readline, LONGEST_LINE), b"")
            except (OSError, EOFError, zlib.error):
                yield b""


class Sums:
    """Rows of sums by group, and what could not be read."""

    def __init__(self, since: float, until: float, by: Sequence[str]) -> None:
        self.since, self.until, self.by = since, until, by
        self.rows: dict[tuple[str, ...], dict[str, Any]] = {}
        self.waiting: dict[str, tuple[Entry, float]] = {}
        self.wrong = 0

    def read(self, directory: Path, pattern: str, take: Callable[[Entry, float], None]) -> None:
        """Give `take` every line of that time."""
        for line in lines(directory, pattern, self.since):
            try:
                entry = json.loads(line)
                moment = datetime.fromisoformat(entry["time"]).timestamp()
                if self.since <= moment < self.until:
                    take(entry, moment)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                self.wrong += 1

    def row(self, entry: Entry, moment: float, model: str) -> dict[str, Any]:
        """The sums of the group that a line belongs to."""
        said = {"team": entry["team"], "model": model, "key": entry["key"]}
        said["day"] = time.strftime("%Y-%m-%d", time.gmtime(moment))
        # They are shown to an operator, and an engine that was taken over could write anything.
        if not all(WORD.fullmatch(word) for word in said.values()):
            raise ValueError
        group = tuple(said[name] for name in self.by)
        if group not in self.rows:
            if len(self.rows) >= MOST_ROWS:
                raise ValueError
            self.rows[group] = {"requests": 0, "refused": {}, "aborted": 0, "first_byte": {}}
            self.rows[group].update(prompt_tokens=0, completion_tokens=0)
        return self.rows[group]

    def gateway(self, entry: Entry, moment: float) -> None:
        """A request as nginx saw it."""
        path = entry["path"]
        if (
            entry.get("port", PORT) != PORT
            or path == "/v1/models"
            or not path.startswith(("/v1/", "/v2/", "/-/engine"))
        ):
            return
        if entry["team"] and not entry["model"]:
            # Which model it was may be in an engine's line.
            kept = {name: entry[name] for name in ("team", "key", "status")}
            self.waiting[entry["request_id"]] = (kept, moment)
            if len(self.waiting) > MOST_WAITING:
                self.request(*self.waiting.pop(next(iter(self.waiting))), "")
        else:
            self.request(entry, moment, entry["model"] if entry["team"] else "")

    def request(self, entry: Entry, moment: float, model: str) -> None:
        """Count a request of the gateway, and what it was refused with."""
        status = int(entry["status"])
        row = self.row(entry, moment, model)
        row["requests"] += 1
        # 499: the caller left, which is nobody's refusal.
        if status >= 400 and status != 499:
            row["refused"][str(status)] = row["refused"].get(str(status), 0) + 1

    def engine(self, entry: Entry, moment: float) -> None:
        """A request as an engine saw it."""
        tokens = {name: int(entry[name] or 0) for name in ("prompt_tokens", "completion_tokens")}
        if not all(0 <= count < MOST_TOKENS for count in tokens.values()):
            raise ValueError
        first = entry["first_byte_s"] if entry["status"] == 200 else None
        step = None if first is None else str(math.ceil(STEPS * math.log10(max(float(first), 1e-6))))
        row = self.row(entry, moment, entry["model"])
        if entry["request_id"] in self.waiting:
            self.request(*self.waiting.pop(entry["request_id"]), entry["model"])
        row["aborted"] += not entry["finished"]
        for name, count in tokens.items():
            row[name] += count
        if step is not None:
            row["first_byte"][step] = row["first_byte"].get(step, 0) + 1


def main(directory: str, since: str, until: str, by: str) -> None:
    """Sum the logs below a directory, and print it."""
    sums = Sums(float(since), float(until), by.split(","))
    sums.read(Path(directory, "gateway"), "access.jsonl*", sums.gateway)
    sums.read(Path(directory, "engine"), "*.jsonl*", sums.engine)
    # Of engines that write nothing down, the gateway does.
    sums.read(Path(directory, "gateway"), "tokens.jsonl*", sums.engine)
    for entry, moment in sums.waiting.values():
        sums.request(entry, moment, "")
    rows = [{"group": group, **row} for group, row in sums.rows.items()]
    print(json.dumps({"rows": rows, "wrong_lines": sums.wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
