"""What config.json says of its weights' and its cache's number format, in every spelling that tools write."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.sizing import ConfigError
from ingot.sizing.quantization import scheme_of_config
from ingot.sizing.units import GIB, MIB, ceil_div, gib, show_gib

pytestmark = pytest.mark.sizing


def groups(bits: int | None, kind: str = "int", targets: Any = ("Linear",)) -> dict[str, Any]:
    return {"group_0": {"targets": list(targets), "weights": {"num_bits": bits, "type": kind}}}


@pytest.mark.parametrize(
    ("section", "scheme", "cache"),
    [
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8", None),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", None),
        ({"quant_method": "modelopt_fp4"}, "nvfp4", None),
        ({"quant_algo": "w4a8_nvfp4_fp8"}, "nvfp4", None),
        (
            {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
            "fp8", "fp8",
        ),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 8}}, "fp8", "fp8"),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"num_bits": 16}}, "fp8", None),
        ({"quant_method": "fp8", "kv_cache_quant_algo": "int8"}, "fp8", None),
        ({"quant_method": "fp8", "kv_cache_scheme": "fp8_e4m3"}, "fp8", "fp8"),
        ({"quant_method": "fp8"}, "fp8", None),
        ({"quant_method": "FBGEMM_FP8"}, "fp8", None),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", None),
        ({"quant_method": "mxfp4"}, "mxfp4", None),
        ({"quant_method": "awq", "bits": 4}, "awq-int4", None),
        ({"quant_method": "awq", "w_bit": 4}, "awq-int4", None),
        ({"quant_method": "awq"}, "awq-int4", None),
        ({"quant_method": "auto-round", "bits": 4}, "int4", None),
        ({"quant_method": "auto_round"}, "int4", None),
        ({"quant_method": "intel/auto-round", "bits": 4}, "int4", None),
        ({"quant_method": "gptq", "bits": 4}, "gptq-int4", None),
        ({"quant_method": "gptq", "bits": 8}, "int8", None),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb-nf4", None),
        ({"quant_method": "bitsandbytes"}, "bnb-nf4", None),
        ({"quant_method": "bitsandbytes", "load_in_4bit": False}, "int8", None),
        ({"quant_method": "compressed-tensors", "config_groups": groups(4)}, "int4", None),
        ({"quant_method": "compressed_tensors", "config_groups": groups(4, "float")}, "nvfp4", None),
        (
            {"quant_method": "compressed-tensors", "config_groups": groups(4, targets=["re:.*experts.*"])},
            "int4-experts", None,
        ),
        ({"quant_method": "compressed-tensors", "config_groups": groups(8)}, "int8", None),
        ({"quant_method": "compressed-tensors", "config_groups": groups(8, "float")}, "fp8", None),
        (
            {"quant_method": "compressed-tensors", "config_groups": groups(8), "kv_cache_scheme": {"num_bits": 8}},
            "int8", "fp8",
        ),
    ],
)  # fmt: skip
def test_a_scheme_is_known_by_what_tools_write(section: dict[str, Any], scheme: str, cache: str | None) -> None:
    assert scheme_of_config({"quantization_config": section}) == (scheme, cache)


def test_it_is_found_wherever_it_stands() -> None:
    fp8 = {"quant_method": "fp8"}
    assert scheme_of_config({"compression_config": fp8}) == ("fp8", None)
    assert scheme_of_config({"text_config": {"quantization_config": fp8}}) == ("fp8", None)
    assert scheme_of_config({"text_config": "x"}) == ("none", None) == scheme_of_config({})


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("fp8", "config.json says quantization_config = 'fp8', expected an object: take config.json from the model's "
         "repository."),
        ({"quant_method": "quip"}, "config.json names the quantization 'quip', expected one of fp8, "
         "compressed-tensors, mxfp4, modelopt, awq, gptq, auto-round, bitsandbytes: choose another variant."),
        ({"x": 1}, "config.json names the quantization {'x': 1}, expected one of"),
        ({"quant_method": "awq", "bits": 8}, "config.json names the quantization 'awq', expected"),
        ({"quant_method": "gptq", "bits": 3}, "config.json names the quantization 'gptq', expected"),
        ({"quant_method": "gptq"}, "config.json names the quantization 'gptq', expected"),
        ({"quant_method": "compressed-tensors"}, "config.json's compressed-tensors section has no config_groups with "
         "weights, expected at least one: take config.json from the model's repository."),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {}}}, "has no config_groups with weights"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": 1}}, "has no config_groups with weights"),
        ({"quant_method": "compressed-tensors", "config_groups": groups(6)},
         "config.json names weights of 6 bits, expected 4 or 8: choose another variant."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_one_sentence(section: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        scheme_of_config({"quantization_config": section})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (16 * GIB, "16.00 GiB"), (-3 * GIB, "-3.00 GiB"), (GIB // 20 + 1, "0.05 GiB"), (GIB / 20, "0.05 GiB"),
        (GIB // 20, "51.2 MiB"), (50 * MIB, "50.0 MiB"), (-MIB, "-1.0 MiB"), (0, "0.0 MiB"),
    ],
)  # fmt: skip
def test_bytes_are_shown_as_people_read_them(amount: float, shown: str) -> None:
    assert show_gib(amount) == shown


def test_units_are_powers_of_two_and_rounded_the_way_they_say() -> None:
    assert (gib(1.5), MIB, GIB) == (3 * 2**29, 2**20, 2**30)
    assert [ceil_div(amount, 4) for amount in (0, 1, 4, 5, -1)] == [0, 1, 1, 2, 0]
