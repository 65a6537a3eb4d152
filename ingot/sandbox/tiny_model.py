"""Makes the model that test hosts serve: a small Qwen3 with random weights, the same bytes wherever it is made.

It answers in random letters, one token per character, so that streams arrive in many pieces and every piece is
readable text. Nothing is downloaded and no machine learning package is needed: a weight is two bytes of a SHAKE
stream, so the directory depends on this file alone.
"""

import hashlib
import json
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "tiny-qwen3"
MANIFEST = "ingot-manifest.json"

LAYERS = 3
HIDDEN = 256
INTERMEDIATE = 768
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 64
VOCABULARY = 320
POSITIONS = 32768

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PAD_ID, START_ID, END_ID = 256, 257, 258

# How often the answer's characters appear, in percent: roughly English, so that an answer looks like words.
# The end token's share makes a sampled answer about 2000 characters long when nothing else stops it: seconds.
LETTERS = {
    **{" ": 17.0, "e": 10.0, "t": 7.5, "a": 6.7, "o": 6.2, "i": 5.8, "n": 5.6, "s": 5.2, "h": 5.0, "r": 4.9},
    **{"d": 3.5, "l": 3.3, "c": 2.3, "u": 2.3, "m": 2.0, "w": 1.9, "f": 1.8, "g": 1.7, "y": 1.6, "p": 1.6},
    **{"b": 1.2, "v": 0.8, "k": 0.6, ".": 1.0, ",": 0.9},
}
END_SHARE = 0.05

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": PAD_ID,
    "eos_token_id": END_ID,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "model_type": "qwen3",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "pad_token_id": PAD_ID,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}

# The first hidden dimension of every token carries this constant, and no layer writes there, so that the output
# head can prefer letters by its first column whatever the random rest computes.
_CARRIER = 8.0
# What is left of it after the layers and the last norm, measured: a preference divided by it is a log probability.
_CARRIED = 1.8


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-qwen3/<revision>` unless it is there, and returns that directory.

    The revision is the first 40 hex digits of the manifest's SHA-256, so it names the content like a commit does.
    """
    contents = files()
    manifest = _json({"files": [_entry(path, data) for path, data in sorted(contents.items())]})
    revision = hashlib.sha256(manifest).hexdigest()[:40]
    target = models / NAME / revision
    if (target / MANIFEST).is_file() and not faults(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as staging:
        made = Path(staging) / revision
        made.mkdir()
        for path, data in {**contents, MANIFEST: manifest}.items():
            (made / path).write_bytes(data)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def faults(directory: Path) -> list[str]:
    """What differs between a model directory and its manifest: one sentence per file, none when all is well."""
    found = []
    for entry in json.loads((directory / MANIFEST).read_text())["files"]:
        path = directory / entry["path"]
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != entry["bytes"]:
            found.append(f"{path} has {path.stat().st_size} bytes, expected {entry['bytes']}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            found.append(f"{path} does not have the SHA-256 {entry['sha256']}")
    return found


def files() -> dict[str, bytes]:
    """The content of every file of the model, by its path in the model directory, without the manifest."""
    return {
        "config.json": _json(CONFIG),
        "generation_config.json": _json(
            {"bos_token_id": PAD_ID, "do_sample": True, "eos_token_id": END_ID, "pad_token_id": PAD_ID}
        ),
        "model.safetensors": _safetensors(dict(tensors())),
        "tokenizer.json": _json(_tokenizer()),
        "tokenizer_config.json": _json(
            {
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
                "eos_token": SPECIAL_TOKENS[2],
                "model_max_length": POSITIONS,
                "pad_token": SPECIAL_TOKENS[0],
                "tokenizer_class": "PreTrainedTokenizerFast",
            }
        ),
    }


def tensors() -> Iterator[tuple[str, tuple[tuple[int, ...], bytes]]]:
    """Every weight of the model: its name, its shape, and its bfloat16 values in little-endian bytes."""
    yield "model.embed_tokens.weight", _with_column(_random("embed", VOCABULARY, HIDDEN), [_CARRIER] * VOCABULARY)
    yield "lm_head.weight", _with_column(_without_end(_random("head", VOCABULARY, HIDDEN)), _preferences())
    yield "model.norm.weight", _ones(HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", _ones(HIDDEN)
        yield prefix + "post_attention_layernorm.weight", _ones(HIDDEN)
        yield prefix + "self_attn.q_norm.weight", _ones(HEAD_DIM)
        yield prefix + "self_attn.k_norm.weight", _ones(HEAD_DIM)
        for name, rows, columns in (
            ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
            ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ):
            shape, data = _random(f"{layer}.{name}", rows, columns)
            if name in ("self_attn.o_proj", "mlp.down_proj"):
                data = bytes(2 * columns) + data[2 * columns :]
            yield f"{prefix}{name}.weight", (shape, data)


def _preferences() -> list[float]:
    """The output head's first column: how much each token is preferred whatever came before."""
    shares = {ord(letter): share for letter, share in LETTERS.items()} | {END_ID: END_SHARE}
    unwanted = -20.0
    return [(math.log(shares[token]) if token in shares else unwanted) / _CARRIED for token in range(VOCABULARY)]


def _random(name: str, rows: int, columns: int) -> tuple[tuple[int, ...], bytes]:
    """A matrix of values between 1/32 and 1/8, of either sign.

    A bfloat16 is a sign, eight bits of exponent and seven of mantissa: fixing the seven high bits of the exponent
    bounds the value, and the stream gives the rest.
    """
    low = hashlib.shake_128(f"{NAME} {name} low".encode()).digest(rows * columns)
    high = hashlib.shake_128(f"{NAME} {name} high".encode()).digest(rows * columns)
    data = bytearray(2 * rows * columns)
    data[0::2] = low
    data[1::2] = high.translate(bytes(0x3D | (byte & 0x80) for byte in range(256)))
    return (rows, columns), bytes(data)


def _without_end(matrix: tuple[tuple[int, ...], bytes]) -> tuple[tuple[int, ...], bytes]:
    """The output head with nothing random about the end token, so that its share is what END_SHARE says."""
    (rows, columns), data = matrix
    start, end = 2 * columns * END_ID, 2 * columns * (END_ID + 1)
    return (rows, columns), data[:start] + bytes(end - start) + data[end:]


def _with_column(matrix: tuple[tuple[int, ...], bytes], column: list[float]) -> tuple[tuple[int, ...], bytes]:
    (rows, columns), data = matrix
    changed = bytearray(data)
    for row, value in enumerate(column):
        start = 2 * row * columns
        changed[start : start + 2] = _bfloat16(value)
    return (rows, columns), bytes(changed)


def _ones(size: int) -> tuple[tuple[int, ...], bytes]:
    return (size,), _bfloat16(1.0) * size


def _bfloat16(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


def _safetensors(weights: dict[str, tuple[tuple[int, ...], bytes]]) -> bytes:
    """The safetensors file: eight bytes with the header's length, the header as JSON, then the values in its order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, (shape, data) in sorted(weights.items()):
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def _tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer without merges: one token per byte, and the three chat markers."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": PAD_ID + index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in enumerate(SPECIAL_TOKENS)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(_byte_characters())},
            "merges": [],
        },
    }


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies.

    Bytes that print in Latin-1 stand for themselves; the others take the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
