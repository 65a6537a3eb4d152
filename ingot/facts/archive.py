"""What a host describes of its distribution's own archive."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from ingot.facts.driver import QUESTIONS
from ingot.facts.packages import SOURCE_QUESTIONS, DescribedSources, parse_described
from ingot.facts.sections import Question, split


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """The distribution (`os` debian or ubuntu), all that is described, and the digest of a file; empty: none."""

    os: str = ""
    codename: str = ""
    described: DescribedSources = field(default_factory=DescribedSources)
    sha256: str = ""


class Archive(FactBase[ArchiveState]):
    """Every description of repositories, and whether a file has what it should.

    + path: the file

    Returns: ArchiveState("debian", "trixie", DescribedSources(…), "1f4a…")
    """

    def command(self, path: str) -> str:
        own = {"os_release": QUESTIONS["os_release"], "archive_file": f"sha256sum -- {shlex.quote(path)} 2>/dev/null"}
        return Question.of({**own, **SOURCE_QUESTIONS})

    @staticmethod
    def default() -> ArchiveState:
        return ArchiveState()

    def process(self, output: Iterable[str]) -> ArchiveState:
        answers = split(output)

        def said(name: str) -> str:
            return answers[name].output if name in answers else ""

        release = said("os_release")
        return ArchiveState(
            field_of(release, "ID"),
            field_of(release, "VERSION_CODENAME"),
            parse_described(said),
            said("archive_file").strip()[:64],
        )


def field_of(os_release: str, name: str) -> str:
    """A field of /etc/os-release; empty where it has none."""
    found = re.search(rf"^{name}=[\"']?([^\"'\s]+)", os_release, re.MULTILINE)
    return found[1] if found else ""
