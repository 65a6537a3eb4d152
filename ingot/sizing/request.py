"""What a host shall serve: models, their variants, and the workload that must fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, get_args

from ingot.sizing.architecture import Architecture
from ingot.sizing.checkpoint import Checkpoint
from ingot.sizing.errors import WorkloadError
from ingot.sizing.serving import Adapter, EngineArguments, Kind, Speculation, Yarn

#: What a plan is made for; the first is the default.
Goal = Literal["throughput", "latency"]
GOALS: tuple[Goal, ...] = get_args(Goal)


@dataclass(frozen=True, slots=True)
class Workload:
    """What a host must hold at once, over all replicas: `concurrency` sequences of `context` tokens (prompt and answer
    together)."""

    context: int
    concurrency: int
    tokens_per_second: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("context", self.context), ("concurrency", self.concurrency)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise WorkloadError(f"The workload's {name} is {value!r}, expected a whole number of at least 1.")
        if self.tokens_per_second is not None and not self.tokens_per_second > 0:
            raise WorkloadError(
                f"The workload's tokens_per_second is {self.tokens_per_second!r}, expected more than zero."
            )


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of weights of a model.

    `repository` is a hub repository or, for a site's own model, the directory it is pushed from. `revision` is a
    commit; None says that it is not pinned yet. `quantization` is a key of `ingot.sizing.quantization.SCHEMES`.
    `checkpoint_bytes` is the size of the weight files where it is known, `checkpoint` their headers where the files
    are there. `quality` orders the variants of a model, higher is better. `verified` is False where the catalog could
    not check the repository and its shapes against a published source. `file` is the one GGUF file that holds it, in
    its repository; None: safetensors.
    """

    name: str
    repository: str
    revision: str | None
    quantization: str
    architecture: Architecture
    quality: int = 0
    checkpoint_bytes: int | None = None
    min_capability: tuple[int, int] | None = None
    checkpoint: Checkpoint | None = None
    gated: bool = False
    verified: bool = True
    file: str | None = None

    def __hash__(self) -> int:
        return hash((self.name, self.repository, self.quantization))

    @property
    def directory(self) -> PurePosixPath:
        """Where the variant lies below a cache root and its model's name."""
        return PurePosixPath(self.name) / (self.revision or "unpinned")


@dataclass(frozen=True, slots=True)
class Model:
    """What users ask for by name; `variants` are sorted from the best quality down.

    `yarn` is the context extension that the model's card promises, `speculation` the draft that its makers recommend:
    both are there to be asked for and are never a default. `shapes` says by what its shapes were confirmed; None: they
    were written from memory.
    """

    name: str
    variants: tuple[Variant, ...]
    title: str = ""
    license: str = ""
    kind: Kind = "generate"
    arguments: EngineArguments = field(default_factory=EngineArguments)
    yarn: Yarn | None = None
    speculation: Speculation | None = None
    shapes: str | None = None

    def __hash__(self) -> int:
        return hash(self.name)

    def longest(self, variant: Variant) -> int | None:
        """The longest context that a variant can be served with, by YaRN where the card promises it; None: not said."""
        native = variant.architecture.max_model_len
        return native if native is None or self.yarn is None else max(native, self.yarn.context)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model that a host shall serve.

    `variant` fixes a set of weights; otherwise the best that fits is taken. `replicas` is how many are wanted, as far
    as they fit (None: as many as serve best). `goal` says what serves best: the most tokens/s at the asked concurrency,
    or the shortest time of one request that comes alone. `kv_cache_dtype` fixes the cache's number format. `share`
    allows replicas of other requests on the same GPU. `arguments` are the model's own with the host's over them.
    `speculation` drafts tokens ahead, `adapters` are served beside the model, each by its own name. `kv_offload_gib` of
    the host's memory keep, for each replica, blocks that its cache drops. `engine` is what serves it. `hosts` serve one
    replica together, a pipeline stage each, the first being its head; empty: this host alone.
    """

    model: Model
    workload: Workload
    variant: str | None = None
    replicas: int | None = None
    kv_cache_dtype: str | None = None
    share: bool = False
    arguments: EngineArguments = field(default_factory=EngineArguments)
    speculation: Speculation | None = None
    adapters: tuple[Adapter, ...] = ()
    goal: Goal = "throughput"
    kv_offload_gib: float | None = None
    engine: str = "vllm"
    hosts: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash((self.model.name, self.workload.context, self.workload.concurrency, self.variant))

    def per_replica(self, replicas: int) -> int:
        """Sequences that each of so many replicas must hold."""
        return -(-self.workload.concurrency // replicas)

    @property
    def most_replicas(self) -> int:
        """Replicas beyond which none is wanted, or none has a sequence; sharing GPUs are not filled with copies."""
        return self.replicas or (1 if self.share else self.workload.concurrency)

    @property
    def sees(self) -> bool:
        """Whether the towers of other modalities than text are built: a limit of zero for each leaves them out."""
        limits = self.arguments.limit_mm_per_prompt
        return not self.arguments.language_model_only and not (limits and not any(limits.values()))
