"""What every engine is asked, and what it says of itself: everything that differs between engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ingot.engines.observed import Observed
from ingot.engines.rates import Rates
from ingot.engines.service import Service
from ingot.sizing import Adapter, EngineArguments, Kind, ReplicaPlan, Speculation, Yarn

#: What an engine reads: a directory of a hub's layout, one GGUF file, or such a file by a store of its own.
ModelForm = Literal["directory", "gguf", "store"]


@dataclass(frozen=True, slots=True)
class Weights:
    """The one file of a model as it was verified on the host: its name, its size, its SHA-256 in hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Store:
    """What an engine finds a model by, beside its weights: directories, texts and targets of links, by path."""

    directories: tuple[str, ...]
    files: Mapping[str, str]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Replica:
    """A planned replica with its place on the host: service name, address, directories, bytes of weights.

    `kind` is what it is for, `arguments` what its engine is told about the model; `template` is the text of the chat
    template that they name. `width` is how many numbers an embedding has. `yarn` extends its context where the plan
    is longer than `native_context`. `draft_directory` holds the weights of a draft, where `speculation` has any of its
    own; `adapters` lie in directories of the host. `file` is the GGUF file within the model's directory, where the
    engine reads one. `aliases` are other names that callers ask for the model by. Below `store_directory` an engine has
    its store, if it wants one.
    """

    plan: ReplicaPlan
    name: str
    served_name: str
    address: str
    model_directory: str
    cache_directory: str
    weight_bytes: int
    kind: Kind = "generate"
    arguments: EngineArguments = field(default_factory=EngineArguments)
    template: str | None = None
    width: int | None = None
    native_context: int | None = None
    yarn: Yarn | None = None
    speculation: Speculation | None = None
    draft_directory: str | None = None
    adapters: tuple[tuple[Adapter, str], ...] = ()
    file: str | None = None
    aliases: tuple[str, ...] = ()
    store_directory: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """What group_data and the host file say about the engine; `image` is immutable (a digest or an id).

    `disk_bytes_per_s` is what the host's disk was measured with; None where nobody did.
    """

    image: str
    build: str
    port: int
    shm_bytes: int
    pids: int
    stop_grace_s: int
    cpu_kv_cache_bytes: int
    ulimits: Mapping[str, int] = field(default_factory=dict)
    extra_args: tuple[str, ...] = ()
    extra_env: Mapping[str, str] = field(default_factory=dict)
    disk_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, in a file of its own: what the rest of Ingot must know of it, and nothing of it is known elsewhere.

    + name: what `serve` calls it, `title` what people do
    + builds: its builds; the first is the one for production
    + model_form: what it reads
    + kinds: what its models may be for
    + needs_gpu: it is started with GPUs of its own
    + drains: it lets running requests end when it is told to stop; else the gateway waits for them first
    + accounts: it writes down what each request used; else the gateway reads that from its answers
    + checks_names: it refuses a model that is not its own; else the gateway does
    + frees_unstreamed: it stops an answer that is not streamed when its caller hangs up
    + gathered: the gateway asks it for a stream instead, and gathers the answer, since it would not stop
    + warm_up: a start may be warmed up with the longest prompt that its accounts know
    + minimum: the oldest version without a known hole, and which hole that closes
    + log_lines: a grep -E expression for the lines of its log that `observe` reads
    + observe: reads log lines and the text of its metrics
    + service: one replica's container
    + rates: reads how fast one request was from its answer; None: its answers do not say
    + warning: what each deploy says of it; None: nothing
    + store: what a service's store holds for its weights; None: it has none
    + unnameable: what is wrong with a name that it cannot know a model by; None: it takes every name
    """

    name: str
    title: str
    builds: tuple[str, ...]
    model_form: ModelForm
    kinds: frozenset[Kind]
    needs_gpu: bool
    drains: bool
    accounts: bool
    checks_names: bool
    frees_unstreamed: bool
    warm_up: bool
    minimum: tuple[str, str] | None
    log_lines: str
    observe: Callable[[Iterable[str], Iterable[str]], Observed]
    service: Callable[[Replica, Values], Service]
    rates: Callable[[str], Rates | None] | None = None
    gathered: bool = False
    warning: str | None = None
    store: Callable[[Service, Weights], Store] | None = None
    unnameable: Callable[[str], str | None] | None = None

    @property
    def reads_gguf(self) -> bool:
        """Whether its models are GGUF files."""
        return self.model_form != "directory"
