"""What a judgement is made of: everything that was measured, and findings with their verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ingot.acceptance.measured import BurnIn, Diagnostics, DiskRates
from ingot.acceptance.readings import GpuCounters, Look, Sample


class Verdict(StrEnum):
    """What an acceptance comes to; the worst finding decides."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason: a sentence without the host's name and the final stop; `uuid` where it is of one GPU, `metric` where
    it is of one of its figures (a key of `speed.METRICS`).
    """

    verdict: Verdict
    text: str
    uuid: str | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one acceptance of a host saw. `missing` are sentences on what could not be measured and need not
    be, `undone` on what must be and was not.
    """

    before: Look = field(default_factory=Look)
    after: Look = field(default_factory=Look)
    samples: tuple[Sample, ...] = ()
    burn_in: BurnIn | None = None
    disk: DiskRates | None = None
    diagnostics: Diagnostics | None = None
    differences: tuple[str, ...] = ()
    nvme_ordered: bool = False
    missing: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()


def label(measured: Measured, uuid: str) -> str:
    """`GPU 3`, or the start of the UUID of an instance."""
    counters = measured.before.gpu(uuid) or measured.after.gpu(uuid)
    return counters.label if counters else f"GPU {uuid[:12]}"


def model_of(measured: Measured, uuid: str) -> str:
    """The name of a GPU's model; an instance (MIG) has none, since its size is another one's."""
    counters = measured.before.gpu(uuid)
    return counters.name if counters else uuid


def under_load(measured: Measured, one: GpuCounters) -> tuple[int | None, int | None]:
    """Generation and lanes of the link while the GPU worked: the best generation seen, the fewest lanes."""
    busy = [sample for sample in measured.samples if sample.uuid == one.uuid and sample.is_busy]
    generations = [sample.generation for sample in busy if sample.generation]
    lanes = [sample.width for sample in busy if sample.width] or [one.width or 0]
    return (max(generations) if generations else None), (min(lanes) or None)
