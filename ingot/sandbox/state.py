"""What a sandbox knows of its hosts, on disk, so that any process can find, heal or remove them."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ingot.sandbox.errors import SandboxError
from ingot.sandbox.paths import Paths

FIRST_NUMBER = 10
LAST_NUMBER = 250


@dataclass(frozen=True)
class HostRecord:
    """One host as its files tell: `number` is the last octet of `address`; `made` means it may be booted."""

    name: str
    number: int
    address: str
    profile: str
    os: str
    image: str
    made: bool


def record_path(paths: Paths, name: str) -> Path:
    """Where host `name`'s record is."""
    return paths.host(name) / "host.json"


def write_record(paths: Paths, record: HostRecord) -> None:
    """Replace the record of a host, whole or not at all."""
    write_file(record_path(paths, record.name), json.dumps(asdict(record), indent=2) + "\n")


def read_record(paths: Paths, name: str) -> HostRecord | None:
    """The record of host `name`; None where there is none or it was cut off while being made."""
    try:
        return HostRecord(**json.loads(record_path(paths, name).read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def read_records(paths: Paths) -> list[HostRecord]:
    """Every readable record, by name."""
    names = sorted(entry.name for entry in paths.hosts.iterdir()) if paths.hosts.is_dir() else []
    return [record for name in names if (record := read_record(paths, name)) is not None]


def free_number(taken: set[int]) -> int:
    """The lowest host number nobody has; SandboxError when the subnet is full."""
    for number in range(FIRST_NUMBER, LAST_NUMBER + 1):
        if number not in taken:
            return number
    raise SandboxError(f"all {LAST_NUMBER - FIRST_NUMBER + 1} test host addresses are taken: end some first")


def write_file(path: Path, content: str, mode: int = 0o644, owner: int = 0) -> None:
    """Write a file whole or not at all, making its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, owner, owner)
        file.write(content)
    temporary.rename(path)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the directory or file `path` exclusively; the kernel releases it when its last holder dies.

    A directory is made when it is missing. Yields the descriptor: a child that inherits it holds the lock too.
    """
    while True:
        if not path.exists():
            path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # `down --all` removes the directory while others wait for it: then it is no longer the lock.
            if _is_same(path, descriptor):
                yield descriptor
                return
        finally:
            # Under gevent `os.close` closes some time later; whoever asks for the lock until then stands still.
            os.closerange(descriptor, descriptor + 1)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
