"""A catalog entry from a repository's own files: shapes from config.json, sizes from the list of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingot.catalog import load_models
from ingot.catalog.lock import Locked
from ingot.engines.registry import Registry, nearest
from ingot.engines.validity import is_served
from ingot.errors import IngotError
from ingot.hub.places import Place
from ingot.sizing import KINDS, EngineArguments, Kind, Model, SizingError, architecture_from_config
from ingot.sizing.quantization import scheme_of_config

#: Keys of a config that describe neither shapes nor numbers.
_IRRELEVANT = frozenset(
    {
        *(
            "auto_map",
            "id2label",
            "label2id",
            "transformers_version",
            "_name_or_path",
            "use_cache",
            "initializer_range",
        ),
        *(
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "task_specific_params",
            "suppress_tokens",
            "forced_decoder_ids",
        ),
        *("begin_suppress_tokens", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    }
)
#: Lists that describe layers; other long ones (modules that a quantization leaves alone) do not.
_LAYERS = frozenset({"layer_types", "layers_block_type", "architectures", "mlp_layer_types", "mlp_only_layers"})
_SHORT = 16


@dataclass(frozen=True, slots=True)
class Described:
    """An entry by its name, and what its reader should know: each note is one sentence."""

    name: str
    entry: Mapping[str, Any]
    notes: tuple[str, ...]


def describe(
    place: Place, repository: str, known: Registry, *, name: str | None, revision: str | None, kind: Kind | None
) -> Described:
    """The entry of a repository. Raises: IngotError, one sentence, where it cannot be had, planned or served."""
    locked = place.locked(repository, revision)
    try:
        config = json.loads(place.text(locked, "config.json"))
        if not isinstance(config, Mapping):
            raise ValueError("no object")
    except ValueError as error:
        raise IngotError(f"config.json of {repository} cannot be read ({error}); choose another repository.") from None
    try:
        architecture = architecture_from_config(config)
        scheme, _ = scheme_of_config(config)
    except SizingError as error:
        raise IngotError(f"{repository}: {error}") from error
    if not is_served(architecture.name, known):
        raise IngotError(
            f"{repository} is a {architecture.name}, which {known.engine} {known.version} does not serve; nearest: "
            f"{nearest(architecture.name, known.every_architecture)}."
        )
    found = kind or _kind(locked, architecture.name, known)
    arguments, notes = _arguments(architecture.name, found)
    entry: dict[str, Any] = {"title": repository.rpartition("/")[2], "shapes": "its own config.json"}
    if found != "generate":
        entry["kind"] = found
    entry["config"] = _kept(config)
    if arguments:
        entry["arguments"] = arguments
    variant: dict[str, Any] = {
        "name": scheme if scheme != "none" else architecture.dtype,
        "repository": repository,
        "revision": locked.commit,
        "checkpoint_bytes": locked.weight_bytes,
    }
    if scheme != "none":
        variant["quantization"] = scheme
    entry["variants"] = [variant]
    return Described(name or repository.rpartition("/")[2].lower(), entry, tuple(notes))


def _kind(locked: Locked, architecture: str, known: Registry) -> Kind:
    """What a model is for, by its class; a sentence-transformers module list makes a text model an embedder."""
    if architecture == "WhisperForConditionalGeneration":
        return "transcribe"
    if architecture in known.architectures["classify"] or architecture.endswith("ForSequenceClassification"):
        return "rerank"
    decoder = {*known.architectures["generate"], *known.architectures["multimodal"]}
    pooled = any(one.path == "modules.json" or one.path.startswith("1_Pooling/") for one in locked.files)
    return (
        "embed"
        if pooled or (architecture in known.architectures["embed"] and architecture not in decoder)
        else "generate"
    )


def _arguments(architecture: str, kind: Kind) -> tuple[dict[str, Any], list[str]]:
    """The arguments of the catalog's models of the same class, where they agree; else notes that say what to decide."""
    alike = [
        model
        for model in load_models().values()
        if model.kind == kind and any(variant.architecture.name == architecture for variant in model.variants)
    ]
    if kind == "generate" and not alike:
        return {}, [
            "No model of this class is in the catalog: give arguments.tool_call_parser and reasoning_parser, or "
            "callers' tools are refused."
        ]
    said = {_said(model) for model in alike}
    if len(said) == 1:
        return json.loads(said.pop()), [f"Arguments are those of {_names(alike)}: the same class."] if alike else []
    return {}, [
        f"Models of this class differ in their arguments ({_names(alike)}): choose tool_call_parser and "
        "reasoning_parser by the model's card."
    ]


def _said(model: Model) -> str:
    """A model's arguments as JSON, defaults left out."""
    said, default = model.arguments, EngineArguments()
    keys = (key for key in EngineArguments.__dataclass_fields__ if getattr(said, key) != getattr(default, key))
    return json.dumps({key: getattr(said, key) for key in keys}, sort_keys=True)


def _names(models: list[Model]) -> str:
    names = [model.name for model in models]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in config.items():
        if key in _IRRELEVANT or (isinstance(value, list) and len(value) > _SHORT and key not in _LAYERS):
            continue
        kept[key] = _kept(value) if isinstance(value, Mapping) else value
    return kept


def kind_named(word: str | None) -> Kind | None:
    """A kind by its word. Raises: IngotError."""
    if word is None:
        return None
    found = next((kind for kind in KINDS if kind == word), None)
    if found is None:
        raise IngotError(f"{word!r} is no kind of model, expected one of {', '.join(KINDS)}; correct it.")
    return found
