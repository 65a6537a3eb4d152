"""Models as rows and lines: what one sees before one serves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingot.catalog import find_model, load_models, site
from ingot.errors import IngotError
from ingot.sizing import CatalogError, EngineArguments, Kind, Model

FROM_MEMORY = "written from memory, confirmed by nothing: `ingot models lock` compares them with its config.json"


def models_of(file: Path) -> Mapping[str, Model]:
    """The catalog's models with those of a site's file. Raises: IngotError."""
    try:
        return load_models(site.read(file))
    except CatalogError as error:
        raise IngotError(str(error)) from error


def rows(file: Path, kind: Kind | None) -> list[dict[str, Any]]:
    """Every model of a kind, by name. Raises: IngotError."""
    models = models_of(file)
    return [_row(models[name]) for name in sorted(models) if kind in (None, models[name].kind)]


def row_of(name: str, file: Path) -> dict[str, Any]:
    """One model by a name that people type. Raises: IngotError."""
    try:
        return _row(find_model(name, models_of(file))[0])
    except CatalogError as error:
        raise IngotError(f"{error}; see `ingot models list`.") from error


def lines(row: Mapping[str, Any]) -> Iterator[str]:
    """A row for people."""
    yield f"{row['name']}: {row['title']} ({row['kind']}, licence {row['license']})"
    yield f"  parameters  {row['parameters'] / 1e9:.2f} billion"
    yield f"  shapes      {row['shapes'] or FROM_MEMORY}"
    context = row["context"] or "not said"
    yield f"  context     {context} tokens" + (f", {row['yarn']} by YaRN where asked for" if row["yarn"] else "")
    for key, value in row["arguments"].items():
        yield f"  {key}  {value}"
    if row["speculation"]:
        yield f"  draft       {row['speculation']}"
    for one in row["variants"]:
        size = f"{one['checkpoint_bytes'] / 1e9:.1f} GB" if one["checkpoint_bytes"] else "size not known"
        commit = one["revision"] or "no commit"
        doubt = "" if one["verified"] else ", not confirmed by a published source"
        yield f"  {one['name']:<10}  {one['repository']} ({one['quantization']}, {size}, {commit}{doubt})"


def _row(model: Model) -> dict[str, Any]:
    best = model.variants[0].architecture
    default = asdict(EngineArguments())
    return {
        "name": model.name,
        "title": model.title,
        "license": model.license,
        "kind": model.kind,
        "shapes": model.shapes,
        "parameters": best.parameters,
        "context": best.max_model_len,
        "yarn": model.yarn.context if model.yarn else None,
        "arguments": {key: value for key, value in asdict(model.arguments).items() if value != default[key]},
        "speculation": _without_none(asdict(model.speculation)) if model.speculation else None,
        "variants": [
            {
                "name": one.name,
                "repository": one.repository,
                "revision": one.revision,
                "quantization": one.quantization,
                "checkpoint_bytes": one.checkpoint_bytes,
                "gated": one.gated,
                "verified": one.verified,
            }
            for one in model.variants
        ],
    }


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
