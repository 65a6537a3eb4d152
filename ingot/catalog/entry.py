"""One entry of a catalog as YAML holds it: every key typed, and wrong ones named with what was expected."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingot.sizing import (
    Adapter,
    Architecture,
    CatalogError,
    EngineArguments,
    Kind,
    Model,
    SizingError,
    Speculation,
    Variant,
    Yarn,
    architecture_from_config,
)
from ingot.sizing.quantization import SCHEMES

Count = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


class Entry(BaseModel):
    """A part of an entry: unknown keys are refused, numbers are not made of words."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ArgumentsEntry(Entry):
    """What the engine is told about a model: see `ingot.sizing.EngineArguments`."""

    tool_call_parser: Text | None = None
    reasoning_parser: Text | None = None
    chat_template: Text | None = None
    chat_template_kwargs: dict[str, Any] = {}
    content_format: Text | None = None
    tokenizer_mode: Text | None = None
    limit_mm_per_prompt: dict[str, Annotated[int, Field(ge=0)]] = {}
    language_model_only: bool = False
    hf_overrides: dict[str, Any] = {}
    engine_args: dict[str, Any] = {}

    def made(self, under: EngineArguments | None = None) -> EngineArguments:
        """The arguments; with `under`, what is said here over those."""
        said = {key: getattr(self, key) for key in self.model_fields_set}
        if under is None:
            return EngineArguments(**said)
        merged = {key: getattr(under, key) for key in ArgumentsEntry.model_fields}
        for key, value in said.items():
            merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
        return EngineArguments(**merged)


class YarnEntry(Entry):
    """A context extension: see `ingot.sizing.Yarn`."""

    factor: Annotated[float, Field(gt=1, le=64)]
    original: Count
    theta: Annotated[float, Field(gt=0)]


class SpeculationEntry(Entry):
    """Tokens drafted ahead: see `ingot.sizing.Speculation`."""

    method: Text
    tokens: Annotated[int, Field(gt=0, le=32)]
    repository: Text | None = None
    revision: Text | None = None
    lookup: Count | None = None


class AdapterEntry(Entry):
    """A LoRA adapter: see `ingot.sizing.Adapter`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    repository: Text
    revision: Text | None = None
    rank: Annotated[int, Field(gt=0, le=512)]


class VariantEntry(Entry):
    """One set of weights: see `ingot.sizing.Variant`; `file` is its GGUF file in the repository."""

    name: Text
    repository: Text
    revision: Text | None = None
    quantization: Text = "none"
    config: dict[str, Any] = {}
    checkpoint_bytes: Count | None = None
    gated: bool = False
    min_capability: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    verified: bool = True
    file: Annotated[str, Field(pattern=r"^[\w.+=@-]+(/[\w.+=@-]+)*\.gguf$")] | None = None


class ModelEntry(Entry):
    """A model: see `ingot.sizing.Model`; `approximate` plans a design that is not modelled, with a wide margin."""

    title: Text | None = None
    shapes: Text | None = None
    license: Text = "unknown"
    kind: Kind = "generate"
    config: Annotated[dict[str, Any], Field(min_length=1)]
    approximate: bool = False
    arguments: ArgumentsEntry = ArgumentsEntry()
    yarn: YarnEntry | None = None
    speculation: SpeculationEntry | None = None
    variants: Annotated[list[VariantEntry], Field(min_length=1)]


Part = TypeVar("Part", bound=Entry)


def model(name: str, entry: Any) -> Model:
    """The model of an entry. Raises: CatalogError, one sentence that names the key."""
    read = _validated(ModelEntry, f"model {name}", entry)
    variants: list[Variant] = []
    # Most variants differ from the model's config in nothing: reading it is most of what a catalog costs.
    shared: Architecture | None = None
    for one in read.variants:
        where = f"model {name}, variant {one.name}"
        architecture = shared if shared and not one.config else _architecture(where, read, one)
        shared = shared if one.config else architecture
        variants.append(_variant(where, one, architecture))
    if read.kind in ("embed", "rerank"):
        # The engine drops the output head of a decoder that pools (vLLM `model_executor/models/adapters.py`).
        variants = [replace(one, architecture=replace(one.architecture, head=())) for one in variants]
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names):
        raise CatalogError(f"The catalog's model {name} has two variants of one name ({', '.join(names)}).")
    variants.sort(key=lambda variant: (-variant.quality, variant.name))
    return Model(
        name,
        tuple(variants),
        title=read.title or name,
        license=read.license,
        shapes=read.shapes,
        kind=read.kind,
        arguments=read.arguments.made(),
        yarn=Yarn(**read.yarn.model_dump()) if read.yarn else None,
        speculation=Speculation(**read.speculation.model_dump()) if read.speculation else None,
    )


def arguments(where: str, entry: Any, under: EngineArguments) -> EngineArguments:
    """A host's or a site's arguments over a model's own. Raises: CatalogError."""
    return _validated(ArgumentsEntry, where, entry).made(under)


def speculation(where: str, entry: Any) -> Speculation:
    """The speculation of an entry. Raises: CatalogError."""
    return Speculation(**_validated(SpeculationEntry, where, entry).model_dump())


def adapter(where: str, entry: Any) -> Adapter:
    """The adapter of an entry. Raises: CatalogError."""
    return Adapter(**_validated(AdapterEntry, where, entry).model_dump())


def _architecture(where: str, model: ModelEntry, entry: VariantEntry) -> Architecture:
    try:
        return architecture_from_config({**model.config, **entry.config}, approximate=model.approximate)
    except SizingError as error:
        raise CatalogError(f"The catalog's {where}: {error}") from error


def _variant(where: str, entry: VariantEntry, architecture: Architecture) -> Variant:
    if entry.quantization not in SCHEMES:
        raise CatalogError(
            f"The catalog's {where} has quantization {entry.quantization!r}, expected one of {', '.join(SCHEMES)}."
        )
    scheme, capability = SCHEMES[entry.quantization], entry.min_capability
    return Variant(
        name=entry.name,
        repository=entry.repository,
        revision=entry.revision,
        quantization=entry.quantization,
        architecture=architecture,
        quality=scheme.quality,
        checkpoint_bytes=entry.checkpoint_bytes,
        min_capability=(capability[0], capability[1]) if capability else scheme.min_capability,
        gated=entry.gated,
        verified=entry.verified,
        file=entry.file,
    )


def _validated(part: type[Part], where: str, entry: Any) -> Part:
    try:
        return part.model_validate(entry)
    except ValidationError as error:
        raise CatalogError(f"The catalog's {where}{_problem(error, part)}.") from error


def _problem(error: ValidationError, part: type[Entry]) -> str:
    """The first thing that is wrong, with its key and what was expected."""
    first = error.errors()[0]
    path, key = [str(word) for word in first["loc"]], str(first["loc"][-1]) if first["loc"] else ""
    parents = ", ".join(path[:-1])
    inside = f", {parents}," if parents else ""
    if first["type"] == "extra_forbidden":
        return f"{inside} has the unknown key {key!r}, expected one of {', '.join(_keys(part, path[:-1]))}"
    if first["type"] == "missing":
        return f"{inside} lacks the key {key!r}"
    if not path or isinstance(first["loc"][-1], int):
        return f"{', '.join(['', *path])} is {type(first['input']).__name__}, expected keys with values"
    return f"{inside} has {key!r} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _keys(part: type[Entry], path: list[str]) -> list[str]:
    """The keys that the part of an entry at `path` may have."""
    parts: dict[str, type[Entry]] = {
        "arguments": ArgumentsEntry,
        "speculation": SpeculationEntry,
        "variants": VariantEntry,
        "yarn": YarnEntry,
    }
    found = next((parts[word] for word in reversed(path) if word in parts), part)
    return sorted(found.model_fields)
