"""A setup becomes the `serve:` item that replaces it, with what will differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingot.catalog import load_models, site
from ingot.catalog.names import find_model
from ingot.errors import IngotError
from ingot.migration.setup import Setup
from ingot.sizing import CatalogError, Model

#: Tokens of a context where a setup names none.
CONTEXT = 8192
#: Ends of the names under which one model is known: a store's are short.
_ENDS = ("", "-instruct", "-it", "-chat")
_FORMAT = re.compile(r"[-_.](?:i?q\d\w*|f16|bf16|fp16|gguf|mxfp4|ud)(?=[-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Replacement:
    """An item of `serve:`, and sentences on what will not be as it was."""

    item: Mapping[str, Any]
    differences: tuple[str, ...]

    def text(self) -> str:
        """The item as it stands in a host's file, the differences as its comments."""
        said = "".join(f"# - {sentence}\n" for sentence in self.differences)
        return f"# What differs:\n{said}{yaml.safe_dump({'serve': [dict(self.item)]}, sort_keys=False)}"


def replacement(setup: Setup, models: Mapping[str, Model]) -> Replacement:
    """The item for one setup, with a model of `models` where it is one of them."""
    said = list(setup.differences)
    found = _found(setup, models)
    if found:
        model, variant = found
        item: dict[str, Any] = {"model": model.name}
        variant = variant or next((one.name for one in model.variants if one.quantization == setup.weights), None)
        if setup.gguf is not None:
            said.append(
                f"weights: {model.name} is served from its repository ({model.variants[0].repository}) in the best "
                "format that fits, not from the GGUF file"
            )
            variant = None
        elif setup.weights and not variant:
            said.append(
                f"weights: the catalog has no {setup.weights} of {model.name}; the best format that fits is served"
            )
    else:
        item = {"model": _plain(setup)}
        said.append(_unknown(setup))
        variant = None
    context = setup.context
    if context is None:
        context = min(CONTEXT, setup.trained_context or CONTEXT)
        said.append(f"context: nothing names one, so {context} is written; the whole of it is planned for")
    item |= {"context": context, "concurrency": setup.concurrency or 1}
    if variant:
        item["variant"] = variant
    return Replacement(item, tuple(said))


def replacements(setups: Iterable[Setup], site_file: Path) -> list[Replacement]:
    """The items for these setups, with models of the catalog and of a site's file where there is one."""
    try:
        models = load_models(site.read(site_file) if site_file.is_file() else {})
    except CatalogError as error:
        raise IngotError(str(error)) from error
    return [replacement(setup, models) for setup in setups]


def _unknown(setup: Setup) -> str:
    if setup.gguf is not None:
        file = setup.gguf or "its GGUF file"
        where = f"{setup.repository}, {file}" if setup.repository else f"{setup.model}, {file}"
        return f"model: no catalog has it; describe it in site_models (docs/models.md) before a deploy: {where}"
    where = setup.repository or setup.model
    return f"model: no catalog has it; `ingot models add {where}` describes it before a deploy"


def _found(setup: Setup, models: Mapping[str, Model]) -> tuple[Model, str | None] | None:
    for name in _names(setup):
        try:
            return find_model(name, models)
        except CatalogError:
            continue
    return None


def _names(setup: Setup) -> Iterator[str]:
    if setup.repository:
        yield setup.repository
        yield from (f"{_bare(setup.repository.rpartition('/')[2])}{end}" for end in _ENDS)
    name, _, tag = setup.model.rpartition("/")[2].partition(":")
    if tag and tag != "latest":
        # `llama3.2:3b-instruct-q4_K_M` is llama-3.2-3b-instruct.
        short = f"{name}-{_bare(tag)}"
        yield from (f"{spelled}{end}" for spelled in (short, _dashed(short)) for end in _ENDS)
    elif not tag:
        yield from (f"{_bare(name.removesuffix('.gguf'))}{end}" for end in _ENDS)


def _bare(name: str) -> str:
    return _FORMAT.sub("", name).strip("-_.").lower().removeprefix("meta-")


def _dashed(name: str) -> str:
    """`llama3.2-3b` is `llama-3.2-3b`."""
    return re.sub(r"^([a-z]+)(\d)", r"\1-\2", name)


def _plain(setup: Setup) -> str:
    name = (setup.repository or setup.model).rstrip("/").rpartition("/")[2].removesuffix(".gguf")
    return re.sub(r"[^a-z0-9.]+", "-", name.removesuffix(":latest").lower()).strip("-.")
