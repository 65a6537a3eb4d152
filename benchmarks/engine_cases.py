"""Published starts of engines besides vLLM as the arithmetic's inputs.

A case states what its author's log shows. Settings may be written with or without dashes and in words ("auto (4)",
"0 (model: 2048)"). What cannot be known is a reason, never a guess that is kept silent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sizing_cases import GPU_NAMES

from ingot.catalog import load_gpus
from ingot.sizing.units import GIB, MIB

#: A part of an engine's name in letters alone -> its name here.
ENGINES = {
    "llamacpp": "llama.cpp",
    "ollama": "ollama",
    "sglang": "sglang",
    "tensorrt": "tensorrt-llm",
    "trtllm": "tensorrt-llm",
}


class Unknown(Exception):
    """A figure that the case does not determine; the text says which."""


@dataclass(frozen=True)
class Case:
    """One published start."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The case's name."""
        return str(self.raw["id"])

    @property
    def engine(self) -> str:
        """The engine's name in small letters, as it is spelled here."""
        name = re.sub(r"[^a-z]", "", str(self.raw.get("engine", "")).lower())
        return next((spelled for part, spelled in ENGINES.items() if part in name), name)

    def part(self, name: str) -> Mapping[str, Any]:
        """A part of the case; empty where it has none, or something else there."""
        found = self.raw.get(name)
        return found if isinstance(found, dict) else {}

    @cached_property
    def flags(self) -> dict[str, Any]:
        """Settings by their names without dashes, in small letters."""
        return {_plain(key): value for key, value in self.part("flags").items()}

    @cached_property
    def geometry(self) -> Mapping[str, Any]:
        """The model's shape."""
        return self.part("geometry")

    @cached_property
    def observed(self) -> Mapping[str, Any]:
        """What the log shows."""
        return self.part("observed")

    @property
    def outcome(self) -> str:
        """What came of it, in the collector's words."""
        return str(self.observed.get("outcome", "")).lower()

    @property
    def fits(self) -> bool | None:
        """Whether the whole model fit on the GPUs; None where the case does not say.

        A start that failed for something else than memory, or was told to leave layers on the processor, says nothing.
        """
        if re.search(r"after fit|refused|out of memory|\boom\b", self.outcome):
            return False
        if re.search(r"failed|crash|killed", self.outcome):
            told = f"{self.outcome} {self.raw.get('verbatim')} {self.raw.get('notes')}"
            return False if re.search(r"memory|alloc|\boom\b", told, re.IGNORECASE) else None
        if re.search(r"partly|partial", self.outcome):
            return None if self.told_to_split else False
        return (None if self.told_to_split else True) if self.outcome.startswith("served") else None

    @property
    def told_to_split(self) -> bool:
        """Whether the settings themselves leave a part of the model on the processor."""
        if any(self.flag(name) for name in ("ot", "override-tensor", "cmoe", "cpu-moe", "ncmoe", "n-cpu-moe")):
            return True
        layers, all_of_them = self.number("ngl", "n-gpu-layers", "gpu-layers", "num-gpu"), self.geometry.get("n_layer")
        return layers is not None and isinstance(all_of_them, int) and layers < all_of_them

    def flag(self, *names: str) -> Any:
        """The first of these settings that is there."""
        return next((self.flags[name] for name in map(_plain, names) if self.flags.get(name) is not None), None)

    def number(self, *names: str) -> float | None:
        """The first of these settings that says a number."""
        return in_words(self.flag(*names))

    def shape(self, *names: str) -> Any:
        """The first of these facts of the model; Unknown where none is there."""
        for name in names:
            if self.geometry.get(name) is not None:
                return self.geometry[name]
        raise Unknown(f"the case does not give {names[0]} of the model")

    def printed(self, pattern: str) -> re.Match[str] | None:
        """The first place in the log's lines: for settings that it repeats, never for figures that are judged."""
        return re.search(pattern, str(self.raw.get("verbatim") or ""))

    def seen(self, *names: str) -> float | None:
        """The first of these figures of the log in bytes (several GPUs added up), by the unit in its name.

        A list that lacks one GPU's figure is no sum.
        """
        for name in names:
            value = self.observed.get(name)
            if isinstance(value, dict):
                value = [*value.values()]
            if isinstance(value, list):
                value = None if any(one is None for one in value) else sum(value)
            if isinstance(value, (int, float)):
                return float(value) * (MIB if name.endswith("_mib") else GIB)
        return None

    @cached_property
    def version(self) -> str:
        """The engine's version in the collector's words."""
        return str(self.raw.get("engine_version") or "")

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The first version number with a point in it; empty where there is none (a date or a build)."""
        found = re.search(r"(?<![\d-])(\d+\.\d+(?:\.\d+)?)", self.version)
        return tuple(int(part) for part in found[1].split(".")) if found else ()

    @cached_property
    def date(self) -> tuple[int, int] | None:
        """Year and month that the version names."""
        found = re.search(r"(20\d\d)-(\d\d)", self.version)
        return (int(found[1]), int(found[2])) if found else None

    @cached_property
    def build(self) -> int | None:
        """llama.cpp's build number."""
        found = re.search(r"\bb(\d{3,6})\b", self.version)
        return int(found[1]) if found and int(found[1]) >= 1000 else None

    @cached_property
    def tensor_parallel(self) -> int:
        """Ranks that share each layer."""
        return int(self.number("tp", "tp-size", "tp_size", "tensor-parallel-size") or 1)

    def card_bytes(self) -> float | None:
        """Memory of one GPU as the case names it."""
        seen = self.seen("gpu_total_mib", "gpu_total_gib")
        if seen:
            return seen
        named = str(self.raw.get("gpu") or "")
        if "+" in named:
            return None
        key = next((key for words, key in GPU_NAMES if re.search(words, named.lower())), None)
        if key:
            return float(load_gpus()[key].hardware(1).gpus[0].cuda_total_bytes)
        found = re.search(r"(\d+(?:\.\d+)?) ?Gi?B(?! free)", named)
        return float(found[1]) * GIB if found else None

    def free_bytes(self) -> float | None:
        """Memory free before the start: as logged, as the card's description says, else the whole card."""
        seen = self.seen("gpu_free_at_start_mib", "gpu_free_at_start_gib", "avail_before_load_gb")
        if seen:
            return seen
        found = re.search(r"(\d+(?:\.\d+)?)(?: ?Gi?B)? free(?! after)", str(self.raw.get("gpu") or ""))
        return float(found[1]) * GIB if found else self.card_bytes()


def load_cases(path: Path) -> list[Case]:
    """The cases of a file."""
    return [Case(one) for one in json.loads(path.read_text(encoding="utf-8"))]


def in_words(value: Any) -> float | None:
    """The number that a setting says: itself, or the last of its words that is one of those that decide."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    text = str(value)
    for words in (r"(?:model:|\bto) ?()", r"^()(?!0\b)", r"\(()", r"()"):
        found = re.search(words.replace("()", r"(\d[\d,]*(?:\.\d+)?)([kK]?)"), text)
        if found:
            return float(found[1].replace(",", "")) * (1024 if found[2] else 1)
    return None


def is_on(value: Any) -> bool | None:
    """Whether a switch is on; None where it is not there or decides itself."""
    if value is None or str(value).lower() == "auto":
        return None
    return str(value).lower() not in {"off", "false", "0", "no", "none"}


def each(value: Any, count: int) -> Sequence[int]:
    """One number for each layer."""
    return [int(one) for one in value] if isinstance(value, list) else [int(value)] * count


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-").lower()
