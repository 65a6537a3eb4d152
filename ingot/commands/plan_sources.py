"""What `ingot plan` plans for: models by name or directory, GPUs by name, recorded outputs, or live hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ingot.catalog import hardware_from_name, load_models
from ingot.commands.plan_driver import DriverAnswer, answer, by_name
from ingot.compat import DriverRequest
from ingot.compat.images import vllm_image
from ingot.errors import IngotError
from ingot.settings import of_host
from ingot.sizing import (
    Calibration,
    EngineProfile,
    Hardware,
    Model,
    ModelRequest,
    SizingError,
    Variant,
    Workload,
    architecture_from_config,
    vllm,
)
from ingot.sizing.calibration import load as load_measured
from ingot.sizing.checkpoint import read_checkpoint
from ingot.sizing.quantization import SCHEMES, scheme_of_config

DEFAULT_CONTEXT = 8192
DEFAULT_CONCURRENCY = 8
ENGINE_VERSION = "0.32.0"


@dataclass(frozen=True)
class Asked:
    """One host with what it has, what it shall serve, and what its engine measured before."""

    hardware: Hardware
    requests: tuple[ModelRequest, ...]
    engine: EngineProfile
    measured: tuple[Calibration, ...] = ()
    driver: DriverAnswer | None = None


def wanted_model(
    model: str | None, config: Path | None, variant: str | None, context: int | None, concurrency: int | None
) -> ModelRequest | None:
    """The request of the command line, if it names a model. Raises: IngotError."""
    if model and config:
        raise click.UsageError("give --model or --config, not both")
    if not model and not config:
        return None
    try:
        chosen = _from_directory(config) if config else _from_catalog(str(model), load_models())
        longest = max((one.architecture.max_model_len or 0 for one in chosen.variants), default=0)
        length = context if context is not None else min(DEFAULT_CONTEXT, longest or DEFAULT_CONTEXT)
        sequences = concurrency if concurrency is not None else DEFAULT_CONCURRENCY
        return ModelRequest(chosen, Workload(length, sequences), variant=variant)
    except SizingError as error:
        raise IngotError(str(error)) from error


def _from_catalog(name: str, models: Mapping[str, Model]) -> Model:
    if name not in models:
        raise IngotError(
            f"{name!r} is no model of the catalog, expected one of {', '.join(sorted(models))}; correct the name or "
            "pass --config with the model's directory."
        )
    return models[name]


def _from_directory(directory: Path) -> Model:
    """A model described by the files of its repository: config.json, and safetensors headers where there are any."""
    file = directory / "config.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IngotError(f"{file}: cannot be read ({error}); pass a directory with the model's config.json.") from error
    architecture = architecture_from_config(stored)
    scheme, _ = scheme_of_config(stored)
    checkpoint = read_checkpoint(directory)
    if checkpoint is not None:
        checkpoint.check(architecture, scheme)
    name = directory.resolve().name
    described = Variant(
        name=scheme if scheme != "none" else architecture.dtype,
        repository=name,
        revision="local",
        quantization=scheme,
        architecture=architecture,
        quality=SCHEMES[scheme].quality,
        checkpoint_bytes=checkpoint.total if checkpoint else None,
        min_capability=SCHEMES[scheme].min_capability,
        checkpoint=checkpoint,
    )
    return Model(name, (described,))


def _served(host: str, data: Any, wanted: ModelRequest | None) -> tuple[ModelRequest, ...]:
    """What a host's values ask for, unless the command line names a model."""
    if wanted is not None:
        return (wanted,)
    models = load_models(data.get("site_models") or {})
    serve = data.get("serve") or []
    if not serve:
        raise IngotError(f"{host}: nothing to serve, expected `serve` in its host file; add it or pass --model.")
    return tuple(
        ModelRequest(
            _from_catalog(str(entry["model"]), models),
            Workload(entry["context"], entry["concurrency"], entry.get("tokens_per_s")),
            variant=entry.get("variant"),
            replicas=entry.get("replicas"),
            share=bool(entry.get("share")),
        )
        for entry in serve
    )


# --- what there is


def named(gpu: str) -> Hardware:
    """What a name such as rtx4090x2 stands for. Raises: IngotError."""
    try:
        return hardware_from_name(gpu)
    except SizingError as error:
        raise IngotError(str(error)) from error


def by_gpu(gpu: str) -> tuple[Hardware, DriverAnswer | None]:
    """What a name such as rtx4090x2 stands for, and its driver. Raises: IngotError."""
    hardware = named(gpu)
    return hardware, by_name(hardware, version=ENGINE_VERSION)


def recorded(paths: Sequence[Path]) -> tuple[Hardware, DriverAnswer | None]:
    """The GPUs in recorded outputs of one host (`ingot probe --record`, or nvidia-smi's own), and their driver."""
    from ingot.facts.driver import Driver, DriverLook
    from ingot.facts.errors import ParseError
    from ingot.facts.nvidia import assemble
    from ingot.facts.replay import read, text_of

    parsed: dict[str, Any] = {}
    for path in paths:
        try:
            text = text_of(path.read_bytes())
            reading = read(text)
        except OSError as error:
            raise IngotError(f"{path}: cannot be read ({error.strerror or error}); name a recorded file.") from None
        except ParseError as error:
            raise IngotError(f"{path}: {error}") from None
        if reading.kind == "probe":
            look = Driver().process(text.splitlines())
            if not isinstance(look, DriverLook):
                raise IngotError(f"{path}: {look.why}")
            request = DriverRequest(image=vllm_image(f"vllm/vllm-openai:v{ENGINE_VERSION}", ENGINE_VERSION))
            return Hardware(path.stem, look.gpus.gpus), answer(path.stem, look.state.machine(), request)
        parsed[reading.kind] = reading.parsed
    log, query = parsed.get("xml"), parsed.get("query")
    rows = query.rows if query else [gpu.row for gpu in log.gpus] if log else []
    gpus, _ = assemble(rows, parsed.get("topology", {}), parsed.get("list", ()), log, parsed.get("memory"))
    hardware = Hardware(paths[0].stem, gpus)
    return hardware, by_name(hardware, version=ENGINE_VERSION)


def hosts_of(
    inventory: Path | None,
    names: Sequence[str],
    wanted: ModelRequest | None,
    *,
    refuse: Callable[[str], None],
    offline: bool,
) -> Iterable[Asked]:
    """Every host of an inventory, looked at over SSH at once unless `offline`; what fails for one stops no other."""
    from ingot.inventory.fleet import at_once, selected
    from ingot.operations.gateway.fronting import is_front

    def asked(host: Any) -> Asked | str:
        try:
            return _asked(chosen.state, host, host.name, wanted, offline=offline)
        except (SizingError, IngotError) as error:
            return with_host(host.name, str(error))

    chosen = selected(inventory, names)
    # Hosts that only front others have nothing to plan.
    serving = [host for host in chosen.hosts if not is_front(host)]
    for one in at_once(chosen.state, serving, asked):
        if isinstance(one, str):
            refuse(one)
        else:
            yield one


def _asked(state: Any, host: Any, name: str, wanted: ModelRequest | None, *, offline: bool) -> Asked:
    """What one host serves and on what.

    Raises: IngotError or SizingError.
    """
    from ingot.operations.driver.request import driver_request
    from ingot.operations.gpus_on_bus import promised

    refused = host.data.get("inventory_error")
    if refused:
        raise IngotError(str(refused))
    of_host(host)
    requests = _served(name, host.data, wanted)
    build = "cpu" if host.data.get("engine_build") == "cpu" else "cuda"
    engine = vllm(str(host.data.get("engine_version") or ENGINE_VERSION), build)
    if not offline:
        hardware, measured, driver = _look(state, host, name)
        return Asked(hardware, requests, engine, measured, driver)
    stated = host.data.get("gpus")
    if not stated:
        raise IngotError(f"{name}: its host file does not state `gpus`; add it or leave out --offline.")
    hardware = replace(named(str(stated)), host=name)
    by_id = by_name(hardware, driver_request(of_host(host)), version=str(host.data.engine_version))
    return Asked(replace(hardware, gpus=promised(hardware.gpus, host.data.gpus_use)), requests, engine, driver=by_id)


def _look(state: Any, host: Any, name: str) -> tuple[Hardware, tuple[Calibration, ...], DriverAnswer]:
    """The GPUs of a live host as if its engine did not run, what the engine measured before, and the driver for it.

    A host without a driver has the GPUs that its PCI bus promises.

    Raises: IngotError, one sentence naming the host.
    """
    from pyinfra.context import ctx_host, ctx_state

    from ingot.facts.driver import Driver
    from ingot.facts.engine import EngineLook
    from ingot.facts.errors import Unread
    from ingot.inventory.fleet import connected
    from ingot.operations.driver.request import driver_request
    from ingot.operations.gpus_on_bus import usable
    from ingot.operations.preflight.findings import HEALED

    with ctx_state.use(state), ctx_host.use(host), connected(host):
        seen, look = host.get_fact(Driver), host.get_fact(EngineLook, probe=False)
    if isinstance(seen, Unread):
        raise IngotError(seen.sentence(name))
    fault = seen.gpus.fault
    driver = answer(
        name,
        seen.state.machine(bool(host.data.driver_console), partial=host.data.gpus_use is not None),
        driver_request(of_host(host)),
    )
    if fault and driver.refusal:
        raise IngotError(f"{name}: {driver.refusal}.")
    found = usable(seen.gpus, seen.state.bus, host.data.gpus_use)
    if (fault and not found) or (fault and fault.kind not in HEALED and not set(found) <= set(fault.healthy)):
        raise IngotError(fault.sentence(name))
    held = {device.partition("=")[2] for one in look.containers if one.status == "running" for device in one.devices}
    stored = look.files.get("plan.json") or {}
    before = stored.get("free_bytes") or {}
    gpus = [replace(gpu, free_bytes=before.get(gpu.uuid)) if gpu.uuid in held else gpu for gpu in found]
    measured = look.files.get("measured.json")
    return Hardware(name, tuple(gpus)), load_measured(measured) if isinstance(measured, Mapping) else (), driver


def with_host(name: str, sentence: str) -> str:
    """The sentence, beginning with the host it is about."""
    return sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}"
