"""What every engine is asked: one planned replica in, one service out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ingot.engines.service import Service
from ingot.sizing import Adapter, EngineArguments, Kind, ReplicaPlan, Speculation, Yarn


@dataclass(frozen=True, slots=True)
class Replica:
    """A planned replica with its place on the host: service name, address, directories, bytes of weights.

    `kind` is what it is for, `arguments` what its engine is told about the model; `template` is the text of the chat
    template that they name. `width` is how many numbers an embedding has. `yarn` extends its context where the plan
    is longer than `native_context`. `draft_directory` holds the weights of a draft, where `speculation` has any of its
    own; `adapters` lie in directories of the host.
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


class Engine:
    """An engine: a subclass in a file of its own, known by its `name` as soon as that file is imported."""

    name: ClassVar[str]
    builds: ClassVar[tuple[str, ...]]
    known: ClassVar[dict[str, type[Engine]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Engine.known[cls.name] = cls

    @staticmethod
    def service(replica: Replica, values: Values) -> Service:
        """The container of one replica."""
        raise NotImplementedError
