"""One model as a command line names it: of the catalog, or described by the files of its own directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ingot.catalog import site
from ingot.catalog.load import load_models
from ingot.catalog.names import find_model
from ingot.sizing.checkpoint import read_checkpoint
from ingot.sizing.config import architecture_from_config
from ingot.sizing.errors import CatalogError
from ingot.sizing.quantization import SCHEMES, scheme_of_config
from ingot.sizing.request import GOALS, Goal, Model, ModelRequest, Variant, Workload

#: Where the command line says nothing else.
DEFAULT_CONTEXT = 8192
DEFAULT_CONCURRENCY = 8


def request_for(
    model: Model,
    *,
    variant: str | None = None,
    context: int | None = None,
    concurrency: int | None = None,
    goal: Goal = GOALS[0],
) -> ModelRequest:
    """A request for one model, with the usual workload where none is given."""
    longest = max((one.architecture.max_model_len or 0 for one in model.variants), default=0)
    length = context if context is not None else min(DEFAULT_CONTEXT, longest or DEFAULT_CONTEXT)
    sequences = concurrency if concurrency is not None else DEFAULT_CONCURRENCY
    return ModelRequest(model, Workload(length, sequences), variant=variant, goal=goal, arguments=model.arguments)


def from_catalog(name: str, file: Path = site.DEFAULT) -> Model:
    """A model of the catalog, or of a site's file, by a name that people type; a variant's name leaves it alone.

    Raises: CatalogError.
    """
    try:
        model, variant = find_model(name, load_models(site.read(file)))
    except CatalogError as error:
        raise CatalogError(f"{error}; correct the name or pass --config with the model's directory.") from error
    return replace(model, variants=tuple(one for one in model.variants if variant in (None, one.name)))


def from_directory(directory: Path) -> Model:
    """A model described by its repository's files: config.json, and safetensors headers where there are any.

    Raises: CatalogError or another SizingError.
    """
    file = directory / "config.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{file}: cannot be read ({error}); pass a directory with the model's config.json."
        ) from error
    architecture = architecture_from_config(stored)
    scheme, _ = scheme_of_config(stored)
    checkpoint = read_checkpoint(directory)
    if checkpoint is not None:
        checkpoint.check(architecture, scheme)
    name = directory.resolve().name
    variant = Variant(
        name=scheme if scheme != "none" else architecture.dtype,
        repository=name,
        revision="local",
        quantization=scheme,
        architecture=architecture,
        quality=SCHEMES[scheme].quality,
        checkpoint_bytes=checkpoint.total if checkpoint else None,
        min_capability=SCHEMES[scheme].min_capability,
        checkpoint=checkpoint,
    )
    return Model(name, (variant,), shapes="its own config.json")
