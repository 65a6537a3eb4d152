"""A small Whisper that hears random letters in any sound."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, letters, weights
from ingot.sandbox.tiny_models.tokenizer import FIRST_SPECIAL, byte_level
from ingot.sandbox.tiny_models.weights import Tensor

NAME = "tiny-whisper"

LAYERS = 2
HIDDEN = 64
INTERMEDIATE = 128
HEADS = 2
VOCABULARY = 320
MEL_BINS = 80
#: Frames of 20 ms that the encoder sees of 30 s, and tokens that the decoder writes of them at most.
SOURCE_POSITIONS = 1500
TARGET_POSITIONS = 448

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
END_ID, START_ID = FIRST_SPECIAL, FIRST_SPECIAL + 1
#: In percent: it makes a transcript a few words long.
END_SHARE = 3.0

CONFIG: dict[str, Any] = {
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "architectures": ["WhisperForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": END_ID,
    "d_model": HIDDEN,
    "decoder_attention_heads": HEADS,
    "decoder_ffn_dim": INTERMEDIATE,
    "decoder_layerdrop": 0.0,
    "decoder_layers": LAYERS,
    "decoder_start_token_id": START_ID,
    "dropout": 0.0,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": INTERMEDIATE,
    "encoder_layerdrop": 0.0,
    "encoder_layers": LAYERS,
    "eos_token_id": END_ID,
    "is_encoder_decoder": True,
    "max_source_positions": SOURCE_POSITIONS,
    "max_target_positions": TARGET_POSITIONS,
    "model_type": "whisper",
    "num_hidden_layers": LAYERS,
    "num_mel_bins": MEL_BINS,
    "pad_token_id": END_ID,
    "scale_embedding": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
PREPROCESSOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": MEL_BINS,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 2 * SOURCE_POSITIONS,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "WhisperProcessor",
    "return_attention_mask": False,
    "sampling_rate": 16000,
}

# The last norm's bias in its first dimension; all others are small, so that the head's first column decides.
_CARRIER = 4.0
_REST = 0.3


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-whisper/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of every file of the model, by its path in the model directory, without the manifest."""
    return {
        "config.json": directory.as_json(CONFIG),
        "generation_config.json": directory.as_json(
            {
                "bos_token_id": END_ID,
                "decoder_start_token_id": START_ID,
                "eos_token_id": END_ID,
                "is_multilingual": True,
                "lang_to_id": {"<|de|>": FIRST_SPECIAL + 3, "<|en|>": FIRST_SPECIAL + 2},
                "pad_token_id": END_ID,
            }
        ),
        "model.safetensors": weights.safetensors(dict(tensors())),
        "preprocessor_config.json": directory.as_json(PREPROCESSOR),
        "tokenizer.json": directory.as_json(byte_level(SPECIAL_TOKENS)),
        "tokenizer_config.json": directory.as_json(
            {
                "additional_special_tokens": SPECIAL_TOKENS,
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "model_max_length": 1024,
                "pad_token": "<|endoftext|>",
                "processor_class": "WhisperProcessor",
                "tokenizer_class": "WhisperTokenizer",
                "unk_token": "<|endoftext|>",
            }
        ),
    }


def tensors() -> Iterator[tuple[str, Tensor]]:
    """Every weight of the model: its name and its values."""
    yield from _convolution("model.encoder.conv1", HIDDEN, MEL_BINS)
    yield from _convolution("model.encoder.conv2", HIDDEN, HIDDEN)
    yield "model.encoder.embed_positions.weight", _sinusoids()
    yield "model.decoder.embed_positions.weight", weights.random(f"{NAME} positions", TARGET_POSITIONS, HIDDEN)
    # The head is tied to it.
    preferred = letters.preferences(VOCABULARY, END_ID, END_SHARE, _CARRIER)
    embedding = weights.random(f"{NAME} embed", VOCABULARY, HIDDEN)
    yield "model.decoder.embed_tokens.weight", weights.with_column(embedding, preferred)
    for layer in range(LAYERS):
        for part in ("encoder", "decoder"):
            prefix = f"model.{part}.layers.{layer}."
            attentions = ("self_attn", "encoder_attn") if part == "decoder" else ("self_attn",)
            for attention in attentions:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    yield from _linear(f"{prefix}{attention}.{name}", HIDDEN, HIDDEN, bias=name != "k_proj")
                yield from _norm(f"{prefix}{attention}_layer_norm")
            yield from _linear(f"{prefix}fc1", INTERMEDIATE, HIDDEN)
            yield from _linear(f"{prefix}fc2", HIDDEN, INTERMEDIATE)
            yield from _norm(f"{prefix}final_layer_norm")
    yield from _norm("model.encoder.layer_norm")
    yield "model.decoder.layer_norm.weight", weights.vector([0.0] + [_REST] * (HIDDEN - 1))
    yield "model.decoder.layer_norm.bias", weights.vector([_CARRIER] + [0.0] * (HIDDEN - 1))


def _convolution(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", weights.random(f"{NAME} {name}", outputs, inputs, 3)
    yield f"{name}.bias", weights.zeros(outputs)


def _linear(name: str, rows: int, columns: int, bias: bool = True) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", weights.random(f"{NAME} {name}", rows, columns)
    if bias:
        yield f"{name}.bias", weights.zeros(rows)


def _norm(name: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", weights.ones(HIDDEN)
    yield f"{name}.bias", weights.zeros(HIDDEN)


def _sinusoids() -> Tensor:
    """The encoder's positions: sines, then cosines, of wavelengths from 2 pi to 10000 times that."""
    half = HIDDEN // 2
    scales = [math.exp(-math.log(10000) * index / (half - 1)) for index in range(half)]
    rows = (
        [wave(position * scale) for wave in (math.sin, math.cos) for scale in scales]
        for position in range(SOURCE_POSITIONS)
    )
    return (SOURCE_POSITIONS, HIDDEN), b"".join(weights.bfloat16(value) for row in rows for value in row)
