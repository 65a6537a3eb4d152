"""Everything that test hosts fetch, made on this machine: packages, the engine image, the model.

It stands in the cache at `mirror`; guests see it read-only at `/srv/ingot-mirror`, so a deployment onto them takes the
path of a site without internet.
"""

import sys
from collections.abc import Callable
from typing import Any

from ingot.sandbox import aptrepo, engine_image, tiny_model
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import locked

GUEST = "/srv/ingot-mirror"


def _print(line: str) -> None:
    print(f"ingot: {line}", file=sys.stderr, flush=True)


def ensure(progress: Callable[[str], None] = _print, paths: Paths | None = None) -> None:
    """Make what the mirror does not have yet; safe to call from several processes at once.

    Raises: SandboxError when something cannot be made or fetched.
    """
    paths = paths or Paths.from_environment()
    aptrepo.build(paths)
    _revision(paths)
    engine_image.ensure(paths, progress)


def engine_values(paths: Paths | None = None) -> dict[str, Any]:
    """The engine image as values for group_data, built first where needed."""
    made = engine_image.ensure(paths or Paths.from_environment(), _print)
    return {
        "engine_build": "cpu",
        "engine_image": made.image,
        "engine_image_archive": f"{GUEST}/images/{made.archive}",
        "engine_image_id": made.image_id,
        "engine_version": made.vllm_version,
    }


def model_values(paths: Paths | None = None) -> dict[str, Any]:
    """The tiny model as values for group_data, and where test hosts fetch models, made first where needed."""
    revision = _revision(paths or Paths.from_environment())
    return {
        "site_models": {tiny_model.NAME: catalog_entry(revision)},
        "sources": {"models": {"kind": "mirror", "uri": f"file://{GUEST}/models"}},
    }


def catalog_entry(revision: str) -> dict[str, Any]:
    """The tiny model in the form of a catalog entry (docs/models.md)."""
    return {
        "title": "Tiny Qwen3 with random weights",
        "license": "apache-2.0",
        "config": dict(tiny_model.CONFIG),
        "variants": [{"name": "bf16", "repository": tiny_model.NAME, "revision": revision}],
    }


def _revision(paths: Paths) -> str:
    """The revision of the tiny model in the mirror."""
    with locked(paths.cache / "model.lock"):
        return tiny_model.make(paths.mirror / "models").name
