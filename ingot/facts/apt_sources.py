"""The package repositories that a host has described, in either of apt's formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.errors import ParseError, Unread
from ingot.facts.sections import answer, compose, split

QUESTION = """for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -r "$f" ] && echo "@file $f" && cat -- "$f" && echo
done; true"""

_LINE = re.compile(r"^deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)\s*$")
_FIELD = re.compile(r"^([A-Za-z][A-Za-z-]*):(.*)$")
#: One-line options that deb822 calls otherwise; apt reads field names in any case. Source: sources.list(5).
_FIELD_OF_OPTION = {"arch": "architectures", "lang": "languages", "target": "targets"}
_OWN = frozenset({"types", "uris", "suites", "components", "enabled"})


@dataclass(frozen=True, slots=True)
class Repository:
    """One description. `fields` are its further deb822 fields by lower-case name (`signed-by`, `trusted`, …)."""

    file: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    fields: Mapping[str, str]


class AptSources(FactBase[tuple[Repository, ...] | Unread]):
    """Every repository of binary packages that is not switched off.

    Returns: (Repository('/etc/apt/sources.list', ('http://deb.example/debian',), ('trixie',), ('main',), {}),)
    """

    def command(self) -> str:
        return compose({"apt_sources": QUESTION})

    @staticmethod
    def default() -> tuple[Repository, ...] | Unread:
        return Unread()

    def process(self, output: Iterable[str]) -> tuple[Repository, ...] | Unread:
        try:
            return parse_apt_sources(answer(split(output), "apt_sources").output)
        except ParseError as error:
            return Unread(str(error))


def parse_apt_sources(text: str) -> tuple[Repository, ...]:
    """The answer to `QUESTION`; what is no description (apt itself would refuse it) is passed over."""
    found: list[Repository] = []
    for part in re.split(r"(?m)^@file ", text)[1:]:
        file, _, body = part.partition("\n")
        found += _stanzas(file, body) if file.endswith(".sources") else _lines(file, body)
    return tuple(found)


def _lines(file: str, body: str) -> Iterator[Repository]:
    for line in body.splitlines():
        match = _LINE.match(line.partition("#")[0].strip())
        if match:
            options, uri, suite, components = match.groups()
            given = (word.partition("=") for word in (options or "").split() if "=" in word)
            fields = {
                _FIELD_OF_OPTION.get(name.lower(), name.lower()): value.replace(",", " ") for name, _, value in given
            }
            yield Repository(file, (uri,), (suite,), tuple(components.split()), fields)


def _stanzas(file: str, body: str) -> Iterator[Repository]:
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if match := _FIELD.match(line):
                name = match.group(1).lower()
                fields[name] = match.group(2).strip()
            elif name and line[:1] in (" ", "\t"):
                # A key that stands in the description itself keeps its lines.
                fields[name] += f"\n{line}"
        is_on = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "without", "disable")
        if is_on and "deb" in fields.get("types", "").split() and "uris" in fields and "suites" in fields:
            yield Repository(
                file,
                tuple(fields["uris"].split()),
                tuple(fields["suites"].split()),
                tuple(fields.get("components", "").split()),
                {name: value for name, value in fields.items() if name not in _OWN},
            )
