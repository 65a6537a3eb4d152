"""Text Generation Inference: what its launcher's flags (or the variables of the same names) say.

Source: launcher/src/main.rs of 3.3.7.
"""

from __future__ import annotations

from ingot.errors import IngotError
from ingot.migration.reading import Settings
from ingot.migration.setup import Setup

PROGRAM = "text-generation"
SWITCHES = frozenset({"trust-remote-code", "json-output", "disable-custom-kernels", "disable-grammar-support", "env"})
#: Its own default where no flag says how many requests there may be.
REQUESTS = 128
#: Its --quantize -> a format of the catalog; those that quantize at the start are of none.
FORMATS = {"awq": "awq-int4", "gptq": "gptq-int4", "marlin": "gptq-int4", "fp8": "fp8", "compressed-tensors": None}
#: Flags that a plan decides, or that mean nothing here.
DECIDED = frozenset(
    {
        "cuda-memory-fraction",
        "hostname",
        "max-batch-prefill-tokens",
        "max-batch-size",
        "max-batch-total-tokens",
        "max-waiting-tokens",
        "master-addr",
        "master-port",
        "num-shard",
        "port",
        "prometheus-port",
        "shard-uds-path",
        "sharded",
        "waiting-served-ratio",
        "weights-cache-override",
        "huggingface-hub-cache",
        "usage-stats",
        "json-output",
        "env",
    }
)
READ = frozenset(
    {"model-id", "revision", "max-total-tokens", "max-input-tokens", "max-input-length", "max-concurrent-requests"}
)
READ |= {"quantize", "dtype", "kv-cache-dtype", "trust-remote-code", "lora-adapters", "speculate", "api-key"}


def setup_of(settings: Settings) -> Setup:
    """The setup. Raises: IngotError where no model is named or a number is none."""
    model = settings.get("model-id", "MODEL_ID")
    if not model:
        raise IngotError("the flags of TGI name no model (--model-id, or MODEL_ID): give them all.")
    return Setup(
        model=model,
        context=settings.number("max-total-tokens", "MAX_TOTAL_TOKENS"),
        concurrency=settings.number("max-concurrent-requests", "MAX_CONCURRENT_REQUESTS") or REQUESTS,
        weights=FORMATS.get(settings.get("quantize", "QUANTIZE") or ""),
        repository=None if model.startswith("/") else model,
        differences=tuple(_differences(settings)),
    )


def _differences(settings: Settings) -> list[str]:
    said = [
        "callers: any model name was answered (SDKs send 'tgi'); here the name must be the model's, or it is 404",
        "routes: /generate, /generate_stream, /tokenize, /info and /invocations are closed; /v1/chat/completions "
        "and /v1/completions are open, with a key of a team",
        "requests: TGI let 128 wait or run, or --max-concurrent-requests; concurrency is how many sequences of the "
        "whole context must fit at once, so a lower number may serve as well",
    ]
    quantize = settings.get("quantize", "QUANTIZE")
    if quantize and not FORMATS.get(quantize):
        said.append(f"quantize {quantize}: nothing is quantized at a start here; a variant of the catalog is chosen")
    if "trust-remote-code" in settings.flags or settings.variables.get("TRUST_REMOTE_CODE", "").lower() == "true":
        said.append("trust-remote-code: no code of a repository is run here; a model that needs it is refused")
    revision = settings.get("revision", "REVISION")
    if revision:
        said.append(
            f"revision {revision}: `ingot models lock` pins the newest commit; put this one into the model's entry"
        )
    for flag, words in (
        ("lora-adapters", "adapters: list them under `adapters`, each with repository, revision and rank"),
        ("speculate", "speculate: see `speculation` in docs/models.md"),
        ("kv-cache-dtype", "kv-cache-dtype: the plan chooses the cache's format"),
        ("dtype", "dtype: the checkpoint's own is served"),
        ("api-key", "api-key: that one key is of nobody; make one for each team with `ingot keys`"),
    ):
        if settings.get(flag, flag.upper().replace("-", "_")) is not None:
            said.append(words)
    unknown = sorted(set(settings.flags) - DECIDED - READ)
    if unknown:
        said.append(f"not carried over, look at each: {', '.join(f'--{name}' for name in unknown)}")
    return said
