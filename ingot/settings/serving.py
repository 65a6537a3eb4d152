"""Section "serving": which models a host serves, and for which workload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from ingot.catalog import find_model, load_models
from ingot.catalog.names import nearest
from ingot.settings.kinds import Count, Expected, Many, Section, Switch, Text, Wrong, pattern, refuse
from ingot.sizing import CatalogError, Model, SizingError

#: A model as nginx' configuration, a directory's name and a URL carry it.
MODEL_NAME = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9._:/@-]*[A-Za-z0-9][A-Za-z0-9._:/@-]*")
ModelName = Annotated[str, *pattern(MODEL_NAME.pattern, "a model's name")]


def _described(value: dict[str, Any]) -> dict[str, Any]:
    wrong = [name for name in value if not MODEL_NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"names of models of letters, digits and . _ : / @ -, unlike {wrong[0]!r}")
    try:
        load_models(value)
    # Besides what the catalog says itself, whatever a wrong type in it comes to.
    except (SizingError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"models as docs/models.md describes them: {str(error).rstrip('.')}") from None
    return value


def _named(item: Any, models: dict[str, Model]) -> Any:
    try:
        model, variant = find_model(item["model"], models)
    except CatalogError:
        return item
    return {**item, "model": model.name, **({"variant": variant} if variant and not item.get("variant") else {})}


class Serve(Section):
    """A model of the catalog and the workload that must fit."""

    model: Text
    #: Tokens of one sequence, prompt and answer together.
    context: Count
    #: Sequences at once.
    concurrency: Count
    #: At most this many; None: as many as fit.
    replicas: Annotated[Count | None, Expected("a whole number from 1 on, or None for as many as fit")] = None
    #: None: the best that fits.
    variant: Annotated[Text | None, Expected("a variant of the model, or None for the best that fits")] = None
    #: May sit on GPUs that other models of this host use too.
    share: Switch = False
    #: Wished decode rate of the whole host.
    tokens_per_s: Annotated[
        Annotated[float, Field(gt=0)] | None, Expected("a number of tokens per second above 0, or None")
    ] = None


class Serving(Section):
    """What a host serves, and the models of its site."""

    serve: Annotated[Many[Serve], Expected("a list of models, each with model, context and concurrency")]
    site_models: Annotated[dict[str, Any], AfterValidator(_described), Expected("models by name")]

    @model_validator(mode="before")
    @classmethod
    def _as_people_type(cls, data: Any) -> Any:
        """Names of hubs and other spellings become the catalog's: `Qwen/Qwen3-8B-AWQ` is a variant of qwen3-8b."""
        try:
            models = load_models(data.get("site_models"))
            serve = [_named(item, models) for item in data["serve"]]
        except (SizingError, TypeError, ValueError, KeyError, AttributeError):
            # What is wrong is said where it is checked.
            return data
        return {**data, "serve": serve}

    @property
    def models(self) -> dict[str, Model]:
        """Every model that can be served, by name."""
        return load_models(self.site_models)

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        refuse("serving", self._unknown())
        return self

    def _unknown(self) -> Iterator[Wrong]:
        models = self.models
        for index, one in enumerate(self.serve):
            if one.model not in models:
                words = f"a model of the catalog or of site_models{nearest(one.model, models)}"
                yield Wrong(("serve", index, "model"), one.model, words)
                continue
            variants = [variant.name for variant in models[one.model].variants]
            if one.variant is not None and one.variant not in variants:
                yield Wrong(("serve", index, "variant"), one.variant, f"one of {', '.join(variants)}")
