"""Published figures beside a benchmark of the same model on the same GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.bench.load import Load
from ingot.bench.measured import Measured, Spread
from ingot.bench.published import beside_published, of_subject, published
from ingot.bench.record import Level, Record
from ingot.bench.served import Subject
from ingot.catalog import load_gpus

pytestmark = pytest.mark.observe

H100 = Subject("qwen3-8b", "ab12cd34", "vllm 0.33.0", "bf16", "Qwen/Qwen3-8B", "NVIDIA H100 80GB HBM3", 1, 1)


def record(subject: Subject, load: Load) -> Record:
    spread = Spread(0.1, 0.1, None, None)
    measured = Measured(9, 0, 9.0, spread, spread, spread, 1.0, 100.0, 200.0, 900, 900)
    return Record(
        "gpu-01", "2026-11-29T10:00:00+00:00", "ops@desk", "gpu-01", "https://x", subject, (Level(load, 1.0, measured),)
    )


def test_every_figure_is_of_a_gpu_of_the_catalog_and_has_a_source() -> None:
    assert len(published()) > 50
    assert all(one.gpu in load_gpus() and one.source and one.tokens_per_s > 0 for one in published())


def test_only_the_same_model_on_as_many_of_the_same_gpus_is_meant() -> None:
    found = of_subject(H100)
    assert found and {(one.gpu, one.gpus, one.model) for one in found} == {("h100", 1, "Qwen/Qwen3-8B")}
    assert not of_subject(replace(H100, gpus=2)) or of_subject(replace(H100, gpus=2)) != found
    assert not of_subject(replace(H100, gpu="NVIDIA T1000"))


def test_the_most_similar_loads_come_first() -> None:
    said = list(beside_published(record(H100, Load(40, 4, input_tokens=233, output_tokens=221))))
    assert len(said) == 3 and all(one.startswith("published: ") and "233 to 221 tokens" in one for one in said)
    assert not list(beside_published(record(Subject("x", "llm.example"), Load(40, 4))))
