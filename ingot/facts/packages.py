"""Packages as dpkg knows them, and apt's sources, keys and pins, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from ingot.facts.apt_sources import FILES_QUESTION, SourceFile, file_contents, parse_source_files
from ingot.facts.openpgp import fingerprints
from ingot.facts.sections import Question, split

#: Names of the packages, and directories of Docker's data, that a host had before Ingot changed its packages for the
#: first time. Without it nobody can tell what Ingot installed.
BEFORE = "/var/lib/ingot/before"
#: What Ingot changed in others' descriptions of repositories, by the name of its own source.
CHANGED_SOURCES = "/var/lib/ingot/apt-sources"
#: The keyrings that descriptions of repositories name, in the form of their files; the large ones are distributions'.
SOURCE_KEYS = """grep -ihs signed-by /etc/apt/sources.list /etc/apt/sources.list.d/* | grep -oE '/[^] ,[:space:]]+' |
sort -u | while read -r f; do
  [ -f "$f" ] && [ "$(stat -L -c %s "$f")" -le 16384 ] && printf '%s\\t' "$f" && base64 -w 0 -- "$f" && echo
done; true"""
#: How one look sees what others describe; read by `described`.
SOURCE_QUESTIONS = {
    "source_files": FILES_QUESTION,
    "source_keys": SOURCE_KEYS,
    "architecture": "dpkg --print-architecture",
    "sources_pending": f"cd {CHANGED_SOURCES} 2>/dev/null && for d in */pending; do "
    '[ ! -e "$d" ] || echo "${d%/*}"; done',
}


@dataclass(frozen=True, slots=True)
class PackageState:
    """One package that dpkg has installed; `held` means apt leaves its version alone."""

    version: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class DescribedSources:
    """The repositories that a host's files describe, by any hand, and the primary keys in the keyrings they name.

    A keyring without keys is one that could not be read.
    `pending` are sources of Ingot's whose addition was cut off before it was proven.
    """

    files: tuple[SourceFile, ...] = ()
    keyrings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    architecture: str = ""
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AptLook:
    """What is installed of what was asked for, what is half installed, and the digests of apt's own files.

    `keyrings` maps a keyring to the fingerprints of the primary keys in it.
    """

    installed: dict[str, PackageState]
    broken: tuple[str, ...] = ()
    digests: dict[str, str] | None = None
    keyrings: dict[str, tuple[str, ...]] | None = None
    described: DescribedSources = field(default_factory=DescribedSources)


def parse_described(answer: Callable[[str], str]) -> DescribedSources:
    """The answers to `SOURCE_QUESTIONS`, by their names."""
    return DescribedSources(
        parse_source_files(answer("source_files")),
        {path: fingerprints(content) for path, content in file_contents(answer("source_keys"))},
        answer("architecture").strip(),
        tuple(answer("sources_pending").split()),
    )


def parse_installed(output: str) -> dict[str, PackageState]:
    """Lines of `dpkg-query -f '${db:Status-Abbrev}\\t${Package}\\t${Version}\\n'`, those installed only.

    Returns: {"docker-ce": PackageState("5:29.0.0-1~debian.13~trixie", held=True)}
    """
    installed = {}
    for line in output.splitlines():
        status, _, rest = line.partition("\t")
        name, _, version = rest.partition("\t")
        if status[1:2] == "i":
            installed[name] = PackageState(version, held=status.startswith("h"))
    return installed


def parse_keyrings(output: str) -> dict[str, tuple[str, ...]]:
    """A line `keyring PATH`, then the `gpg --with-colons --show-keys` listing of that file; any number of these.

    Returns: {"/etc/apt/keyrings/ingot-docker.gpg": ("9DC858229FC7DD38854AE2D88D81803C0EBFCD88",)}
    """
    keyrings: dict[str, tuple[str, ...]] = {}
    path, primary = "", False
    for line in output.splitlines():
        if line.startswith("keyring "):
            path = line.removeprefix("keyring ")
            keyrings[path] = ()
            continue
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            primary = fields[0] == "pub"
        elif fields[0] == "fpr" and primary and path and len(fields) > 9:
            keyrings[path] = (*keyrings[path], fields[9])
            primary = False
    return keyrings


class Apt(FactBase[AptLook]):
    """The state of packages (names or dpkg globs), of files by digest, and of keyrings by fingerprint.

    Returns: AptLook({"curl": PackageState("8.14.1-2")}, broken=(), digests={}, keyrings={})
    """

    def command(self, names: Sequence[str], files: Sequence[str] = (), keyrings: Sequence[str] = ()) -> str:
        status = "-f '${db:Status-Abbrev}\\t${Package}\\t${Version}\\n'"
        questions = {
            # H half-installed, U unpacked, F half-configured, W and t waiting for triggers, R reinstall needed.
            "broken": f"dpkg-query -W {status} | awk -F'\\t' '$1 ~ /^.[HUFWt]|R/ {{ print $2 }}'",
        }
        if names:
            wanted = " ".join(shlex.quote(name) for name in names)
            questions["installed"] = f"dpkg-query -W {status} {wanted} 2>/dev/null"
        if files:
            paths = " ".join(shlex.quote(path) for path in files)
            questions["digests"] = f"sha256sum -- {paths} 2>/dev/null"
        if keyrings:
            paths = " ".join(shlex.quote(path) for path in keyrings)
            questions["keyrings"] = (
                f'home=$(mktemp -d) && for f in {paths}; do echo "keyring $f"; [ ! -f "$f" ] || '
                'gpg --homedir "$home" --batch --with-colons --show-keys "$f" 2>/dev/null; done; rm -rf "$home"'
            )
            questions |= SOURCE_QUESTIONS
        return Question.of(questions)

    @staticmethod
    def default() -> AptLook:
        return AptLook({})

    def process(self, output: list[str]) -> AptLook:
        answers = split(output)

        def answer(name: str) -> str:
            return answers[name].output if name in answers else ""

        return AptLook(
            parse_installed(answer("installed")),
            tuple(dict.fromkeys(answer("broken").split())),
            {line[66:]: line[:64] for line in answer("digests").splitlines() if len(line) > 66},
            parse_keyrings(answer("keyrings")),
            parse_described(answer),
        )
