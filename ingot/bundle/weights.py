"""The models of a bundle: the files that the lock names, whatever brings them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from ingot.bundle.store import Entry, Missing, Store
from ingot.errors import IngotError
from ingot.operations.serving.planning import Planned
from ingot.operations.weights.manifest import ModelFile, Origin, origins
from ingot.operations.weights.models import Wanted, locked_files, wanted_models
from ingot.settings import Settings


def weights(store: Store, values: Settings, planned: Planned) -> Iterator[Entry]:
    """Every file of the models that a host will serve, as a mirror has them. Raises: IngotError."""
    lock = values.lock
    if lock is None:
        raise IngotError("there is no lock of models, expected one to prove weights against; run `ingot models lock`.")
    for one in wanted_models(values.cache_root, planned):
        if one.variant.repository.startswith("/"):
            raise IngotError(
                f"{one.label} lies in {one.variant.repository}, which deploys push from the control machine; a "
                "bundle takes repositories of `sources` only: name one there."
            )
        places = origins(values.sources.of_models, one.variant, one.label)
        for file in locked_files(one, lock):
            yield _file(store, one, places, file)


def _file(store: Store, wanted: Wanted, places: Sequence[Origin], file: ModelFile) -> Entry:
    variant = wanted.variant
    path = f"models/{variant.repository}/{variant.revision}/{file.path}"
    said: list[str] = []
    for place in places:
        base = place.below(variant.revision)
        address = f"{base}/{quote(file.path)}" if "://" in base else f"file:{quote(base)}/{quote(file.path)}"
        try:
            entry = store.name(address, path, file.sha256, file.bytes)
        except Missing as missing:
            said.append(str(missing))
            continue
        if not file.sha256 and git_sha1(store.object(entry.sha256).read_bytes()) != file.git_sha1:
            said.append(f"{address} is not what the lock says (git {file.git_sha1})")
            continue
        return entry
    raise IngotError(f"{wanted.label}: {'; '.join(said)}; see sources['models'], or run `ingot models lock`.")


def git_sha1(content: bytes) -> str:
    """The id that git gives a file: of the header `blob SIZE` and its bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
