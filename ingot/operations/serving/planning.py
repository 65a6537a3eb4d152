"""What a host shall serve becomes a plan: its GPUs as measured, its values, and what its engine measured before.

The cache and the engine role ask the same question and get the same answer. The plan that a host runs stays as
long as what it was made from stays: a plan made anew from slightly different free memory, or from the engine's
own measurements, would restart a service that nobody changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyinfra.context import host

from ingot.catalog import peaks
from ingot.engines import ENGINES, VLLM
from ingot.errors import IngotError
from ingot.facts.driver import Driver
from ingot.facts.engine import EngineLook, EngineState
from ingot.facts.errors import Unread
from ingot.facts.nvidia import Gpus
from ingot.facts.processor import HostProcessor
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_on_bus, gpus_use
from ingot.operations.refuse import Refusal
from ingot.operations.serving.inputs import Inputs, earlier, inputs
from ingot.operations.serving.requests import need_gpu, requests
from ingot.operations.standing import standing
from ingot.settings import Settings, of_host
from ingot.settings.engine import Engine
from ingot.sizing import (
    GPU,
    Alternative,
    Calibration,
    EngineProfile,
    Hardware,
    HostPlan,
    Model,
    ModelRequest,
    PlanError,
    SizingError,
    alternatives,
    kept_loading,
    plan_group,
    plan_host,
    plan_on_gpus,
    plan_on_host,
    vllm,
    with_loading,
)
from ingot.sizing.calibration import load as load_calibrations

PLAN_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it was made from: GPUs' free bytes by UUID, and digests of everything else.

    `because` says in a few words why it is the plan: the stored one is kept, or why there is a new one.
    """

    plan: HostPlan
    models: Mapping[str, Model]
    free_bytes: Mapping[str, int | None]
    inputs: Inputs
    because: str = ""
    asked: tuple[ModelRequest, ...] = ()

    @property
    def served(self) -> tuple[ModelRequest, ...]:
        """The requests that replicas are planned of, each once."""
        names = {replica.model for replica in self.plan.replicas}
        return tuple(request for request in self.asked if request.model.name in names)

    def request_of(self, model: str) -> ModelRequest:
        """What was asked of a model that replicas are planned of."""
        return next(request for request in self.asked if request.model.name == model)

    def to_dict(self) -> dict[str, Any]:
        """What /var/lib/ingot/plan.json holds."""
        return {
            "schema": PLAN_SCHEMA,
            "inputs": dict(self.inputs),
            "free_bytes": dict(self.free_bytes),
            "plan": self.plan.to_dict(),
        }


def host_plan(state: EngineState | None = None) -> Planned:
    """The plan of the host in context; for operation bodies. `state` spares a look that the caller already has.

    Raises: IngotError or SizingError with one sentence (no GPU answers, the workload does not fit).
    """
    return _plan_of(standing(host, Gpus) if needs_gpu() else (), state)


def needs_gpu() -> bool:
    """Whether what the host in context serves needs a GPU, and with it a driver, and containers that get GPUs.

    What cannot be told needs one: whose work that is says what is wrong.
    """
    try:
        return need_gpu(_asked(of_host(host)))
    except (IngotError, SizingError):
        return True


def engines() -> tuple[str, ...]:
    """The engines that serve the host in context, each once; the default where that cannot be told."""
    try:
        return tuple(sorted({request.engine for request in _asked(of_host(host))}))
    except (IngotError, SizingError):
        return (VLLM.name,)


def _asked(values: Settings) -> tuple[ModelRequest, ...]:
    """What the host in context is asked for; where `auto` looks at its GPUs, by what is on its PCI bus."""
    if all(one.engine != "auto" for one in values.serve):
        return requests(values)
    seen = standing(host, Driver)
    return requests(values, has_gpu=isinstance(seen, Unread) or bool(seen.state.bus.gpus))


def _hardware(found: Sequence[GPU], asked: Sequence[ModelRequest]) -> Hardware:
    """These GPUs, and the host's memory and processor, which are looked at where something is served by them."""
    if all(ENGINES[one.engine].needs_gpu for one in asked):
        return Hardware(host.name, tuple(found))
    own = standing(host, HostProcessor)
    return Hardware(host.name, tuple(found), own.memory_bytes, own)


def _plan_of(reported: Sequence[GPU] | GpuFault, state: EngineState | None = None) -> Planned:
    values = of_host(host)
    asked = _asked(values)
    found = gpus_use.answering(reported, values.gpus_use) if need_gpu(asked) else ()
    if isinstance(found, GpuFault):
        raise Refusal(found.sentence(host.name))
    if state is None:
        state = standing(host, EngineLook, probe=False)
    return plan(_hardware(found, asked), asked, profile(values), state)


def expected_plan() -> Planned | None:
    """The plan as the host will have it once its driver runs, of the GPUs that its PCI bus promises until then.

    None where that cannot be told yet, or where nothing can be served.
    """
    values = of_host(host)
    try:
        asked = _asked(values)
        if not need_gpu(asked):
            return _plan_of(())
        reported = standing(host, Gpus)
        if not isinstance(reported, GpuFault):
            return _plan_of(reported)
        seen = standing(host, Driver)
        if isinstance(seen, Unread):
            return None
        found = gpus_on_bus.usable(seen.gpus, seen.state.bus, values.gpus_use)
        state = standing(host, EngineLook, probe=False)
        return plan(_hardware(found, asked), asked, profile(values), state)
    except (IngotError, SizingError):
        return None


def profile(values: Engine) -> EngineProfile:
    """The engine's arithmetic, by the values of a host."""
    return vllm(values.engine_version, values.engine_build)


def plan(hardware: Hardware, asked: Sequence[ModelRequest], engine: EngineProfile, state: EngineState) -> Planned:
    """The one way to a plan: the stored one where nothing it was made from has changed, else a new one. Pure.

    `state` is what is stored on the host, and which GPUs its engine holds now.

    Raises: SizingError; of these DoesNotFit where no plan exists.
    """
    models = {request.model.name: request.model for request in asked}
    made_from = inputs(hardware.gpus, asked, engine, peaks())
    stored = _stored(state.files.get("plan.json"))
    changed = _changed(stored, made_from, earlier(hardware.gpus, asked, engine))
    if stored and not changed:
        kept = HostPlan.from_dict(stored["plan"])
        words = "kept as deployed: GPUs, models and engine are those that it was made from"
        return Planned(kept, models, stored["free_bytes"], made_from, words, tuple(asked))
    gpus = unused(hardware.gpus, stored, state)
    made = _made(replace(hardware, gpus=tuple(gpus)), asked, engine, calibrations(state.files))
    files = {(one.name, each.name): each.checkpoint_bytes or 0 for one in models.values() for each in one.variants}
    made = with_loading(made, files, state.free_memory_bytes, hardware, engine)
    # Another engine starts anew in any case.
    if stored and "engine" not in changed:
        made = kept_loading(made, HostPlan.from_dict(stored["plan"]))
    because = f"new: {' and '.join(changed)} changed since the last deploy" if stored else "new: none is stored there"
    return Planned(made, models, {gpu.uuid: gpu.free_bytes for gpu in gpus}, made_from, because, tuple(asked))


def _made(
    hardware: Hardware, asked: Sequence[ModelRequest], engine: EngineProfile, measured: Sequence[Calibration]
) -> HostPlan:
    """A new plan: vLLM has the GPUs that other engines leave, what needs none is in the host's memory.

    Raises: SizingError.
    """
    by_vllm = [one for one in asked if one.engine == VLLM.name]
    if by_vllm and by_vllm[0].hosts:
        return plan_group(hardware, by_vllm[0], engine=engine)
    others = [one for one in asked if one.engine != VLLM.name]
    on_host = [one for one in others if not ENGINES[one.engine].needs_gpu]
    beside = plan_on_gpus(hardware, [one for one in others if ENGINES[one.engine].needs_gpu])
    taken = {uuid for one in beside for uuid in one.gpu_uuids}
    if on_host:
        beside += plan_on_host(hardware.host, hardware.host_memory_bytes or 0, on_host, hardware.processor)
    if others and not by_vllm:
        return HostPlan(hardware.host, others[0].engine, beside)
    left = replace(hardware, gpus=tuple(gpu for gpu in hardware.gpus if gpu.uuid not in taken))
    made = plan_host(left, by_vllm, engine=engine, calibrations=measured, peaks=peaks())
    return replace(made, replicas=(*made.replicas, *beside))


def others(
    hardware: Hardware, asked: Sequence[ModelRequest], engine: EngineProfile, state: EngineState
) -> tuple[Alternative, ...]:
    """The next best ways to serve the same, as if it were planned anew. Raises what `plan` raises.

    None where another engine than vLLM serves something, or several hosts together, which is planned in one way.
    """
    if not all(one.engine == VLLM.name and not one.hosts for one in asked):
        return ()
    gpus = unused(hardware.gpus, _stored(state.files.get("plan.json")), state)
    measured = calibrations(state.files)
    free = replace(hardware, gpus=tuple(gpus))
    return alternatives(free, asked, engine=engine, calibrations=measured, peaks=peaks())


def _changed(stored: Mapping[str, Any] | None, now: Inputs, before: str | None) -> tuple[str, ...]:
    """The parts of what a stored plan was made from that are others now."""
    if stored is None:
        return ()
    then = stored["inputs"]
    if isinstance(then, Mapping):
        return tuple(name for name in {**now, **then} if now.get(name) != then.get(name))
    return () if then == before else ("something",)


def _stored(written: Any) -> Mapping[str, Any] | None:
    """A stored plan; None when there is none or another version of Ingot wrote it."""
    if not isinstance(written, Mapping) or written.get("schema") != PLAN_SCHEMA:
        return None
    try:
        HostPlan.from_dict(written["plan"])
        free = written["free_bytes"]
        return written if isinstance(free, Mapping) and "inputs" in written else None
    except (KeyError, TypeError, PlanError):
        return None


def unused(gpus: Iterable[GPU], stored: Mapping[str, Any] | None, state: EngineState) -> list[GPU]:
    """The GPUs as if this host's engine were not running: what it holds now is what it will be given again."""
    ours = {device.partition("=")[2] for one in state.containers if one.status == "running" for device in one.devices}
    free = stored["free_bytes"] if stored else {}
    return [replace(gpu, free_bytes=free.get(gpu.uuid)) if gpu.uuid in ours else gpu for gpu in gpus]


def calibrations(files: Mapping[str, Any]) -> tuple[Calibration, ...]:
    """What the host's engine measured before; nothing where another version of Ingot wrote it."""
    stored = files.get("measured.json")
    try:
        return load_calibrations(stored) if isinstance(stored, Mapping) else ()
    except PlanError:
        return ()
