"""What a host runs to find files of models that rot: reads them again, slowly, and writes down which differ.

    python3 -I scrub.py CACHE_ROOT CHECKED DAMAGE MB_PER_S LIMIT_S

CHECKED keeps when each file was read last: those that wait longest come first, and a run goes on where the one before
came to its limit. DAMAGE has a line for each file that is not what was verified: since when, how, and its path.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MARKER = ".ingot-verified.json"
#: Read at a time, bytes.
PIECE = 8 << 20


@dataclass(frozen=True)
class Proven:
    """A file as it was when it was verified; `mtime` as `find -printf %T@` prints it."""

    path: str
    bytes: int
    sha256: str
    mtime: str


class OutOfTime(Exception):
    """The run has come to its limit in the middle of a file."""


def proven(root: Path) -> Iterator[Proven]:
    """The files of every published directory below a cache's root, `<model>/<variant>/<revision>/`."""
    for marker in sorted(root.glob(f"*/*/*/{MARKER}")):
        if marker.parent.name.endswith((".incomplete", ".incoming")):
            continue
        try:
            for one in json.loads(marker.read_text(encoding="utf-8"))["files"]:
                yield Proven(str(marker.parent / one["path"]), int(one["bytes"]), one["sha256"], one["mtime"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{marker} cannot be read ({error}); the next deploy verifies what lies there")


def is_as_left(one: Proven) -> bool:
    """Whether a file still has its size and time: any other is for the next deploy, which sees that by itself."""
    try:
        found = os.lstat(one.path)
    except OSError:
        return False
    whole, rest = divmod(found.st_mtime_ns, 10**9)
    return found.st_size == one.bytes and one.mtime.rstrip("0") == f"{whole}.{rest:09d}".rstrip("0")


def digest(path: str, mb_per_s: float, ends: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> str:
    """The sha256 of what the disk has, read no faster than that and not left in memory. Raises: OSError, OutOfTime."""
    total, began = hashlib.sha256(), clock()
    with Path(path).open("rb", buffering=0) as opened:
        # What memory keeps of it is not what the disk has.
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        done = 0
        while piece := opened.read(PIECE):
            total.update(piece)
            os.posix_fadvise(opened.fileno(), done, len(piece), os.POSIX_FADV_DONTNEED)
            done += len(piece)
            ahead = done / (mb_per_s * 1e6) - (clock() - began)
            if ahead > 0:
                sleep(ahead)
            if clock() > ends:
                raise OutOfTime
    return total.hexdigest()


def judged(
    one: Proven, mb_per_s: float, ends: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> str | None:
    """How a file differs from what was verified, None where it does not. Raises: OutOfTime."""
    try:
        found = digest(one.path, mb_per_s, ends, clock, sleep)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == one.sha256 else f"has sha256 {found}, expected {one.sha256}"


def read_damage(file: Path) -> dict[str, str]:
    """The lines of DAMAGE by path."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split("\t")[2]: line for line in lines if line.count("\t") == 2}


def write(file: Path, text: str) -> None:
    """Replace a file at once."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def note(file: Path, path: str, why: str | None) -> None:
    """Write down that a file differs, or does not any more; a deploy may have changed the others meanwhile."""
    known = read_damage(file)
    if why is None and path not in known:
        return
    if why is None:
        del known[path]
    elif path not in known:
        known[path] = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\t{why}\t{path}"
    write(file, "".join(f"{line}\n" for line in known.values()))


def scrub(
    root: Path,
    checked: Path,
    damage: Path,
    mb_per_s: float,
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Read what waits longest until the limit. Returns: how many files differ of those that were read."""
    ends = clock() + limit_s
    try:
        before: dict[str, float] = json.loads(checked.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    every = {one.path: one for one in proven(root)}
    for path in read_damage(damage):
        if path not in every:
            note(damage, path, None)
    read = {path: when for path, when in before.items() if path in every}
    wrong = 0
    for one in sorted(every.values(), key=lambda one: (read.get(one.path, 0.0), one.path)):
        if clock() > ends:
            break
        if not is_as_left(one):
            continue
        try:
            why = judged(one, mb_per_s, ends, clock, sleep)
        except OutOfTime:
            print(f"{one.path} waits for the next run: {limit_s:.0f} s are over")
            break
        if not is_as_left(one):
            # Replaced while it was read.
            continue
        note(damage, one.path, why)
        read[one.path] = time.time()
        write(checked, json.dumps(read))
        if why:
            wrong += 1
            print(f"{one.path} {why}: run the deploy again, which fetches it anew")
    return wrong


if __name__ == "__main__":
    place, kept, marks, rate, seconds = sys.argv[1:]
    scrub(Path(place), Path(kept), Path(marks), float(rate), float(seconds))
