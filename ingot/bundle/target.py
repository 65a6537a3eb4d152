"""A host as a bundle is made for it: its look and the state of its packages, from the host or from a file."""

from __future__ import annotations

import base64
import binascii
import gzip
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyinfra.api.facts import FactBase

from ingot.errors import IngotError
from ingot.facts.errors import ParseError, Unread
from ingot.facts.host import HostLook, HostState, parse_host
from ingot.facts.sections import Question, split

#: Beside what preflight reads: what dpkg has, and the keys of the distribution that the host trusts.
QUESTIONS = {
    "dpkg_status": "gzip -c /var/lib/dpkg/status | base64 -w 0",
    "archive_keys": '. /etc/os-release; base64 -w 0 "/usr/share/keyrings/$ID-archive-keyring.gpg"',
}
HEAD = """#!/bin/sh
# Prints what `ingot bundle create --state` reads: run as root. It changes nothing and reads no secret.
"""


@dataclass(frozen=True)
class Target:
    """A host that packages are resolved for: dpkg's status file, and the keyring of its distribution."""

    look: HostState
    dpkg_status: bytes
    archive_keys: bytes


class TargetLook(FactBase[Target | Unread]):
    """Everything that decides what a bundle must hold for a host.

    Returns: Target(HostState(…), b"Package: adduser…", b"…")
    """

    def command(self) -> str:
        return question()

    @staticmethod
    def default() -> Target | Unread:
        return Unread()

    def process(self, output: Iterable[str]) -> Target | Unread:
        try:
            return parse_target(list(output))
        except ParseError as error:
            return Unread(str(error))


def question() -> Question:
    """The shell command that asks it all."""
    asked = HostLook().command(paths=(), ports=(443,))
    assert isinstance(asked, Question)
    return Question.of({**asked.sections, **QUESTIONS}, last=asked.last)


def script() -> str:
    """The same as a script, for hosts that the connected machine does not reach."""
    return f"{HEAD}{question()}\n"


def parse_target(lines: Sequence[str]) -> Target:
    """What the question printed. Raises: ParseError."""
    sections = split(lines)

    def binary(name: str) -> bytes:
        if name not in sections or sections[name].status:
            raise ParseError(f"{name} was not read: {sections[name].line if name in sections else 'no answer'}")
        try:
            return base64.b64decode(sections[name].output.strip(), validate=True)
        except binascii.Error:
            raise ParseError(f"{name} is cut off") from None

    try:
        status = gzip.decompress(binary("dpkg_status"))
    except (OSError, EOFError):
        raise ParseError("dpkg_status is cut off") from None
    return Target(parse_host(sections, time.time()), status, binary("archive_keys"))


def of_file(path: Path) -> Target:
    """The target in a file that the script has printed. Raises: IngotError."""
    try:
        return parse_target(path.read_text(encoding="utf-8", errors="replace").splitlines())
    except FileNotFoundError:
        raise IngotError(f"{path}: no such file; make it on the host with the script of `ingot bundle look`.") from None
    except ParseError as error:
        raise IngotError(
            f"{path}: {str(error).rstrip('.')}; make it on the host as root with the script of `ingot bundle look`."
        ) from None
