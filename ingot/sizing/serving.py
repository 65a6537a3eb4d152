"""How a model is served beside its size: what it is for, and what its engine must be told for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

#: What callers do with a model: text and tools, vectors, an order of documents, a text from speech.
Kind = Literal["generate", "embed", "rerank", "transcribe"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Yarn:
    """Rope scaling by YaRN, as a model's card promises it: `original` tokens times `factor`.

    `theta` is the config's rope_theta, which the engine needs repeated. Only used where the workload's context is
    beyond the config's own, since short prompts suffer under it.
    """

    factor: float
    original: int
    theta: float

    @property
    def context(self) -> int:
        """The longest context that it reaches, in tokens."""
        return int(self.original * self.factor)


@dataclass(frozen=True, slots=True)
class Speculation:
    """Tokens that are drafted ahead and then checked by the model.

    `method` is the engine's name (mtp, eagle3, ngram, draft_model). `repository` and `revision` name the draft's
    weights where they are not part of the checkpoint; `lookup` is the longest n-gram that is looked up in the prompt.
    """

    method: str
    tokens: int
    repository: str | None = None
    revision: str | None = None
    lookup: int | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter, which callers ask for by a name of its own; `rank` is the r of its adapter_config.json."""

    name: str
    repository: str
    revision: str | None
    rank: int


@dataclass(frozen=True, slots=True)
class EngineArguments:
    """What an engine is told about a model beside sizes, in the engine's own names; None is not said.

    `chat_template` is a file of ingot/engines/templates or an absolute path on the control machine.
    `chat_template_kwargs` are defaults that a request's own win over. `limit_mm_per_prompt` counts items by modality;
    `language_model_only` leaves the towers of other modalities out. `hf_overrides` replaces keys of config.json.
    `engine_args` is the rest: names without dashes, values as JSON (true for a switch).
    """

    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    content_format: str | None = None
    tokenizer_mode: str | None = None
    limit_mm_per_prompt: Mapping[str, int] = field(default_factory=dict)
    language_model_only: bool = False
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    engine_args: Mapping[str, Any] = field(default_factory=dict)
