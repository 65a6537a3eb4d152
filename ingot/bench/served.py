"""What a host serves, as a benchmark needs it: where to ask, what measures it, and what its figures are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ingot.bench.place import Place
from ingot.engines import Service as Replica
from ingot.errors import IngotError
from ingot.facts.engine import EngineState
from ingot.monitoring.collector.plans import digest
from ingot.operations.serving.stored import stored_services
from ingot.sizing import HostPlan, PlanError, ReplicaPlan


@dataclass(frozen=True, slots=True)
class Subject:
    """What figures are of, so that only figures of the same are compared.

    `gpu` is the model of GPU, `gpus` how many of them all replicas have together, `plan` a digest of what the engine is
    told. An address that is benchmarked from outside has nothing but its name, as `plan`.
    """

    model: str
    plan: str
    engine: str = ""
    variant: str = ""
    repository: str = ""
    gpu: str = ""
    gpus: int = 0
    replicas: int = 0

    @property
    def directory(self) -> str:
        """A name for a directory, the same for the same subject."""
        words = (self.engine, f"{self.gpus}x-{self.gpu}" if self.gpus else "", self.plan)
        return _plain("_".join(word for word in words if word))

    def words(self) -> str:
        """The subject in a few words."""
        if not self.gpus:
            return f"{self.model} at {self.plan}"
        return (
            f"{self.model} ({self.variant}) on {self.engine}, {self.replicas} replica{'s' if self.replicas > 1 else ''}"
            f" on {self.gpus} x {self.gpu}"
        )


@dataclass(frozen=True, slots=True)
class Served:
    """One model of one host: what it is, its replicas' addresses, what can run the load, and the plan's estimate."""

    subject: Subject
    addresses: tuple[str, ...]
    place: Place
    estimate: Mapping[str, Any] | None = None


def served(host: str, state: EngineState, model: str | None) -> Served:
    """The model of this name that a host serves, or its only one.

    Raises: IngotError, one sentence naming the host, where there is none, or none that answers with text.
    """
    if not state.docker:
        raise IngotError(f"{host}: Docker does not answer; see `systemctl status docker` there.")
    running = {one.service for one in state.containers if one.status == "running"}
    replicas = [one.service for one in stored_services(state.files).values() if one.service.name in running]
    models = sorted({one.model for one in replicas})
    if not models:
        raise IngotError(f"{host}: no replica runs there, expected a model that is served; deploy it first.")
    if model is None and len(models) > 1:
        raise IngotError(f"{host}: it serves {', '.join(models)}; name one of them with --model.")
    wanted = model or models[0]
    own = [one for one in replicas if one.model == wanted]
    if not own:
        raise IngotError(f"{host}: it serves {', '.join(models)}, not {wanted}; name one of these with --model.")
    if own[0].kind != "generate":
        raise IngotError(f"{host}: {wanted} answers without text ({own[0].kind}); name a model that generates text.")
    planned = _planned(state.files)
    of_model = [one for one in planned.replicas if one.model == wanted] if planned else []
    return Served(
        subject(wanted, planned.engine if planned else "", of_model, len(own)),
        tuple(one.endpoint for one in own),
        place(own),
        asdict(of_model[0].estimate) if of_model and of_model[0].estimate else None,
    )


def place(replicas: Sequence[Replica]) -> Place:
    """What a replica has that the load needs."""
    (mount,) = [one for one in replicas[0].mounts if one.is_model]
    return Place(replicas[0].image, replicas[0].user, mount.source)


def subject(model: str, engine: str, replicas: Sequence[ReplicaPlan], running: int) -> Subject:
    """What the figures of a model are of, by the plan that it runs by; `running` replicas answer."""
    if not replicas:
        return Subject(model, plan="unknown", engine=engine, replicas=running)
    first = replicas[0]
    return Subject(
        model=model,
        # How weights are read decides starts alone.
        plan=digest([replace(one, loading=None).to_dict() for one in replicas]),
        engine=engine,
        variant=first.variant,
        repository=first.repository,
        gpu=first.gpu_name or "GPU",
        gpus=len({uuid for one in replicas for uuid in one.gpu_uuids}),
        replicas=len(replicas),
    )


def _planned(files: Mapping[str, Any]) -> HostPlan | None:
    try:
        return HostPlan.from_dict(files["plan.json"]["plan"])
    except (KeyError, TypeError, AttributeError, PlanError):
        return None


def _plain(text: str) -> str:
    return "".join(one if one.isalnum() or one in "._-" else "-" for one in text)
