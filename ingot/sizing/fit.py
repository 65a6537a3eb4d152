"""When nothing fits: the arithmetic, the term that binds, and the nearest plans that would fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingot.sizing.errors import SizingError
from ingot.sizing.option import Option
from ingot.sizing.units import show_gib

Row = tuple[str, str]


class DoesNotFit(SizingError):
    """No plan exists. `str()` is one sentence.

    `table` is the arithmetic as rows of (what, value, formula), `binding` the term that decides, `nearest` what
    would fit instead, one sentence each.
    """

    def __init__(
        self,
        sentence: str,
        table: Sequence[tuple[str, str, str]] = (),
        binding: str = "",
        nearest: Sequence[str] = (),
    ) -> None:
        super().__init__(sentence)
        self.table = tuple(table)
        self.binding = binding
        self.nearest = tuple(nearest)


def arithmetic(option: Option) -> tuple[tuple[str, str, str], ...]:
    """The sums of one option on its tightest GPU, as rows of (what, value, formula)."""
    need, prediction = option.need, option.prediction
    workload = option.arguments
    rows = [
        ("memory of the GPU", show_gib(prediction.total), "as CUDA sees it"),
        ("the engine may take", show_gib(prediction.requested), f"{option.utilization:.0%} of it"),
        ("- weights", show_gib(need.weights.bytes), need.weights.formula),
        ("- activation", show_gib(need.activation.bytes), need.activation.formula),
        ("- CUDA graphs", show_gib(need.graphs.bytes), need.graphs.formula),
        ("- non-torch", show_gib(need.non_torch.bytes), need.non_torch.formula),
        ("- margin", show_gib(option.margin), "bands of all estimates, as a root of squares"),
        ("= left for the cache", show_gib(prediction.available - option.margin), ""),
        (
            "the cache needs",
            show_gib(option.needed),
            f"{option.sequences} sequences x {need.request_blocks} blocks x "
            f"{show_gib(need.geometry.block_bytes)} ({workload.max_model_len} tokens each)",
        ),
        ("missing", show_gib(max(option.shortfall, 0)), ""),
    ]
    return tuple(rows)


def binding_term(option: Option) -> str:
    """The term without which it would fit: the cache where weights alone leave room, else the weights."""
    need, prediction = option.need, option.prediction
    if need.fixed + option.margin >= prediction.requested:
        return "weights" if need.weights.bytes >= need.activation.bytes else "activation"
    if option.needed + option.margin > prediction.available:
        return "KV cache"
    return option.reason


def largest(fits: Callable[[int], bool], most: int) -> int | None:
    """The largest amount up to `most` that fits, by bisection; None where not even one does."""
    if most < 1 or not fits(1):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
