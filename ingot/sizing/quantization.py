"""Number formats of weights as bytes per parameter, and the smallest GPU generation that runs them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a checkpoint stores its quantised matrices.

    `element_bytes` includes scales and zero points. `only_experts` leaves everything but routed experts in the
    model's own type. `quality` orders schemes by what they lose, 100 being nothing. `min_capability` is the
    compute capability below which no kernel runs it.
    """

    name: str
    element_bytes: float | None
    quality: int
    only_experts: bool = False
    min_capability: tuple[int, int] | None = None


def _scheme(*schemes: Scheme) -> dict[str, Scheme]:
    return {scheme.name: scheme for scheme in schemes}


SCHEMES = _scheme(
    Scheme("none", None, 100),
    Scheme("fp8", 1.0, 95, min_capability=(7, 5)),
    Scheme("fp8-block", 1.0 + 4 / 128**2, 96, min_capability=(7, 5)),
    Scheme("int8", 1.0, 93, min_capability=(7, 5)),
    Scheme("mxfp4", 0.5 + 1 / 32, 90, only_experts=True, min_capability=(8, 0)),
    Scheme("nvfp4", 0.5 + 1 / 16, 88, min_capability=(7, 5)),
    Scheme("int4-experts", 0.5 + 2 / 32, 86, only_experts=True, min_capability=(7, 5)),
    Scheme("awq-int4", 0.5 + 2.5 / 128, 84, min_capability=(7, 5)),
    Scheme("gptq-int4", 0.5 + 2.5 / 128, 83, min_capability=(6, 0)),
    Scheme("int4", 0.5 + 2 / 128, 83, min_capability=(7, 5)),
    Scheme("bnb-nf4", 0.5 + 4 / 64, 80, min_capability=(7, 0)),
)
