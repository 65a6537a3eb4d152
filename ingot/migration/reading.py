"""Settings of a program as people keep them: a command line, variables, a Compose file, or a unit of systemd."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ingot.errors import IngotError

#: Files of settings are small; a model that is named by mistake is not read.
LARGEST_FILE = 1024**2
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Settings:
    """Flags by name without dashes (None: a switch), variables by name, and the words that are neither."""

    flags: Mapping[str, str | None] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def get(self, flag: str, variable: str | None = None) -> str | None:
        """A flag's value, or the variable's where the flag is not there."""
        if flag in self.flags:
            return self.flags[flag]
        return self.variables.get(variable or "")

    def number(self, flag: str, variable: str | None = None) -> int | None:
        """The same as a whole number. Raises: IngotError where it is none."""
        value = self.get(flag, variable)
        if value is None:
            return None
        if not value.isdigit() or len(value) > 9:
            raise IngotError(f"--{flag} (or {variable}) is {value!r}, expected a whole number: correct it.")
        return int(value)


def from_words(words: Iterable[str], switches: frozenset[str] = frozenset()) -> Settings:
    """The settings of a command line, a word each; `switches` are flags that take no value.

    A flag takes the next word as its value, unless that is a flag itself.
    """
    flags: dict[str, str | None] = {}
    variables: dict[str, str] = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.lstrip("-")
        if word.startswith("-") and name:
            name, equals, value = name.partition("=")
            if equals:
                flags[name] = value
            elif name not in switches and rest and not rest[0].startswith("-"):
                flags[name] = rest.pop(0)
            else:
                flags[name] = None
        elif _VARIABLE.match(word) and not others:
            key, _, value = word.partition("=")
            variables[key] = value
        else:
            others.append(word)
    return Settings(flags, variables, tuple(others))


def from_file(path: Path, program: str, switches: frozenset[str] = frozenset()) -> Settings:
    """The settings of `program` (a part of its command's or image's name) in a file.

    Raises: IngotError where the file is no text, or does not start the program exactly once.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise IngotError(
            f"{path} is larger than {LARGEST_FILE // 1024} KiB, expected a Compose file, a unit or a script."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise IngotError(f"{path} is no text, expected a Compose file, a unit or a script.") from None
    found = _composed(path, text, program, switches) if path.suffix in {".yaml", ".yml"} else None
    return found or _lines(path, text, program, switches)


def _composed(path: Path, text: str, program: str, switches: frozenset[str]) -> Settings | None:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise IngotError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}): correct it.") from None
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict):
        return None
    of_it = [one for one in services.values() if isinstance(one, dict) and program in _told(one)]
    if len(of_it) != 1:
        raise IngotError(f"{path} has {len(of_it)} services of {program}, expected one: give its flags instead.")
    service = of_it[0]
    command: Any = service.get("command") or []
    words = shlex.split(command) if isinstance(command, str) else [str(one) for one in command]
    given = service.get("environment") or {}
    pairs = [str(one).partition("=")[::2] for one in given] if isinstance(given, list) else given.items()
    variables = {str(key): str(value) for key, value in pairs}
    read = from_words(words, switches)
    return Settings(read.flags, {**variables, **read.variables}, read.words)


def _told(service: Mapping[str, Any]) -> str:
    return f"{service.get('image', '')} {service.get('command', '')}"


def _lines(path: Path, text: str, program: str, switches: frozenset[str]) -> Settings:
    variables: dict[str, str] = {}
    commands: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ";")):
            continue
        try:
            words = shlex.split(stripped, comments=True)
        except ValueError:
            continue
        if words and words[0].startswith("Environment="):
            pairs = [words[0].removeprefix("Environment="), *words[1:]]
            variables |= {key: value for key, _, value in (one.partition("=") for one in pairs)}
        elif words and words[0] == "export":
            variables |= {key: value for key, _, value in (one.partition("=") for one in words[1:])}
        elif any(program in word for word in words):
            at = max(index for index, word in enumerate(words) if program in word)
            # Variables that are given to a container stand before its image.
            before = from_words(words[:at], frozenset({"rm", "d", "it", "i", "t"}))
            variables |= {**before.variables, **dict(_passed(words[:at]))}
            commands.append(words[at + 1 :])
        elif words and all(_VARIABLE.match(word) for word in words):
            variables |= {key: value for key, _, value in (one.partition("=") for one in words)}
    if len(commands) > 1:
        raise IngotError(f"{path} starts {program} {len(commands)} times, expected once: give its flags instead.")
    if not commands and not variables:
        raise IngotError(f"{path} says nothing of {program}: give its flags, or the file that starts it.")
    read = from_words(commands[0] if commands else [], switches)
    return Settings(read.flags, {**variables, **read.variables}, read.words)


def _passed(words: list[str]) -> Iterable[tuple[str, str]]:
    for flag, value in pairwise(words):
        if flag in {"-e", "--env"} and "=" in value:
            key, _, given = value.partition("=")
            yield key, given
