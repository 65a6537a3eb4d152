"""What a host shall serve becomes a plan: its GPUs as measured, its values, and what its engine measured before.

The cache and the engine role ask the same question and get the same answer. The plan that a host runs stays as
long as what it was made from stays: a plan made anew from slightly different free memory, or from the engine's
own measurements, would restart a service that nobody changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from pyinfra.context import host

from ingot.catalog import load_models
from ingot.errors import IngotError
from ingot.facts.engine import EngineLook, EngineState
from ingot.facts.nvidia import Gpus
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use
from ingot.operations.refuse import Refusal
from ingot.sizing import (
    GPU,
    Calibration,
    Hardware,
    HostPlan,
    Model,
    ModelRequest,
    PlanError,
    SizingError,
    Workload,
    plan_host,
    vllm,
)
from ingot.sizing.calibration import load as load_calibrations

PLAN_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it was made from: GPUs' free bytes by UUID, and a digest of everything else."""

    plan: HostPlan
    models: Mapping[str, Model]
    free_bytes: Mapping[str, int | None]
    inputs: str

    @property
    def served(self) -> tuple[Model, ...]:
        """The models that replicas are planned of, each once."""
        return tuple(self.models[name] for name in dict.fromkeys(replica.model for replica in self.plan.replicas))

    def to_dict(self) -> dict[str, Any]:
        """What /var/lib/ingot/plan.json holds; `ingot plan` reads it back."""
        return {
            "schema": PLAN_SCHEMA,
            "inputs": self.inputs,
            "free_bytes": dict(self.free_bytes),
            "plan": self.plan.to_dict(),
        }


def host_plan(state: EngineState | None = None) -> Planned:
    """The plan of the host in context; for operation bodies. `state` spares a look that the caller already has.

    Raises: Refusal with one sentence (no GPU answers, the workload does not fit, a value is wrong).
    """
    data = host.data
    try:
        found = gpus_use.answering(host.get_fact(Gpus), data.gpus_use)
    except IngotError as error:
        raise Refusal(f"{host.name}: {error}.") from error
    if isinstance(found, GpuFault):
        raise Refusal(found.sentence(host.name))
    if state is None:
        state = host.get_fact(EngineLook, probe=False)
    return plan(
        host.name,
        found,
        serve=data.serve,
        site_models=data.site_models,
        version=data.engine_version,
        build=data.engine_build,
        state=state,
    )


def plan(
    name: str,
    gpus: Sequence[GPU],
    *,
    serve: Sequence[Mapping[str, Any]],
    site_models: Mapping[str, Any],
    version: str,
    build: str,
    state: EngineState,
) -> Planned:
    """The stored plan where nothing it was made from has changed, else a new one. Pure.

    Raises: Refusal.
    """
    try:
        models = load_models(site_models)
        asked = requests(name, serve, models)
        profile = vllm(version, "cpu" if build == "cpu" else "cuda")
        inputs = _inputs(gpus, asked, profile.label, build)
        stored = _stored(state.files.get("plan.json"))
        if stored and stored["inputs"] == inputs:
            return Planned(HostPlan.from_dict(stored["plan"]), models, stored["free_bytes"], inputs)
        measured = _unused(gpus, stored, state)
        made = plan_host(Hardware(name, tuple(measured)), asked, engine=profile, calibrations=calibrations(state.files))
    except SizingError as error:
        sentence = str(error)
        raise Refusal(sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}") from error
    return Planned(made, models, {gpu.uuid: gpu.free_bytes for gpu in measured}, inputs)


def requests(name: str, serve: Sequence[Mapping[str, Any]], models: Mapping[str, Model]) -> list[ModelRequest]:
    """The host's `serve` value as requests to the planner. Raises: Refusal."""
    if not serve:
        raise Refusal(
            f"{name}: nothing to serve (`serve` is empty), expected at least one model with context and "
            "concurrency; add it to the host's file or its group's values."
        )
    asked = []
    for entry in serve:
        model = models.get(str(entry["model"]))
        if model is None:
            raise Refusal(
                f"{name}: model {entry['model']!r} is in no catalog, expected one of {', '.join(sorted(models))}; "
                "correct `serve` or describe it in `site_models`."
            )
        asked.append(
            ModelRequest(
                model,
                Workload(entry["context"], entry["concurrency"], entry.get("tokens_per_s")),
                variant=entry.get("variant"),
                replicas=entry.get("replicas"),
                share=bool(entry.get("share")),
            )
        )
    return asked


def _inputs(gpus: Iterable[GPU], asked: Iterable[ModelRequest], engine: str, build: str) -> str:
    """A digest of all that decides a plan, except how much of a GPU happens to be free and past measurements.

    GPUs are named by UUID, since their indices may change at a reboot.
    """
    by_index = {gpu.index: gpu for gpu in gpus}
    decisive = {
        "gpus": sorted(
            (
                gpu.uuid,
                gpu.name,
                gpu.vram_bytes,
                gpu.compute_capability or (),
                sorted(by_index[peer].uuid for peer in gpu.nvlink_peers if peer in by_index),
            )
            for gpu in by_index.values()
        ),
        "asked": [
            (
                request.model.name,
                [(one.name, one.repository, one.revision, one.quantization) for one in request.model.variants],
                astuple(request.workload),
                request.variant,
                request.replicas,
                request.share,
            )
            for request in asked
        ],
        "engine": (engine, build),
    }
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def _stored(written: Any) -> Mapping[str, Any] | None:
    """A stored plan; None when there is none or another version of Ingot wrote it."""
    if not isinstance(written, Mapping) or written.get("schema") != PLAN_SCHEMA:
        return None
    try:
        HostPlan.from_dict(written["plan"])
    except (KeyError, TypeError, PlanError):
        return None
    return written


def _unused(gpus: Iterable[GPU], stored: Mapping[str, Any] | None, state: EngineState) -> list[GPU]:
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
