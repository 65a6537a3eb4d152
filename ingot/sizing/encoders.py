"""The image or audio tower of a multimodal model, as far as its config tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingot.sizing.architecture import Encoder

MOST_LAYERS = 2048
WIDEST = 2**20


def encoder_of(config: Mapping[str, Any], hidden: int) -> Encoder | None:
    """The towers that a config.json nests, together; None where it has none.

    `hidden` is the decoder's hidden size: two projections lead into it. What a tower's fields do not say is not
    counted, so a catalog that knows better names the parameters.
    """
    thinker = config.get("thinker_config")
    nested = thinker if isinstance(thinker, Mapping) else {}
    found = []
    for key in ("vision_config", "audio_config", "audio_encoder"):
        section = config.get(key) or nested.get(key)
        tower = _tower(section, hidden) if isinstance(section, Mapping) else None
        if tower:
            found.append(tower)
    if not found:
        return None
    return Encoder(sum(tower.parameters for tower in found), found[0].hidden_size, found[0].depth)


def speech_encoder(config: Mapping[str, Any]) -> Encoder | None:
    """The encoder of a speech model whose config is flat (Whisper): two convolutions and its layers."""
    width, depth = _positive(config, "d_model"), _positive(config, "encoder_layers")
    if not width or not depth or width >= WIDEST or depth > MOST_LAYERS:
        return None
    inner = _positive(config, "encoder_ffn_dim") or 4 * width
    bins = _positive(config, "num_mel_bins") or 80
    positions = _positive(config, "max_source_positions") or 1500
    convolutions = 3 * width * (bins + width)
    layers = depth * (4 * width * width + 2 * width * inner)
    return Encoder(convolutions + layers + positions * width, width, depth)


def _tower(section: Mapping[str, Any], hidden: int) -> Encoder | None:
    width = _positive(section, "hidden_size", "embed_dim", "width", "d_model")
    depth = _positive(section, "depth", "num_hidden_layers", "layers", "encoder_layers")
    if not width or not depth or width >= WIDEST or depth > MOST_LAYERS:
        return None
    inner = _positive(section, "intermediate_size", "encoder_ffn_dim") or 4 * width
    matrices = 3 if str(section.get("hidden_act", "")).lower() == "silu" else 2
    layers = depth * (4 * width * width + matrices * width * inner)
    return Encoder(layers + width * hidden + hidden * hidden, width, depth)


def _positive(source: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = source.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
