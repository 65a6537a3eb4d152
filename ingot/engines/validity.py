"""Whether a model's arguments are names that the pinned engine knows, said before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingot.engines.registry import Registry, nearest
from ingot.sizing import Architecture, EngineArguments, Kind, Speculation

#: What Ingot itself decides: the plan, the gateway's rules, and arguments that have a key of their own.
OURS = frozenset(
    {
        *("host", "port", "uds", "root-path", "served-model-name", "model", "middleware", "shutdown-timeout"),
        *("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "kv-cache-memory-bytes"),
        *("device-memory-utilization", "num-gpu-blocks-override", "kv-cache-dtype", "dtype", "load-format"),
        *("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "enable-expert-parallel"),
        *("enforce-eager", "disable-fastapi-docs", "disable-uvicorn-access-log", "enable-log-requests", "runner"),
        *("tool-call-parser", "enable-auto-tool-choice", "reasoning-parser", "chat-template", "tokenizer-mode"),
        *("default-chat-template-kwargs", "chat-template-content-format", "limit-mm-per-prompt", "language-model-only"),
        *("hf-overrides", "speculative-config", "enable-lora", "lora-modules", "max-lora-rank", "max-loras"),
    }
)
#: What would run foreign code, fetch from outside, or open the engine to others than the gateway.
SHUT = frozenset(
    {
        *("trust-remote-code", "tool-parser-plugin", "reasoning-parser-plugin", "logits-processors", "api-key"),
        *("io-processor-plugin", "worker-cls", "worker-extension-cls", "scheduler-cls", "hf-token", "code-revision"),
        *("model-class-overrides", "allowed-local-media-path", "download-dir", "tokenizer", "hf-config-path"),
        *("enable-log-outputs", "enable-sleep-mode", "kv-transfer-config", "tool-server"),
    }
)


#: What vLLM makes of a class that it has as another one (`config/model.py`, _SUFFIX_TO_DEFAULTS): a head is put on.
ADAPTED = ("ForSequenceClassification", "ForTokenClassification", "EmbeddingModel", "RewardModel", "Model")
BASES = ("ForCausalLM", "ForConditionalGeneration")


def is_served(architecture: str, known: Registry) -> bool:
    """Whether the engine has a class, or one of the same body with another head."""
    every = known.every_architecture
    if architecture in every:
        return True
    bodies = (architecture.removesuffix(suffix) for suffix in ADAPTED if architecture.endswith(suffix))
    return any(f"{body}{base}" in every for body in bodies for base in BASES)


def problems(
    arguments: EngineArguments,
    speculation: Speculation | None,
    architectures: Iterable[Architecture],
    kind: Kind,
    known: Registry,
) -> Iterator[str]:
    """What the engine would refuse, one clause each with what is nearest; nothing where all is well."""
    named = (
        ("tool_call_parser", arguments.tool_call_parser, known.tool_parsers),
        ("reasoning_parser", arguments.reasoning_parser, known.reasoning_parsers),
        ("tokenizer_mode", arguments.tokenizer_mode, known.tokenizer_modes),
        ("speculative method", speculation.method if speculation else None, known.speculative_methods),
    )
    for key, value, names in named:
        if value is not None and value not in names:
            yield f"{key} {value!r} is not one of {known.engine} {known.version}, nearest: {nearest(value, names)}"
    for name in {one.name for one in architectures}:
        if not is_served(name, known):
            yield (
                f"architecture {name!r} is served by no class of {known.engine} {known.version}, "
                f"nearest: {nearest(name, known.every_architecture)}"
            )
    for name in arguments.engine_args:
        if name in OURS:
            yield f"engine_args names {name!r}, which Ingot decides; use the value or the key that it has here"
        elif name.removeprefix("no-") in SHUT:
            yield f"engine_args names {name!r}, which stays shut: it would run foreign code or open the engine"
        elif name.removeprefix("no-") not in known.arguments:
            yield (
                f"engine_args names {name!r}, which {known.engine} {known.version} does not know, "
                f"nearest: {nearest(name, known.arguments)}"
            )
    if kind != "generate":
        for key in ("tool_call_parser", "reasoning_parser"):
            if getattr(arguments, key) is not None:
                yield f"{key} is given for a model of kind {kind}, which writes no text; leave it out"
        if speculation is not None:
            yield f"speculative decoding is asked for a model of kind {kind}, which writes no text; leave it out"
