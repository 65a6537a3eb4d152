"""Ollama's store: what makes a verified GGUF file a model of it, without a second copy of its bytes.

A store is `manifests/HOST/NAMESPACE/MODEL/TAG`, files that name blobs by digest, and `blobs/sha256-DIGEST`. The blob of
the weights is a link to the file where the container has it. Source: Ollama, `manifest/` and `types/model/name.go`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping

from ingot.engines.engine import Store, Weights

#: Of a name without them. Source: `types/model/name.go`, FillDefault.
HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
PARAMETERS_TYPE = "application/vnd.ollama.image.params"

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(
    rf"(?:(?:(?P<host>{_PART})/)?(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_-]{{0,79}})/)?(?P<model>{_PART})"
    rf"(?::(?P<tag>{_PART}))?"
)
#: What it would pass on to its maker.
_CLOUD = re.compile(r"(?i).*[:-]cloud")


def unnameable(name: str) -> str | None:
    """What is wrong with a name as one of Ollama's; None where nothing is."""
    if not _NAME.fullmatch(name) or ".." in name:
        return "MODEL, NAMESPACE/MODEL or HOST/NAMESPACE/MODEL with or without a :TAG, as Ollama's are"
    return (
        "a name that does not end with cloud, by which Ollama means its maker's models" if _CLOUD.match(name) else None
    )


def manifest_path(name: str) -> str:
    """Where the manifest of a name lies in a store: `Qwen/Qwen3` is `manifests/registry.ollama.ai/Qwen/Qwen3/latest`.

    Raises: ValueError for a name that it cannot have.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no name of Ollama's")
    parts = (found["host"] or HOST, found["namespace"] or NAMESPACE, found["model"], found["tag"] or TAG)
    return "/".join(("manifests", *parts))


def store(root: str, names: Iterable[str], weights: Weights, parameters: Mapping[str, int], model_at: str) -> Store:
    """The store below `root` of one model by all of its names.

    `parameters` are what every request is served with (no caller sets them by the open routes), `model_at` is where
    the container has the directory of the weights.
    """
    model = f"sha256:{weights.sha256}"
    given = _text(dict(parameters))
    config = _text(
        {
            "model_format": "gguf",
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [model, _digest(given)]},
        }
    )
    manifest = _text(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _layer(CONFIG_TYPE, _digest(config), len(config)),
            "layers": [
                _layer(MODEL_TYPE, model, weights.bytes),
                _layer(PARAMETERS_TYPE, _digest(given), len(given)),
            ],
        }
    )
    # A name is the same in small letters: which of both it looks for depends on its version.
    paths = sorted({manifest_path(spelled) for name in names for spelled in (name, name.lower())})
    files = dict.fromkeys(paths, manifest) | {_blob(_digest(text)): text for text in (config, given)}
    above = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
    # The second is where newer versions keep manifests: they make it where they lack it, which they cannot here.
    directories = sorted({"blobs", "manifests-v2", *above})
    return Store(
        (root, *(f"{root}/{path}" for path in directories)),
        {f"{root}/{path}": text for path, text in files.items()},
        {f"{root}/{_blob(model)}": f"{model_at}/{weights.name}"},
    )


def _layer(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '-')}"


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
