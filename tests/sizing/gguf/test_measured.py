"""Sizes that a real llama-server printed for tiny models of eleven architectures, and what the arithmetic says."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingot.sizing.engines.llama_cpp import Settings, cache_bytes, compute_bytes, host_terms, state_bytes
from ingot.sizing.gguf.header import read
from ingot.sizing.gguf.parts import joined
from ingot.sizing.gguf.shape import shape_of
from ingot.sizing.units import MIB
from tests.sizing.gguf.tiny import MODELS
from tests.sizing.gguf.writing import gguf

pytestmark = pytest.mark.engines

MEASURED = json.loads((Path(__file__).parents[1] / "data" / "llama_cpp_buffers.json").read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = MEASURED["rows"]


def settings(arguments: Sequence[str]) -> Settings:
    given = dict(pairwise(arguments))
    return Settings(
        context=int(given["-c"]),
        parallel=int(given["-np"]),
        unified="--kv-unified" in arguments,
        micro_batch=int(given.get("-ub", 512)),
        key_type=given.get("-ctk", "f16"),
        value_type=given.get("-ctv", "f16"),
        flash_attention=given.get("-fa") != "off",
    )


def test_every_model_was_measured() -> None:
    assert {row["model"] for row in ROWS} == set(MODELS) and len(ROWS) == 4 * len(MODELS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {' '.join(row['arguments'])}")
def test_the_arithmetic_is_what_the_engine_prints(row: dict[str, Any]) -> None:
    raw = gguf(*MODELS[row["model"]])
    shape = shape_of(joined([("m.gguf", read(io.BytesIO(raw), len(raw)))]))
    asked = settings(row["arguments"])
    # Two lines of two digits each make a model with windows.
    assert cache_bytes(shape.layers, asked) / MIB == pytest.approx(row["kv_mib"], abs=0.011)
    assert state_bytes(shape.layers, asked) / MIB == pytest.approx(row["state_mib"], abs=0.006)
    host = host_terms(shape, asked, gpus=False)
    assert (host["weights"].bytes + host["inputs"].bytes) / MIB == pytest.approx(row["weights_mib"], abs=0.011)
    compute = compute_bytes(shape, asked)
    assert row["compute_mib"] * MIB <= compute.bytes + compute.band_bytes
