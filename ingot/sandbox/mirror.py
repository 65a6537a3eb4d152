"""Everything that test hosts fetch, made on this machine: packages, the engine image, the models.

It stands in the cache at `mirror`; guests see it read-only at `/srv/ingot-mirror`, so a deployment onto them takes the
path of a site without internet.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ingot.sandbox import aptrepo, engine_image, llama_image
from ingot.sandbox.errors import in_one_sentence
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import locked, write_file
from ingot.sandbox.tiny_models import adapter, embedder, generator, gguf, gguf_embedder, reranker, transcriber
from ingot.sandbox.tiny_models.directory import MANIFEST

GUEST = "/srv/ingot-mirror"
#: Where test hosts fetch models.
MODELS = f"file://{GUEST}/models"
#: The models that test hosts can serve, one of each kind.
MAKERS = {
    generator: "generate",
    gguf: "generate",
    gguf_embedder: "embed",
    embedder: "embed",
    reranker: "rerank",
    transcriber: "transcribe",
}


def _print(line: str) -> None:
    print(f"ingot: {line}", file=sys.stderr, flush=True)


def ensure(progress: Callable[[str], None] = _print, paths: Paths | None = None) -> None:
    """Make what the mirror does not have yet; safe to call from several processes at once.

    Raises: SandboxError when something cannot be made or fetched.
    """
    paths = paths or Paths.from_environment()
    with in_one_sentence(f"what test hosts fetch could not be made in {paths.mirror}"):
        aptrepo.build(paths)
        _revisions(paths)
        engine_image.ensure(paths, progress)
        llama_image.ensure(paths, progress)


def engine_values(paths: Paths | None = None) -> dict[str, Any]:
    """The engine image as values for group_data, built first where needed."""
    paths = paths or Paths.from_environment()
    made, llama = engine_image.ensure(paths, _print), llama_image.ensure(paths, _print)
    return {
        "engine_build": "cpu",
        "engine_image": made.image,
        "engine_image_archive": f"{GUEST}/images/{made.archive}",
        "engine_image_id": made.image_id,
        "engine_version": made.vllm_version,
        "llama_cpp_image": llama.image,
        "llama_cpp_image_archive": f"{GUEST}/images/{llama.archive}",
        "llama_cpp_image_id": llama.image_id,
        "llama_cpp_version": llama.version,
    }


def model_values(paths: Paths | None = None) -> dict[str, Any]:
    """The tiny models as values for group_data, and where test hosts fetch models, made first where needed."""
    paths = paths or Paths.from_environment()
    revisions = _made(paths)
    return {
        "models_lock": str(_lock(paths, revisions)),
        "models_site": None,
        "site_models": {maker.NAME: catalog_entry(maker, revisions[maker.NAME]) for maker in MAKERS},
        "sources": {"models": {"kind": "mirror", "uri": MODELS}},
    }


def catalog_entry(maker: ModuleType, revision: str) -> dict[str, Any]:
    """A tiny model in the form of a catalog entry (docs/models.md)."""
    return {
        "title": f"{maker.NAME}, made on the spot with random weights",
        "license": "apache-2.0",
        "shapes": "its own config.json",
        "kind": MAKERS[maker],
        "config": dict(maker.CONFIG),
        "variants": [
            {"name": "bf16", "repository": maker.NAME, "revision": revision}
            | ({"file": maker.FILE} if maker in (gguf, gguf_embedder) else {})
        ],
    }


def _lock(paths: Paths, revisions: Mapping[str, str]) -> Path:
    """The lock of the tiny models, as `ingot models lock` writes one where it sees the mirror that hosts see."""
    repositories = {
        name: {
            "commit": revision,
            "files": json.loads((paths.mirror / "models" / name / revision / MANIFEST).read_text())["files"],
        }
        for name, revision in revisions.items()
    }
    content = json.dumps({"schema": 1, "hub": MODELS, "repositories": repositories}, indent=1) + "\n"
    # By its content: checkouts of several versions may share one cache, and each has its own models.
    file = paths.mirror / f"models-{hashlib.sha256(content.encode()).hexdigest()[:16]}.lock.yaml"
    if not file.is_file() or file.read_text() != content:
        write_file(file, content)
    return file


def _revisions(paths: Paths) -> dict[str, str]:
    """The revision of each tiny model in the mirror, and of the adapter, by name; a wrong one is made anew."""
    models = paths.mirror / "models"
    with locked(paths.cache / "model.lock"):
        made = {maker.NAME: maker.make(models).name for maker in (*MAKERS, adapter)}
        write_file(models / "made.json", json.dumps({"recipe": _recipe(), "revisions": made}))
    return made


def _made(paths: Paths) -> dict[str, str]:
    """The same as it was made before: an inventory is read many times, and looks at no weight."""
    models = paths.mirror / "models"
    try:
        stored = json.loads((models / "made.json").read_text())
    except (OSError, ValueError):
        return _revisions(paths)
    revisions: dict[str, str] = stored["revisions"]
    there = all((models / name / revision / MANIFEST).is_file() for name, revision in revisions.items())
    return revisions if there and stored["recipe"] == _recipe() else _revisions(paths)


def _recipe() -> str:
    """What the models are made by."""
    sources = sorted((Path(__file__).parent / "tiny_models").glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
