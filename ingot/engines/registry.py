"""The names that one version of an engine accepts: kept as data beside this file, made by ingot/engines/reading.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

DIRECTORY = "registries"


@dataclass(frozen=True, slots=True)
class Registry:
    """What one version of an engine accepts, each list sorted.

    `source` is the file that was read and its SHA-256. `arguments` are command line names without dashes,
    `architectures` are class names by what they are for (generate, multimodal, embed, classify, draft).
    """

    engine: str
    version: str
    source: str
    tool_parsers: tuple[str, ...]
    reasoning_parsers: tuple[str, ...]
    quantizations: tuple[str, ...]
    tokenizer_modes: tuple[str, ...]
    kv_cache_dtypes: tuple[str, ...]
    speculative_methods: tuple[str, ...]
    arguments: tuple[str, ...]
    architectures: Mapping[str, tuple[str, ...]]

    @property
    def every_architecture(self) -> frozenset[str]:
        """The architectures of all kinds."""
        return frozenset(name for names in self.architectures.values() for name in names)


@lru_cache(maxsize=8)
def registry(version: str, engine: str = "vllm") -> Registry:
    """The names of this version; else of the newest older one that was read, as its `version` tells; else the oldest.

    Parsers and arguments are added far more often than they are taken away, so an older version's names refuse a
    misspelling and may refuse a novelty.
    """
    stored = {
        _number(file.name.removeprefix(f"{engine}-").removesuffix(".json")): file
        for file in (files(__package__) / DIRECTORY).iterdir()
        if file.name.startswith(f"{engine}-") and file.name.endswith(".json")
    }
    older = [number for number in stored if number <= _number(version)]
    return parse(stored[max(older) if older else min(stored)].read_text(encoding="utf-8"))


def parse(text: str) -> Registry:
    """A stored registry."""
    stored = json.loads(text)
    architectures = {kind: tuple(names) for kind, names in stored.pop("architectures").items()}
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Registry(**plain, architectures=architectures)


def dump(one: Registry) -> str:
    """A registry as its file holds it."""
    return json.dumps(asdict(one), indent=1) + "\n"


def nearest(name: str, known: Iterable[str]) -> str:
    """The three names most like this one, as a list for a sentence; every name where none is like it."""
    every = sorted(known)
    return ", ".join(get_close_matches(name, every, n=3, cutoff=0.4) or every)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".") if part.isdigit())
