"""Whether a repository would have an engine load code: its configuration, read before it is locked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ingot.catalog.lock import Locked
from ingot.errors import IngotError
from ingot.hub.places import Place
from ingot.operations.weights.code_in_config import CONFIGS, code_keys, refusal


def without_code(place: Place, locked: Locked, waived: Mapping[str, str]) -> None:
    """See that no configuration of a repository names code; `waived` are digests (sha256) of files by path.

    Raises: IngotError, one sentence, for one that does, and for one that is no JSON.
    """
    for file in locked.files:
        if file.path not in CONFIGS:
            continue
        text = place.text(locked, file.path)
        try:
            keys = code_keys(text)
        except ValueError as error:
            raise IngotError(
                f"{file.path} of {locked.repository} is no JSON ({error}); serve another variant"
            ) from None
        sha256 = file.sha256 or hashlib.sha256(text.encode()).hexdigest()
        if keys and waived.get(file.path) != sha256:
            raise IngotError(refusal(locked.repository, file.path, keys, sha256))
