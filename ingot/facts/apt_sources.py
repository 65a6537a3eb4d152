"""The package repositories that a host has described, in either of apt's formats."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pyinfra.api.facts import FactBase

from ingot.facts.errors import ParseError, Unread
from ingot.facts.sections import Question, answer, split

QUESTION = """for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -r "$f" ] && echo "@file $f" && cat -- "$f" && echo
done; true"""

#: The same files byte by byte: path, tab, base64. apt reads no file whose name has other characters.
FILES_QUESTION = """for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  case ${f##*/} in *[!A-Za-z0-9_.-]* | .*) continue ;; esac
  [ -r "$f" ] && printf '%s\\t' "$f" && base64 -w 0 -- "$f" && echo
done; true"""

_LINE = re.compile(r"^(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)\s*$")
FIELD = re.compile(r"^([A-Za-z][A-Za-z-]*):(.*)$")
#: One-line options that deb822 calls otherwise; apt reads field names in any case. Source: sources.list(5).
_FIELD_OF_OPTION = {"arch": "architectures", "lang": "languages", "target": "targets"}
_OWN = frozenset({"types", "uris", "suites", "components", "enabled"})


@dataclass(frozen=True, slots=True)
class Repository:
    """One description. `fields` are its further deb822 fields by lower-case name (`signed-by`, `trusted`, …).

    `types` are deb and deb-src, `is_on` says whether apt reads it. `lines` are those of the file that it takes: the
    first, and the first one after it, counted from 0.
    """

    file: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    fields: Mapping[str, str]
    types: tuple[str, ...] = ("deb",)
    is_on: bool = True
    lines: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One of apt's files that describe repositories; bytes that are no UTF-8 are kept as surrogates."""

    path: str
    text: str

    @property
    def bytes(self) -> bytes:
        """The file as it is on the host."""
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """All that it describes, what is switched off and sources of packages among it."""
        return tuple((_stanzas if self.path.endswith(".sources") else _lines)(self.path, self.text))


class AptSources(FactBase[tuple[Repository, ...] | Unread]):
    """Every repository of binary packages that is not switched off.

    Returns: (Repository('/etc/apt/sources.list', ('http://deb.example/debian',), ('trixie',), ('main',), {}),)
    """

    def command(self) -> str:
        return Question.of({"apt_sources": QUESTION})

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
    files = (part.partition("\n") for part in re.split(r"(?m)^@file ", text)[1:])
    found = (one for path, _, body in files for one in SourceFile(path, body).repositories)
    return tuple(replace(one, types=("deb",)) for one in found if one.is_on and "deb" in one.types)


def parse_source_files(text: str) -> tuple[SourceFile, ...]:
    """The answer to `FILES_QUESTION`."""
    return tuple(SourceFile(path, content.decode("utf-8", "surrogateescape")) for path, content in file_contents(text))


def file_contents(text: str) -> Iterator[tuple[str, bytes]]:
    """Lines of a path, a tab and base64; what else a shell printed is passed over."""
    for line in text.splitlines():
        path, tab, content = line.partition("\t")
        if path.startswith("/") and tab:
            with suppress(binascii.Error):
                yield path, base64.b64decode(content)


def _lines(file: str, body: str) -> Iterator[Repository]:
    for number, line in enumerate(body.split("\n")):
        match = _LINE.match(line.partition("#")[0].strip())
        if match:
            kind, options, uri, suite, components = match.groups()
            given = (word.partition("=") for word in (options or "").split() if "=" in word)
            fields = {
                _FIELD_OF_OPTION.get(name.lower(), name.lower()): value.replace(",", " ") for name, _, value in given
            }
            place = (number, number + 1)
            yield Repository(file, (uri,), (suite,), tuple(components.split()), fields, (kind,), lines=place)


def _stanzas(file: str, body: str) -> Iterator[Repository]:
    lines = body.split("\n")
    begin = 0
    for end in [number for number, line in enumerate(lines) if not line.strip()] + [len(lines)]:
        fields = stanza_fields(lines[begin:end])
        if "types" in fields and "uris" in fields and "suites" in fields:
            yield Repository(
                file,
                tuple(fields["uris"].split()),
                tuple(fields["suites"].split()),
                tuple(fields.get("components", "").split()),
                {name: value for name, value in fields.items() if name not in _OWN},
                tuple(fields["types"].split()),
                fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off", "without", "disable"),
                (begin, end),
            )
        begin = end + 1


def stanza_fields(lines: Iterable[str]) -> dict[str, str]:
    """The fields of one deb822 stanza by lower-case name."""
    fields: dict[str, str] = {}
    name = ""
    for line in (line.rstrip("\r") for line in lines if not line.startswith("#")):
        if match := FIELD.match(line):
            name = match.group(1).lower()
            fields[name] = match.group(2).strip()
        elif name and line[:1] in (" ", "\t"):
            # A key that stands in the description itself keeps its lines.
            fields[name] += f"\n{line}"
    return fields
