"""What a model needs beside sizes, as vLLM's command line (names as of vLLM 0.32, `engine/arg_utils.py`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ingot.engines.engine import Replica
from ingot.sizing.adapters import slot_rank

#: In the container: chat templates, a draft's weights, adapters.
TEMPLATES = "/ingot/templates"
DRAFT = "/draft"
ADAPTERS = "/adapters"


def words(replica: Replica) -> Iterator[str]:
    """The command line of a replica's kind, model, draft and adapters."""
    for name, value in _flags(replica).items():
        yield from _word(name, value)


def template_file(text: str) -> str:
    """The file name of a chat template: another text is another file, so that what runs keeps its own."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jinja"


def _flags(replica: Replica) -> dict[str, Any]:
    said, flags = replica.arguments, dict[str, Any]()
    if replica.kind in ("embed", "rerank"):
        flags["runner"] = "pooling"
    if said.tool_call_parser:
        # Neither goes without the other.
        flags |= {"enable-auto-tool-choice": True, "tool-call-parser": said.tool_call_parser}
    if said.reasoning_parser:
        flags["reasoning-parser"] = said.reasoning_parser
    if replica.template is not None:
        flags["chat-template"] = f"{TEMPLATES}/{template_file(replica.template)}"
    if said.chat_template_kwargs:
        flags["default-chat-template-kwargs"] = dict(said.chat_template_kwargs)
    if said.content_format:
        flags["chat-template-content-format"] = said.content_format
    if said.tokenizer_mode:
        flags["tokenizer-mode"] = said.tokenizer_mode
    if said.language_model_only:
        flags["language-model-only"] = True
    elif said.limit_mm_per_prompt:
        flags["limit-mm-per-prompt"] = dict(said.limit_mm_per_prompt)
    overrides = {**said.hf_overrides, **_longer(replica)}
    if overrides:
        flags["hf-overrides"] = overrides
    if replica.speculation:
        flags["speculative-config"] = _drafted(replica)
    if replica.plan.kv_offload_gib:
        flags["kv-offloading-size"] = replica.plan.kv_offload_gib
    if replica.adapters:
        rank = max(adapter.rank for adapter, _ in replica.adapters)
        flags |= {
            "enable-lora": True,
            "max-loras": len(replica.adapters),
            "max-lora-rank": slot_rank(rank),
            "lora-modules": [f"{adapter.name}={ADAPTERS}/{adapter.name}" for adapter, _ in replica.adapters],
        }
    return {**flags, **said.engine_args}


def _longer(replica: Replica) -> dict[str, Any]:
    """The config's keys for a context that only YaRN reaches; the engine takes the length as already extended."""
    yarn, native = replica.yarn, replica.native_context
    if yarn is None or native is None or replica.plan.max_model_len <= native:
        return {}
    return {
        "max_position_embeddings": yarn.context,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": yarn.theta,
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original,
        },
    }


def _drafted(replica: Replica) -> dict[str, Any]:
    speculation = replica.speculation
    assert speculation is not None
    drafted: dict[str, Any] = {"method": speculation.method, "num_speculative_tokens": speculation.tokens}
    if speculation.lookup:
        drafted["prompt_lookup_max"] = speculation.lookup
    if replica.draft_directory:
        drafted["model"] = DRAFT
    return drafted


def _word(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (f"--{name}" if value else f"--no-{name}",)
    if isinstance(value, Mapping):
        return (f"--{name}", json.dumps(value, sort_keys=True))
    if isinstance(value, list | tuple):
        return (f"--{name}", *map(str, value))
    return (f"--{name}", str(value))
