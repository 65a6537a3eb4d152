"""Number formats of weights as bytes per parameter, what they leave alone, and which GPUs run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingot.sizing.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a checkpoint stores its quantised matrices.

    + element_bytes: bytes per parameter, scales and zero points included; None leaves the model's own type
    + quality: orders schemes by what they lose, 100 being nothing
    + only_experts: everything but routed experts stays in the model's own type
    + embeddings: embeddings and output head are quantised too
    + min_capability: compute capability below which no kernel runs it
    + pads: hidden size and expert width are rounded up to these multiples when the engine repacks experts for its
      kernels (vLLM `fused_moe/oracle/mxfp4.py`, Marlin and TensorRT-LLM; others pad less)
    + band: how far the weights may be off, as a share: recipes differ in which layers they leave alone
    """

    name: str
    element_bytes: float | None
    quality: int
    only_experts: bool = False
    embeddings: bool = False
    min_capability: tuple[int, int] | None = None
    pads: tuple[int, int] = (1, 1)
    band: float = 0.02


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("none", None, 100, band=0.01),
        Scheme("fp8", 1.0, 95, min_capability=(7, 5), band=0.025),
        Scheme("fp8-block", 1.0 + 4 / 128**2, 96, min_capability=(7, 5), band=0.025),
        Scheme("int8", 1.0, 93, min_capability=(7, 5), band=0.02),
        Scheme("gguf-q8", 1.0 + 2 / 32, 92, embeddings=True, min_capability=(7, 0), band=0.05),
        Scheme("mxfp4", 0.5 + 1 / 32, 90, only_experts=True, min_capability=(7, 5), pads=(256, 128), band=0.05),
        Scheme("nvfp4", 0.5 + 1 / 16, 88, min_capability=(7, 5), band=0.15),
        Scheme("int4-experts", 0.5 + 2 / 32, 86, only_experts=True, min_capability=(7, 5), band=0.05),
        # AutoAWQ writes one layout: groups of 128 with a scale and a zero point; embeddings, head and norms untouched.
        # The published index of Llama 3.1 70B's files (39,767,785,472 bytes) is met to the byte; kernels repack.
        Scheme("awq-int4", 0.5 + 2.5 / 128, 84, min_capability=(7, 5), band=0.015),
        Scheme("gptq-int4", 0.5 + 2.5 / 128, 83, min_capability=(6, 0), band=0.04),
        Scheme("int4", 0.5 + 2 / 128, 83, min_capability=(7, 5), band=0.10),
        # q4_0 and most of q4_K_M; a file mixes types, so that its size is the better answer.
        Scheme("gguf-q4", 18 / 32, 82, embeddings=True, min_capability=(7, 0), band=0.15),
        Scheme("bnb-nf4", 0.5 + 4 / 64, 80, min_capability=(7, 0), band=0.15),
    )
}


def scheme_of_config(config: Mapping[str, Any]) -> tuple[str, str | None]:
    """The scheme that a config.json's `quantization_config` names, and the cache's number format if it names one.

    Raises ConfigError for a method that is not described here.
    """
    text = config.get("text_config")
    nested = text if isinstance(text, Mapping) else {}
    stored = config.get("quantization_config") or config.get("compression_config") or nested.get("quantization_config")
    if stored is None:
        return "none", None
    if not isinstance(stored, Mapping):
        raise ConfigError(
            f"config.json says quantization_config = {stored!r}, expected an object: take config.json from the "
            "model's repository."
        )
    method = str(stored.get("quant_method") or "").lower().replace("_", "-")
    inner = stored.get("quantization")
    details = {**stored, **inner} if isinstance(inner, Mapping) else dict(stored)
    algorithm = str(details.get("quant_algo") or "").upper()
    cache = _cache_format(details)
    bits = details.get("bits") or details.get("w_bit")
    if method.startswith("modelopt") or algorithm:
        return ("nvfp4" if "FP4" in algorithm or method.endswith("fp4") else "fp8"), cache
    if method in ("fp8", "fbgemm-fp8"):
        return ("fp8-block" if details.get("weight_block_size") else "fp8"), cache
    if method == "mxfp4":
        return "mxfp4", cache
    if method == "compressed-tensors":
        return _compressed(details), cache
    if method in ("awq", "auto-round", "intel/auto-round") and bits in (4, None):
        return ("awq-int4" if method == "awq" else "int4"), cache
    if method == "gptq" and bits in (4, 8):
        return ("gptq-int4" if bits == 4 else "int8"), cache
    if method == "bitsandbytes":
        return ("bnb-nf4" if details.get("load_in_4bit", True) else "int8"), cache
    raise ConfigError(
        f"config.json names the quantization {method or stored!r}, expected one of fp8, compressed-tensors, mxfp4, "
        "modelopt, awq, gptq, auto-round, bitsandbytes: choose another variant."
    )


def _cache_format(details: Mapping[str, Any]) -> str | None:
    """fp8 where the checkpoint itself names a format for the key-value cache; weights alone never do."""
    named = details.get("kv_cache_scheme") or details.get("kv_cache_quant_algo")
    if isinstance(named, Mapping):
        return "fp8" if named.get("num_bits") == 8 else None
    return "fp8" if isinstance(named, str) and "FP8" in named.upper() else None


def _compressed(details: Mapping[str, Any]) -> str:
    groups = details.get("config_groups")
    first = next(iter(groups.values())) if isinstance(groups, Mapping) and groups else {}
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ConfigError(
            "config.json's compressed-tensors section has no config_groups with weights, expected at least one: "
            "take config.json from the model's repository."
        )
    bits, kind = weights.get("num_bits"), weights.get("type")
    if bits == 4:
        if kind == "float":
            return "nvfp4"
        targets = str(first.get("targets", ""))
        return "int4-experts" if "experts" in targets else "int4"
    if bits == 8:
        return "fp8" if kind == "float" else "int8"
    raise ConfigError(f"config.json names weights of {bits!r} bits, expected 4 or 8: choose another variant.")
