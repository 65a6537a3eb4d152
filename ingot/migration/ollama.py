"""Ollama: what its variables and its store of manifests and blobs say.

Source: Ollama, `envconfig/config.go` (variables), `manifest/` (store), `server/routes.go` (default context).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot.errors import IngotError
from ingot.migration.gguf_file import trained_context
from ingot.migration.reading import Settings
from ingot.migration.setup import Setup

PROGRAM = "ollama"
MODEL_LAYER = "application/vnd.ollama.image.model"
PARAMETERS_LAYER = "application/vnd.ollama.image.params"
LARGEST_MANIFEST = 1024**2
MOST_MODELS = 1000
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")

DIFFERENCES = (
    "routes: /api/* is closed (also to `ollama` itself); /v1/chat/completions, /v1/completions and /v1/models are "
    "open, with a key of a team",
    "models: one model is one item and stays loaded; a request never loads another or sends one to ollama.com",
    "long prompts: Ollama cut them without a word; here they are refused with the number of tokens",
)


def from_settings(settings: Settings, model: str | None) -> Setup:
    """The setup that variables (and a model's name) say. Raises: IngotError where none is named."""
    named = model or settings.get("model") or next(reversed([*settings.words]), None)
    if not named or named in {"serve", "run"}:
        raise IngotError("Ollama's settings name no model: give its store (~/.ollama/models), or `--model NAME`.")
    context = settings.number("num-ctx", "OLLAMA_CONTEXT_LENGTH")
    slots = settings.number("num-parallel", "OLLAMA_NUM_PARALLEL")
    return Setup(
        model=named, context=context, concurrency=slots or 1, gguf="", differences=(*DIFFERENCES, *_more(settings))
    )


def _more(settings: Settings) -> Iterator[str]:
    kept = settings.variables.get("OLLAMA_KV_CACHE_TYPE")
    if kept and kept != "f16":
        yield f"OLLAMA_KV_CACHE_TYPE={kept}: the plan chooses the cache's format"
    if settings.variables.get("OLLAMA_ORIGINS"):
        yield "OLLAMA_ORIGINS: browsers are let in by the gateway's own settings, see docs/clients.md"
    inherited = sorted(name for name in settings.variables if name.startswith("LLAMA_ARG_"))
    if inherited:
        yield f"not carried over, look at each: {', '.join(inherited)}"


def from_store(store: Path, settings: Settings, model: str | None, *, headers: bool = True) -> list[Setup]:
    """Every model of a store (or the one that is named), as its manifests and files say.

    `headers`: the weights themselves are there to be read.

    Raises: IngotError where the directory is no store, or lacks the model.
    """
    manifests = store / "manifests"
    if not manifests.is_dir():
        raise IngotError(f"{store} has no directory manifests, expected a store of Ollama such as ~/.ollama/models.")
    found = []
    for path in sorted(one for one in manifests.rglob("*") if one.is_file())[:MOST_MODELS]:
        name = _name(path.relative_to(manifests))
        if model in (None, name, name.removesuffix(":latest")):
            found.append(_stored(store, path, name, settings, headers=headers))
    if not found:
        raise IngotError(f"{store} has no model{f' {model}' if model else ''}: `ollama list` names those it has.")
    return found


def _name(path: Path) -> str:
    """`registry.ollama.ai/library/llama3.2/3b` is `llama3.2:3b`."""
    *where, tag = path.parts
    kept = [part for part in where[1:] if part != "library"] if len(where) > 1 else where
    # Names from a hub keep it: hf.co/ORG/NAME.
    if where and where[0] in {"hf.co", "huggingface.co"}:
        kept = list(where)
    return f"{'/'.join(kept)}:{tag}"


def _stored(store: Path, path: Path, name: str, settings: Settings, *, headers: bool) -> Setup:
    layers = _layers(path)
    differences = [*DIFFERENCES, *_more(settings)]
    file = next((_blob(store, digest) for kind, digest in layers if kind == MODEL_LAYER), None)
    if file is None:
        return Setup(
            name, differences=(f"{name} has no weights of its own (a model of the cloud): nothing serves it here",)
        )
    given: dict[str, Any] = {}
    for kind, digest in layers:
        short = kind.rpartition(".")[2]
        if kind == PARAMETERS_LAYER:
            given = _json(_blob(store, digest))
        elif short in {"template", "system", "adapter", "projector"}:
            differences.append(_LAYERS[short])
    context = given.get("num_ctx")
    for key in sorted(set(given) - {"num_ctx"}):
        differences.append(f"parameter {key}: callers send it themselves, or it is the model's own default")
    trained, problem = trained_context(file) if headers else (None, None)
    if problem:
        differences.append(f"its file: {problem}")
    repository = re.fullmatch(r"(?:hf\.co|huggingface\.co)/([^/:]+/[^/:]+):.*", name)
    return Setup(
        model=name,
        context=context if isinstance(context, int) else settings.number("num-ctx", "OLLAMA_CONTEXT_LENGTH"),
        concurrency=settings.number("num-parallel", "OLLAMA_NUM_PARALLEL") or 1,
        repository=repository[1] if repository else None,
        gguf=str(file) if headers else file.name,
        trained_context=trained,
        differences=tuple(differences),
    )


_LAYERS = {
    "template": "template: Ollama's own (Go) is left behind; the chat template in the file itself is used",
    "system": "system: the model's system prompt is left behind; callers send one themselves",
    "adapter": "adapter: a GGUF adapter is left behind; the model is served without it",
    "projector": "projector: pictures are not served from a GGUF file here; the model is served as one of text",
}


def _layers(path: Path) -> list[tuple[str, str]]:
    layers = _json(path).get("layers")
    return [
        (str(one.get("mediaType")), str(one.get("digest")))
        for one in (layers if isinstance(layers, list) else [])
        if isinstance(one, dict)
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise IngotError(f"{path} is larger than {LARGEST_MANIFEST // 1024} KiB, expected a small file of JSON.")
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IngotError(f"{path} cannot be read ({error.strerror}): the store is not whole.") from error
    except ValueError:
        raise IngotError(f"{path} is no JSON: the store is not whole.") from None
    return read if isinstance(read, dict) else {}


def _blob(store: Path, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise IngotError(
            f"A manifest of {store} names the blob {digest!r}, expected sha256 and 64 digits: it is damaged."
        )
    return store / "blobs" / digest.replace(":", "-")
