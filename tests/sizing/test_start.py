"""One start predicted: the order of refusals, and what each version counts."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.catalog import load_models
from ingot.sizing import Architecture, Term, overheads, vllm
from ingot.sizing.overheads import capture_sizes, graphs
from ingot.sizing.split import Parallel
from ingot.sizing.start import Arguments, Device, Prediction, demand, predict

from .conftest import GIB

pytestmark = pytest.mark.sizing


def shape(name: str = "qwen3-8b") -> Architecture:
    return load_models()[name].variants[0].architecture


def start(
    total_gib: float,
    *,
    free_gib: float | None = None,
    share: float = 0.92,
    version: str = "0.32.0",
    name: str = "qwen3-8b",
    scheme: str = "none",
    flashinfer: bool = True,
    **changes: Any,
) -> Prediction:
    engine = vllm(version)
    stated: dict[str, Any] = {"max_model_len": 8192, "max_num_seqs": 16, "max_num_batched_tokens": 2048}
    arguments = Arguments(**{**stated, **changes})
    need = demand(shape(name), scheme, Parallel(), arguments, engine, flashinfer=flashinfer)
    total = int(total_gib * GIB)
    return predict(need, Device(total, total if free_gib is None else int(free_gib * GIB)), share, engine)


def test_a_start_with_room_comes_up() -> None:
    assert start(24).refusal is None


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("R1", {"total_gib": 24, "free_gib": 20}),
        ("R2", {"total_gib": 15.4, "share": 0.5}),
        ("R3", {"total_gib": 16.5, "max_num_batched_tokens": 16384}),
        ("R4", {"total_gib": 24, "share": 0.6}),
        ("R5", {"total_gib": 20, "max_model_len": 40960}),
        ("R6", {"total_gib": 38, "name": "qwen3.5-27b", "scheme": "fp8", "max_num_seqs": 256, "encoder": False}),
    ],
)
def test_each_refusal_has_its_condition(kind: str, changes: dict[str, Any]) -> None:
    prediction = start(**changes)
    assert prediction.refusal == kind, prediction.reason
    assert prediction.reason


def test_a_model_at_the_edge_of_a_published_refusal() -> None:
    # v0-llama31-8b-3090-29k: 2.89 GiB were left, 29,000 tokens did not fit and 20,000 did.
    refused = start(23.58, share=0.9, version="0.6.0", name="llama-3.1-8b-instruct", max_model_len=29000,
                    max_num_seqs=256)  # fmt: skip
    served = start(23.58, share=0.9, version="0.6.0", name="llama-3.1-8b-instruct", max_model_len=20000,
                   max_num_seqs=256)  # fmt: skip
    assert (refused.refusal, served.refusal) == ("R5", None)
    assert refused.available / GIB == pytest.approx(2.89, abs=0.35)
    assert served.available / GIB == pytest.approx(3.81, abs=0.35)


def test_a_start_of_this_years_engine() -> None:
    # A published start of vLLM 0.31 without arguments: Llama 3.1 8B on an A100 of 79.25 GiB, 56.21 GiB available.
    prediction = start(79.25, version="0.31.0", name="llama-3.1-8b-instruct", max_model_len=131072, max_num_seqs=256)
    assert prediction.available / GIB == pytest.approx(56.21, rel=0.01)
    assert prediction.holds(int(56.21 * GIB))


def test_graphs_are_counted_since_0_21() -> None:
    assert start(24, version="0.20.0").available > start(24, version="0.21.0").available
    assert start(24, enforce_eager=True).demand.graphs.bytes == 0


def test_graphs_that_are_not_counted_need_room_beyond_the_share() -> None:
    # The second model runner of 0.27 to 0.31 does not count them: requested = consumed + activation + cache.
    def kind(free_gib: float, version: str) -> str | None:
        return start(24, free_gib=free_gib, share=0.9, version=version, max_num_seqs=256).refusal

    assert (kind(23.0, "0.28.0"), kind(21.8, "0.28.0")) == (None, "R7")
    assert kind(21.8, "0.32.0") is None
    assert start(24, share=0.99, version="0.28.0", max_num_seqs=256).refusal == "R7"


def test_a_start_that_compiles_keeps_more_than_one_that_finds_its_cache() -> None:
    cold, warm = start(24, version="0.31.0"), start(24, version="0.31.0", compiles=False)
    assert (warm.available - cold.available) / GIB == pytest.approx(1.1)
    assert cold.holds(warm.available)
    assert start(24, version="0.31.0", enforce_eager=True).available > cold.available
    assert start(24, version="0.20.0").available == start(24, version="0.20.0", compiles=False).available


def test_experts_workspaces_add_to_the_sampler_since_0_21() -> None:
    def pass_bytes(version: str) -> int:
        arguments = Arguments(max_model_len=8192, max_num_seqs=1024, max_num_batched_tokens=2048, compiles=False)
        need = demand(shape("gpt-oss-20b"), "mxfp4", Parallel(), arguments, vllm(version), flashinfer=False)
        return need.activation.bytes

    sampler = overheads.sampler(shape("gpt-oss-20b"), 1024, vllm("0.21.0"), flashinfer=False).bytes
    assert pass_bytes("0.20.0") == sampler < pass_bytes("0.21.0")


def test_memory_that_gpu_and_host_share_carries_the_hosts_side_too() -> None:
    arguments = Arguments(max_model_len=8192, max_num_seqs=16, max_num_batched_tokens=2048)

    def non_torch(*, unified: bool) -> Term:
        return demand(
            shape(), "none", Parallel(), arguments, vllm("0.27.1"), flashinfer=True, unified=unified
        ).non_torch

    assert (non_torch(unified=True).bytes - non_torch(unified=False).bytes) / GIB == pytest.approx(3.5, abs=0.01)
    assert non_torch(unified=True).band_bytes > 2 * GIB


def test_graphs_are_larger_where_many_ranks_reduce_over_rings() -> None:
    assert graphs(94, 256, enforce_eager=False, unswitched_ranks=8).bytes / GIB == pytest.approx(3.45, rel=0.4)
    assert graphs(64, 256, enforce_eager=False, unswitched_ranks=4).bytes == graphs(64, 256, enforce_eager=False).bytes


def test_the_sampler_sorts_where_flashinfer_does_not_run() -> None:
    sorting = start(80, version="0.11.0", max_num_seqs=1024).demand.activation.bytes
    assert sorting / GIB == pytest.approx(5.59, rel=0.02)  # llmd-qwen3-*: 5.56 to 5.64 GiB
    assert start(80, max_num_seqs=1024, compiles=False).demand.activation.bytes < sorting / 3


def test_a_model_that_embeds_never_samples() -> None:
    assert start(80, version="0.12.0", max_num_seqs=1024, pooling=True).demand.activation.bytes < GIB


@pytest.mark.parametrize(("sequences", "sizes"), [(1, 2), (2, 3), (8, 5), (64, 19), (256, 51), (1024, 51)])
def test_capture_sizes_are_those_of_the_engine(sequences: int, sizes: int) -> None:
    assert capture_sizes(sequences) == sizes


def test_ranks_that_share_experts_work_on_the_tokens_of_all_ranks() -> None:
    arguments = Arguments(max_model_len=8192, max_num_seqs=16, max_num_batched_tokens=8192, compiles=False)

    def activation(version: str, data: int) -> int:
        split = Parallel(1, 1, data, expert=True)
        need = demand(shape("deepseek-r1"), "fp8-block", split, arguments, vllm(version), flashinfer=True)
        return need.activation.bytes

    assert activation("0.32.0", 8) > 6 * activation("0.32.0", 1)
    # Older engines cut the experts' work into chunks.
    assert activation("0.12.0", 8) < 5 * activation("0.12.0", 1)
