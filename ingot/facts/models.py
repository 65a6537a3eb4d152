"""Model directories on a host: what lies in them, what was verified there, and how much room is left."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts.sections import Question, split

#: In a model directory: what was verified when it was published.
MARKER = ".ingot-verified.json"
#: In every directory below a cache's root that Ingot itself has made, with the path that it was made as: what has it
#: may be deleted again. The root may be shared with others, and a directory may have been there before Ingot.
MADE = ".ingot-made"
#: Below a cache's root: files of Ingot's own that failed their digests, and what others had put where a model belongs.
QUARANTINE, SET_ASIDE = ".quarantine", ".set-aside"
#: The distribution's package by which hosts give each other parts of files.
SWARM_LIBRARY = "python3-libtorrent"
#: Files that the last scrub found to differ from what was verified: a line each, of when, what is wrong, and the path.
DAMAGE = "/var/lib/ingot/cache-damage.tsv"


@dataclass(frozen=True, slots=True)
class Found:
    """One path below a model directory: `kind` is f, d, l or another letter of `find -printf %y`."""

    kind: str
    bytes: int
    mtime: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A file as it was when its digest was checked."""

    path: str
    bytes: int
    sha256: str
    mtime: str
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that a scrub found to differ from what was verified: where, since when, and how."""

    path: str
    since: str
    why: str


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """One model directory: its entries by relative path, its marker, and what interrupted transfers left.

    `damaged` says what a scrub found, by relative path.
    """

    entries: Mapping[str, Found] = field(default_factory=dict)
    verified: tuple[Verified, ...] | None = None
    incomplete: Mapping[str, Found] = field(default_factory=dict)
    incoming: Mapping[str, Found] = field(default_factory=dict)
    damaged: Mapping[str, Damage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """Free bytes and inodes of the file system mounted at `mount`; None inodes where it has no such limit."""

    free_bytes: int
    free_inodes: int | None
    mount: str


@dataclass(frozen=True, slots=True)
class ModelsState:
    """The model directories that were asked for, by path, and the room below the cache's root."""

    room: Room
    directories: Mapping[str, ModelDirectory]


def parse_room(line: str) -> Room:
    """One line of `df --output=avail,iavail,itotal,target`."""
    free, inodes, total, mount = line.split(None, 3)
    return Room(int(free), None if total in ("0", "-") else int(inodes), mount)


def parse_marker(text: str) -> tuple[Verified, ...] | None:
    """The files of a marker; None when it is not one (cut off, or of another version)."""
    try:
        return tuple(
            Verified(
                str(one["path"]),
                int(one["bytes"]),
                str(one["sha256"]),
                str(one["mtime"]),
                one["git_sha1"] if one.get("git_sha1", "-") != "-" else None,
            )
            for one in json.loads(text)["files"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def parse_damage(text: str) -> tuple[Damage, ...]:
    """The lines of `DAMAGE`; what is no such line is left out."""
    cells = (line.split("\t") for line in text.splitlines())
    return tuple(Damage(path, since, why) for since, why, path in (one for one in cells if len(one) == 3))


def parse_models(room: str, listing: str, markers: str, targets: Sequence[str], damage: str = "") -> ModelsState:
    """The answers of df, find, base64 and cat as one value."""
    damaged = parse_damage(damage)
    found: dict[str, dict[str, Found]] = {}
    for line in listing.splitlines():
        kind, size, mtime, path = line.split("\t", 3)
        for target in targets:
            for base in (target, f"{target}.incomplete", f"{target}.incoming"):
                if path.startswith(f"{base}/"):
                    found.setdefault(base, {})[path.removeprefix(f"{base}/")] = Found(kind, int(size), mtime)
    texts: dict[str, Any] = {}
    for line in markers.splitlines():
        target, _, encoded = line.partition("\t")
        texts[target] = parse_marker(base64.b64decode(encoded).decode(errors="replace"))
    return ModelsState(
        parse_room(room),
        {
            target: ModelDirectory(
                entries=found.get(target, {}),
                verified=texts.get(target),
                incomplete=found.get(f"{target}.incomplete", {}),
                incoming=found.get(f"{target}.incoming", {}),
                damaged={
                    one.path.removeprefix(f"{target}/"): one for one in damaged if one.path.startswith(f"{target}/")
                },
            )
            for target in targets
        },
    )


class Models(FactBase[ModelsState]):
    """Model directories below a cache's root, in one command that reads no weights.

    Returns: ModelsState(Room(812345678, 1234567, "/"), {"/srv/models/a/bf16/…": ModelDirectory(…)})
    """

    def command(self, root: str, targets: Sequence[str]) -> str:
        # `process` must know which directories were asked for: they are echoed with the answers.
        quoted = " ".join(shlex.quote(target) for target in targets)
        trees = " ".join(
            f"{shlex.quote(target + suffix)}" for target in targets for suffix in ("", ".incomplete", ".incoming")
        )
        return Question.of(
            {
                "targets": f"printf '%s\\n' {quoted}",
                "room": (
                    f'q={shlex.quote(root)}; while [ ! -e "$q" ]; do q=$(dirname "$q"); done; '
                    'df -B1 --output=avail,iavail,itotal,target "$q" | tail -n 1'
                ),
                "listing": f"find {trees} -mindepth 1 -printf '%y\\t%s\\t%T@\\t%p\\n' 2>/dev/null",
                "markers": (
                    f'for t in {quoted}; do [ ! -f "$t/{MARKER}" ] || '
                    f'printf \'%s\\t%s\\n\' "$t" "$(base64 -w0 <"$t/{MARKER}")"; done'
                ),
                "damage": f"cat {DAMAGE} 2>/dev/null",
            }
        )

    def process(self, output: list[str]) -> ModelsState:
        answers = split(output)
        return parse_models(
            answers["room"].line,
            answers["listing"].output,
            answers["markers"].output,
            answers["targets"].output.splitlines(),
            answers["damage"].output,
        )


class SameFiles(FactBase[Mapping[str, Sequence[str]]]):
    """Files that other model directories of Ingot's own were published with, by digest; `but` is one to leave out.

    Returns: {"9f86d081…": ("/srv/models/a/bf16/0123…/model-00001-of-00004.safetensors",)}
    """

    def command(self, root: str, but: str, digests: Sequence[str]) -> str:
        # The script of the transfers writes a file a line.
        fields = r'.*"path": "\([^"]*\)".*"sha256": "\([0-9a-f]*\)".*'
        listed = " ".join(digests)
        return (
            f"find {shlex.quote(root)} -xdev -mindepth 3 -maxdepth 6 -name {MARKER} -type f "
            "-printf '%h\\n' 2>/dev/null "
            f'| while read -r d; do [ "$d" != {shlex.quote(but)} ] && '
            f'[ "$(head -n 1 "$d/{MADE}" 2>/dev/null)" = "$d" ] || continue; '
            f"sed -n 's/^{fields}$/\\2\\t\\1/p' \"$d/{MARKER}\" "
            f"| awk -F'\\t' -v d=\"$d\" -v listed={shlex.quote(listed)} "
            '\'BEGIN { n = split(listed, each, " "); for (i = 1; i <= n; i++) wanted[each[i]] } '
            '$1 in wanted { printf "%s\\t%s/%s\\n", $1, d, $2 }\'; done; true'
        )

    @staticmethod
    def default() -> Mapping[str, Sequence[str]]:
        return {}

    def process(self, output: list[str]) -> Mapping[str, Sequence[str]]:
        found: dict[str, tuple[str, ...]] = {}
        for line in output:
            sha256, _, path = line.partition("\t")
            if path:
                found[sha256] = (*found.get(sha256, ()), path)
        return found


@dataclass(frozen=True, slots=True)
class Fetched:
    """A small text that the host read from an address, or why it could not."""

    text: str | None
    error: str = ""


class Text(FactBase[Fetched]):
    """A text of up to some megabytes, read by the host; shell text that sets the environment, and curl's further
    options as `secret`, come by standard input.

    Returns: Fetched('{"files": […]}') or Fetched(None, "curl: (22) The requested URL returned error: 404")
    """

    def command(self, url: str) -> str:
        return (
            'secret=; eval "$(cat)"; t=$(mktemp); '
            "if e=$(printf '%s\n' \"$secret\" | curl -fsSL --connect-timeout 15 --max-time 120 --retry 2 --config - "
            f'-o "$t" -- {shlex.quote(url)} 2>&1); then echo ok; base64 -w0 "$t"; echo; '
            'else echo failed; echo "$e" | tail -n 1; fi; rm -f "$t"'
        )

    def process(self, output: list[str]) -> Fetched:
        status, rest = output[0], "".join(output[1:])
        return Fetched(base64.b64decode(rest).decode(errors="replace")) if status == "ok" else Fetched(None, rest)


@dataclass(frozen=True, slots=True)
class Asked:
    """A file that a host asks its sources for: where its model will lie, and an address at each of them.

    `secret` says for each address whether it gets the token.
    """

    target: str
    addresses: tuple[str, ...]
    secret: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What curl came to at one address: its exit status, the HTTP status (0 for none), and its last words."""

    exit: int
    status: int
    error: str = ""

    @property
    def is_refusal(self) -> bool:
        """Whether it will not have it later either: gated, private or not there; 37 is curl's word for no such file."""
        return self.status in (401, 403, 404, 410) or (self.status == 0 and self.exit == 37)


class SourceAnswers(FactBase[tuple[tuple[SourceAnswer, ...], ...]]):
    """Whether the host's sources give it one small file of each model that it lacks; shell text that sets the
    environment, and curl's options with the token as `secret`, come by standard input. What lies there already is not
    asked for.

    Returns: ((SourceAnswer(0, 206),), (), (SourceAnswer(0, 401), SourceAnswer(7, 0, "curl: (7) …")))
    """

    def command(self, asked: Sequence[Asked]) -> str:
        lines = []
        for number, one in enumerate(asked):
            asks = "; ".join(
                f"ask {number} {'yes' if secret else 'no'} {shlex.quote(address)}"
                for address, secret in zip(one.addresses, one.secret, strict=True)
            )
            lines.append(f"[ -d {shlex.quote(one.target)} ] || {{ {asks}; }}")
        return (
            'secret=; eval "$(cat)"; error=$(mktemp); ask() { options=; [ "$2" = no ] || options=$secret; '
            "status=$(printf '%s\\n' \"$options\" | curl -sSL -o /dev/null -w '%{http_code}' -r 0-0 "
            '--connect-timeout 9 --max-time 30 --config - -- "$3" 2>"$error"); '
            'printf \'%s\\t%s\\t%s\\t%s\\n\' "$1" $? "$status" "$(tail -n 1 "$error")"; }; '
            f'{"; ".join(lines)}; echo {len(asked)}; rm -f "$error"'
        )

    def process(self, output: list[str]) -> tuple[tuple[SourceAnswer, ...], ...]:
        *lines, count = [line for line in output if line.strip()]
        found: list[list[SourceAnswer]] = [[] for _ in range(int(count))]
        for line in lines:
            number, exit_, status, error = line.split("\t", 3)
            found[int(number)].append(SourceAnswer(int(exit_), int(status or 0), error))
        return tuple(tuple(one) for one in found)
