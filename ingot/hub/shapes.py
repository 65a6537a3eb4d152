"""Whether a repository is what an entry says of it: its config.json against the shapes that plans are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ingot.catalog.lock import Locked
from ingot.errors import IngotError
from ingot.hub.places import Place
from ingot.sizing import Architecture, SizingError, Variant, architecture_from_config

CONFIG = "config.json"
#: How far parameters may be off, as a share: towers and norms are counted roughly where a config leaves them to code.
PARAMETERS_BAND = 0.03


def checked(place: Place, locked: Locked, variant: Variant) -> None:
    """See that a locked repository has the variant's shapes; one without a config.json is not looked at.

    Raises: IngotError, one sentence, for another shape or a config.json that cannot be read.
    """
    if all(one.path != CONFIG for one in locked.files):
        return
    try:
        config = json.loads(place.text(locked, CONFIG))
        if not isinstance(config, Mapping):
            raise ValueError("no object")
        found = architecture_from_config(config, approximate=variant.architecture.approximate)
    except (ValueError, SizingError) as error:
        raise IngotError(
            f"{CONFIG} of {locked.repository} cannot be planned by ({error}); serve another variant"
        ) from None
    if not (variant.architecture.head or variant.architecture.tied):
        # A decoder that pools: the engine loads no output head, whatever the files hold.
        found = replace(found, head=())
    if said := "; ".join(differences(variant.architecture, found)):
        raise IngotError(
            f"{locked.repository} is of another shape than its entry ({said}), so that plans would be wrong; describe "
            f"it by its own files: `ingot models add {locked.repository} --name NAME`, and serve that"
        )


def differences(stated: Architecture, found: Architecture) -> Iterator[str]:
    """What memory depends on and differs, a clause each: what the repository has, and what its entry states."""
    sides = (
        ("layers", len(found.layers), len(stated.layers)),
        ("of hidden size", found.hidden_size, stated.hidden_size),
        ("of vocabulary", found.vocab_size, stated.vocab_size),
        ("experts", found.experts, stated.experts),
    )
    for what, here, there in sides:
        if here != there:
            yield f"{here} {what} instead of {there}"
    if len(found.layers) == len(stated.layers):
        pairs = zip(found.layers, stated.layers, strict=True)
        first = next((index for index, (one, two) in enumerate(pairs) if one.attention != two.attention), None)
        if first is not None:
            yield f"layer {first} keeps {found.layers[first].attention} instead of {stated.layers[first].attention}"
    if abs(found.parameters / stated.parameters - 1) > PARAMETERS_BAND:
        yield f"{found.parameters / 1e9:.2f} billion parameters instead of {stated.parameters / 1e9:.2f}"
