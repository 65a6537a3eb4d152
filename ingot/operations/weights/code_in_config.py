"""Configuration of a model that would have an engine load code: found before the model is locked or served."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

#: Files of a repository that libraries take such names from.
CONFIGS = (
    "adapter_config.json",
    "config.json",
    "generation_config.json",
    "model_index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
)
#: Keys that name a module of the repository, or of another one; CVE-2026-4372 is of the last kind.
_EXACTLY = frozenset({"auto_map", "custom_pipeline"})
_BEGINNING = "_attn_implementation"


def code_keys(text: str) -> tuple[str, ...]:
    """The keys of a JSON text, however deep, whose value names code; a switch (true, false, null) names none.

    Raises: ValueError for what is no JSON.
    """
    return tuple(sorted(set(_keys(json.loads(text)))))


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _EXACTLY or (key.startswith(_BEGINNING) and not (inner is None or isinstance(inner, bool))):
                yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def refusal(repository: str, path: str, keys: tuple[str, ...], sha256: str) -> str:
    """Why a repository is refused, and what waives it, without the final stop."""
    waiver = {repository: {path: sha256}}
    return (
        f"{path} of {repository} names code to be loaded ({', '.join(keys)}), expected none; engines are started "
        f"without it: where the model serves so, read the file and waive it by models_waived = {json.dumps(waiver)}"
    )
