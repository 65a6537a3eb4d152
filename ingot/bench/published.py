"""What others published of the same model on the same GPUs, beside a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import yaml

from ingot.bench.record import Record
from ingot.bench.served import Subject
from ingot.catalog import load_gpus

#: So many figures are shown at most, the ones with the most similar load.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Published:
    """One figure: `tokens_per_s` are output tokens of all GPUs together, times are medians in milliseconds."""

    gpu: str
    gpus: int
    model: str
    engine: str
    load: str
    tokens_per_s: float
    source: str
    weights: str | None = None
    at_once: float | None = None
    input: float | None = None
    output: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None

    def words(self) -> str:
        """The figure in a sentence."""
        load = f"{self.at_once:g} at once" if self.at_once else self.load
        lengths = f", {self.input:g} to {self.output:g} tokens" if self.input and self.output else ""
        times = "".join(
            f", {name} {value:,.3g} ms" for name, value in (("TTFT", self.ttft_ms), ("TPOT", self.tpot_ms)) if value
        )
        weights = f"{self.weights}, " if self.weights else ""
        return (
            f"published: {self.tokens_per_s:,.0f} tokens/s on {self.gpus} x {self.gpu} with {self.engine} "
            f"({weights}{load}{lengths}{times}; {self.source})"
        )


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """Every figure that is known."""
    stored = yaml.safe_load((files(__package__) / "published.yaml").read_text(encoding="utf-8"))
    return tuple(Published(**one) for one in stored)


def of_subject(subject: Subject) -> list[Published]:
    """The figures of the same model, or another number format of it, on as many of the same GPUs."""
    keys = {key for key, gpu in load_gpus().items() if gpu.name == subject.gpu}
    return [
        one
        for one in published()
        if one.gpu in keys and one.gpus == subject.gpus and subject.repository.startswith(one.model)
    ]


def beside_published(record: Record) -> Iterator[str]:
    """The figures whose load is most like the record's best level, one sentence each."""
    if record.best is None or not record.subject.repository:
        return
    load, _ = record.best

    def unlike(one: Published) -> tuple[bool, float]:
        lengths = abs((one.input or 0) - load.input_tokens) + abs((one.output or 0) - load.output_tokens)
        return (one.load != ("open" if load.per_s else "closed"), lengths)

    yield from (one.words() for one in sorted(of_subject(record.subject), key=unlike)[:SHOWN])
