"""A small Qwen3 that answers in random letters, one token per character: streams arrive in many readable pieces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, letters, qwen3, weights
from ingot.sandbox.tiny_models.qwen3 import END_ID, HIDDEN, MARKS, PAD_ID, SPECIAL_TOKENS, VOCABULARY
from ingot.sandbox.tiny_models.tokenizer import byte_level
from ingot.sandbox.tiny_models.weights import Tensor

NAME = "tiny-qwen3"

#: In percent: it makes a sampled answer about 2000 characters long when nothing else stops it, which is seconds.
END_SHARE = 0.05

# As Qwen3's: tools are told first, calls stand between marks, and thinking is over at once where it is not wanted.
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>\\n' + (call['function'] | tojson) + '\\n</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)

CONFIG: dict[str, Any] = {**qwen3.CONFIG, "architectures": ["Qwen3ForCausalLM"]}

# What is left of the carrier after the layers and the last norm, measured: a preference divided by it is a log
# probability.
_CARRIED = 1.8


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-qwen3/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of every file of the model, by its path in the model directory, without the manifest."""
    return {
        "config.json": directory.as_json(CONFIG),
        "generation_config.json": directory.as_json(
            {"bos_token_id": PAD_ID, "do_sample": True, "eos_token_id": END_ID, "pad_token_id": PAD_ID}
        ),
        "model.safetensors": weights.safetensors(dict(tensors())),
        "tokenizer.json": directory.as_json(byte_level(SPECIAL_TOKENS, MARKS)),
        "tokenizer_config.json": directory.as_json({"chat_template": CHAT_TEMPLATE, **qwen3.TOKENIZER}),
    }


def tensors() -> Iterator[tuple[str, Tensor]]:
    """Every weight of the model: its name and its values."""
    yield from qwen3.body(NAME)
    head = _without_end(weights.random(f"{NAME} head", VOCABULARY, HIDDEN))
    yield "lm_head.weight", weights.with_column(head, letters.preferences(VOCABULARY, END_ID, END_SHARE, _CARRIED))


def _without_end(matrix: Tensor) -> Tensor:
    """The output head with nothing random about the end token, so that its share is what END_SHARE says."""
    (rows, columns), data = matrix
    start, end = 2 * columns * END_ID, 2 * columns * (END_ID + 1)
    return (rows, columns), data[:start] + bytes(end - start) + data[end:]
