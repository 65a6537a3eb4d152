"""How models that share a name divide its requests over what serves them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction


def divided(places: Mapping[str, tuple[int, Mapping[str, int]]]) -> Mapping[str, int]:
    """The weight of each place, in lowest terms, so that all places of a model have its share together.

    A place is a replica or a host: its own weight beside others, and the shares of the models that it serves.
    """
    of_model: dict[str, int] = {}
    for weight, shares in places.values():
        for model in shares:
            of_model[model] = of_model.get(model, 0) + weight
    exact = {
        place: sum((Fraction(share * weight, of_model[model]) for model, share in shares.items()), Fraction(0))
        for place, (weight, shares) in places.items()
    }
    whole = math.lcm(*(share.denominator for share in exact.values()))
    scaled = {place: int(share * whole) for place, share in exact.items()}
    least = math.gcd(*scaled.values())
    # Who has none of them stands in for one.
    return {place: max(share // least, 1) for place, share in scaled.items()}
