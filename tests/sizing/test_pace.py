"""The parts of a step, each worked out by hand on a small shape with plain constants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.sizing import architecture_from_config
from ingot.sizing.pace import Pace, Peak, Reached
from ingot.sizing.split import Parallel

pytestmark = pytest.mark.sizing

# Everything reached in full and nothing on top, so that one part at a time can be turned on.
IDEAL = Reached(
    read=1.0, read_cache=1.0, scattered=1e30, compute=1.0, compute_fall=0.0, compute_experts=1.0, expert_spread=1.0,
    step_s=0.0, layer_s=0.0, expert_layer_s=0.0, latent_layer_s=0.0, sequence_s=0.0, overlapped=0.5,
    link=0.1, pcie_bytes=1e9, link_s=0.0, pcie_s=0.0,
)  # fmt: skip
DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 1000,
    "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 100, "intermediate_size": 3000,
    "vocab_size": 6400, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
# Query and output, key and value, feed-forward, two norms; twice, then the final norm and the head.
LAYER = 2 * 1000 * 1000 + 1000 * 2 * 200 + 3 * 1000 * 3000 + 2 * 1000
HELD = 2 * LAYER + 1000 + 6400 * 1000
SPARSE = DENSE | {
    "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 500,
}  # fmt: skip


def pace(config: dict[str, Any] = DENSE, **changes: Any) -> Pace:
    stated: dict[str, Any] = {
        "architecture": architecture_from_config(config), "quantization": "none", "parallel": Parallel(),
        "peak": Peak(bandwidth=1e9, flops=1e15), "nvlink": False, "batch": 1000, "reached": IDEAL,
    }  # fmt: skip
    return Pace(**{**stated, **changes})


def test_a_lone_token_reads_all_weights_and_its_cache() -> None:
    cache = 2 * 50 * 2 * 200 * 2  # layers x tokens x heads x widths of key and value x bytes
    assert pace().decode_s(1, 50) == pytest.approx((2 * HELD + cache) / 1e9)


def test_the_cache_is_read_for_every_sequence_in_the_format_it_has() -> None:
    grown = pace().decode_s(11, 500) - pace().decode_s(1, 500)
    assert grown == pytest.approx(10 * 2 * 500 * 2 * 200 * 2 / 1e9)
    short = pace(cache_dtype="fp8")
    assert short.decode_s(11, 500) - short.decode_s(1, 500) == pytest.approx(grown / 2)


def test_windows_are_read_no_further_than_they_reach() -> None:
    sliding = pace(DENSE | {"model_type": "mistral", "sliding_window": 100})
    assert sliding.decode_s(1, 5000) == pytest.approx(sliding.decode_s(1, 100))
    assert sliding.decode_s(1, 50) < sliding.decode_s(1, 100)


def test_arithmetic_bounds_where_it_takes_longer_than_reading() -> None:
    slow = pace(peak=Peak(1e30, 1e12))
    assert slow.decode_s(100, 1) == pytest.approx(100 * 2 * HELD / 1e12)
    assert slow.bound(100, 1) == "arithmetic"
    assert pace().bound(1, 1) == "memory bandwidth"


def test_arithmetic_that_memory_feeds_badly_reaches_less() -> None:
    # 1,600 operations for each byte are ten times the balance of 160.
    rich = replace(IDEAL, compute_fall=0.5)
    fed, starved = (pace(peak=Peak(bandwidth, 1.6e15), reached=rich) for bandwidth in (1e13, 1e12))
    assert starved.prefill_s(1000) / fed.prefill_s(1000) == pytest.approx(10**0.5, rel=0.02)


def test_eight_bits_take_the_fp8_peak_and_four_bits_the_sixteen_bit_one() -> None:
    peak = Peak(1e30, 1e12, flops_fp8=4e12)
    plain = pace(peak=peak).decode_s(1000, 1)
    assert pace(quantization="fp8", peak=peak).decode_s(1000, 1) == pytest.approx(plain / 4)
    assert pace(quantization="int8", peak=replace(peak, flops_fp8=None)).decode_s(1000, 1) == pytest.approx(plain)
    assert pace(quantization="awq-int4", peak=peak).decode_s(1000, 1) == pytest.approx(plain)


def test_a_prompt_computes_every_token_and_pairs_them() -> None:
    slow = pace(peak=Peak(1e30, 1e12))
    products = 10 * 2 * 2000 * 2000 * 200  # heads x layers x pairs x widths of key and value
    assert slow.prefill_s(2000) == pytest.approx(2000 * 2 * HELD / 1e12 + products / 1e12)


def test_a_batch_of_prompts_reads_the_weights_once() -> None:
    bare = pace(peak=Peak(1e9, 1e30))
    assert bare.prefill_s(500) == pytest.approx(500 * 2 * HELD / 1e9 / 1000)
    assert pace(peak=Peak(1e9, 1e30), batch=2000).prefill_s(500) == pytest.approx(bare.prefill_s(500) / 2)


def test_tokens_use_the_experts_that_at_least_one_of_them_chooses() -> None:
    sparse = pace(SPARSE)
    held = 2 * 8 * 3 * 1000 * 500 * 2 / 1e9  # seconds to read all experts of both layers
    routers = 2 * 2 * 8 * 1000 / 1e9
    dense = 2 * (HELD - 2 * 9_000_000) / 1e9 + routers
    for tokens in (1, 2, 5):
        used = 1 - (1 - 2 / 8) ** tokens
        assert sparse.decode_s(tokens, 0) == pytest.approx(dense + used * held)


def test_popular_experts_are_chosen_by_many() -> None:
    skewed = pace(SPARSE, reached=replace(IDEAL, expert_spread=0.5))
    assert skewed.decode_s(4, 0) == pytest.approx(pace(SPARSE).decode_s(2, 0))


def test_gathering_experts_costs_beside_reading_them() -> None:
    gathered = pace(SPARSE, reached=replace(IDEAL, scattered=1e9))
    held = 2 * 8 * 3 * 1000 * 500 * 2 / 1e9
    assert gathered.decode_s(1, 0) - pace(SPARSE).decode_s(1, 0) == pytest.approx(held * 2 / 8)


def test_ranks_exchange_twice_in_every_layer() -> None:
    split = Parallel(2)
    over_bus = pace(parallel=split, reached=replace(IDEAL, pcie_s=1e-3))
    alone = pace(parallel=split, nvlink=True, reached=replace(IDEAL, link=1e21))
    amount = 1000 * 2 * 2 * (1 / 2) / 1e9
    assert over_bus.decode_s(1, 0) - alone.decode_s(1, 0) == pytest.approx(2 * 2 * (1e-3 * 2 * 1 + amount))
    linked = pace(parallel=split, nvlink=True, reached=replace(IDEAL, link_s=1e-3))
    assert linked.decode_s(1, 0) - alone.decode_s(1, 0) == pytest.approx(2 * 2 * (1e-3 + amount * 1e9 / 1e8))
    assert pace(nvlink=True).decode_s(1, 0) == pace().decode_s(1, 0)


@pytest.mark.parametrize(
    ("change", "config", "seconds"),
    [
        ({"step_s": 1.0}, DENSE, 1.0),
        ({"layer_s": 1.0}, DENSE, 2.0),
        ({"expert_layer_s": 1.0}, DENSE, 0.0),
        ({"expert_layer_s": 1.0}, SPARSE, 2.0),
        ({"latent_layer_s": 1.0}, DENSE, 0.0),
        ({"sequence_s": 1.0}, DENSE, 3.0),
    ],
)
def test_each_overhead_is_paid_where_it_arises(
    change: dict[str, float], config: dict[str, Any], seconds: float
) -> None:
    reached = replace(IDEAL, **change)
    waiting = pace(config, overlaps=False)
    costly = pace(config, overlaps=False, reached=reached)
    assert costly.decode_s(3, 0) - waiting.decode_s(3, 0) == pytest.approx(seconds, abs=1e-9)
    hidden = pace(config, overlaps=True, reached=reached)
    assert hidden.decode_s(3, 0) - waiting.decode_s(3, 0) == pytest.approx(seconds / 2, abs=1e-9)


def test_stages_work_on_parts_of_the_sequences_in_turn() -> None:
    staged = pace(parallel=Parallel(1, 2))
    assert staged.decode_s(8, 100) == pytest.approx(pace().decode_s(4, 100))
    assert staged.decode_s(1, 100) == pytest.approx(pace().decode_s(1, 100))


def test_data_parallel_ranks_each_have_their_sequences_and_all_share_the_experts() -> None:
    ranks = pace(SPARSE, parallel=Parallel(1, 1, 2, expert=True), nvlink=True, reached=replace(IDEAL, link=1e21))
    half = pace(SPARSE | {"num_experts": 4, "num_experts_per_tok": 1}).decode_s(1, 0)  # the experts of one rank
    routers = 2 * 2 * 4 * 1000 / 1e9
    used = (1 - (1 - 2 / 8) ** 4) / (1 - (1 - 1 / 4) ** 1)
    experts = 2 * 4 * 3 * 1000 * 500 * 2 / 1e9
    assert ranks.decode_s(4, 0) == pytest.approx(half + routers + experts * 0.25 * (used - 1))
