"""`ingot plan` and `ingot recommend`: what a host would serve and why, before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ingot.catalog import hardware_from_name, load_gpus, load_models, peaks
from ingot.errors import IngotError
from ingot.report.page import render_page
from ingot.report.terminal import misfit, print_plan
from ingot.sizing import (
    Calibration,
    DoesNotFit,
    EngineProfile,
    Hardware,
    HostPlan,
    Model,
    ModelRequest,
    SizingError,
    Variant,
    Workload,
    architecture_from_config,
    fits,
    plan_host,
    vllm,
)
from ingot.sizing.calibration import load as load_measured
from ingot.sizing.checkpoint import read_checkpoint
from ingot.sizing.quantization import SCHEMES, scheme_of_config
from ingot.sizing.units import show_gib

DEFAULT_CONTEXT = 8192
DEFAULT_CONCURRENCY = 8
DEFAULT_INVENTORY = Path("inventories/prod.py")
ENGINE_VERSION = "0.32.0"
COUNTS = (1, 2, 4, 8)
TIERS = ("entry", "mid", "large")


@dataclass(frozen=True)
class Asked:
    """One host with what it has, what it shall serve, and what its engine measured before."""

    hardware: Hardware
    requests: tuple[ModelRequest, ...]
    engine: EngineProfile
    measured: tuple[Calibration, ...] = ()


@dataclass
class Outcome:
    """Plans and refusals of a run, in the order of the hosts."""

    plans: list[HostPlan] = field(default_factory=list)
    misfits: dict[str, DoesNotFit] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    measured: dict[str, tuple[Calibration, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The run as one JSON object."""
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "misfits": {
                host: {
                    "error": str(error),
                    "binding": error.binding,
                    "nearest": list(error.nearest),
                    "arithmetic": [list(row) for row in error.table],
                }
                for host, error in self.misfits.items()
            },
            "errors": self.errors,
        }


@click.command()
@click.argument("inventory", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this host of the inventory (repeatable).")
@click.option("--model", metavar="NAME", help="Plan this model of the catalog instead of what the host serves.")
@click.option("--variant", metavar="NAME", help="Fix the model's variant instead of taking the best that fits.")
@click.option("--gpu", metavar="NAME", help="Plan for GPUs by name, e.g. rtx4090x2 or rtx3090+rtx3060; needs no host.")
@click.option("--facts", multiple=True, type=click.Path(path_type=Path), help="Plan for recorded outputs of a host.")
@click.option("--config", type=click.Path(path_type=Path), help="Plan the model in this directory (config.json).")
@click.option("--context", type=int, help=f"Tokens of one sequence [default: {DEFAULT_CONTEXT}, or the model's].")
@click.option("--concurrency", type=int, help=f"Sequences at once [default: {DEFAULT_CONCURRENCY}].")
@click.option("--offline", is_flag=True, help="Ask no host: take the GPUs that its file states (`gpus:`).")
@click.option("--explain", is_flag=True, help="Show each number's formula and source.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write an HTML page here.")
def plan(
    inventory: Path | None,
    hosts: tuple[str, ...],
    model: str | None,
    variant: str | None,
    gpu: str | None,
    facts: tuple[Path, ...],
    config: Path | None,
    context: int | None,
    concurrency: int | None,
    offline: bool,
    explain: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """What each host of INVENTORY serves, with the arithmetic; from its GPUs as they are right now.

    Without network: --gpu for GPUs by name, --facts for recorded outputs, --offline for what host files state.
    """
    outcome = Outcome()
    wanted = _wanted(model, config, variant, context, concurrency)
    if gpu or facts:
        if wanted is None:
            raise click.UsageError("--gpu and --facts need --model or --config")
        hardware = _named(gpu) if gpu else _recorded(facts)
        _plan_all([Asked(hardware, (wanted,), vllm(ENGINE_VERSION))], outcome)
    else:
        _plan_all(_inventory(inventory or DEFAULT_INVENTORY, hosts, wanted, outcome, offline=offline), outcome)
    if html:
        html.write_text(render_page(outcome.plans, outcome.misfits, outcome.measured), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(outcome.to_dict(), indent=2))
    else:
        _show(outcome, explain=explain)
        if html:
            click.echo(f"wrote {html}")
    if outcome.misfits or outcome.errors:
        raise SystemExit(1)
    if not outcome.plans:
        raise IngotError(f"{inventory or DEFAULT_INVENTORY}: no host in it; add one, or pass --gpu.")


@click.command()
@click.argument("model")
@click.option("--context", type=int, default=DEFAULT_CONTEXT, show_default=True, help="Tokens of one sequence.")
@click.option("--concurrency", type=int, default=DEFAULT_CONCURRENCY, show_default=True, help="Sequences at once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recommend(model: str, context: int, concurrency: int, as_json: bool) -> None:
    """Which GPUs would serve MODEL, smallest first: from one entry-level card to eight of the largest."""
    request = _wanted(model, None, None, context, concurrency)
    assert request is not None
    found = recommendations(request, vllm(ENGINE_VERSION))
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
        return
    table = Table(title=f"{model}: {context} tokens x {concurrency} sequences", title_justify="left", box=None)
    for heading in ("tier", "GPUs", "memory", "variant", "cache", "split", "sequences", "tokens/s (estimate)"):
        table.add_column(heading, justify="right" if heading in ("memory", "sequences") else "left")
    for one in found:
        table.add_row(*one.cells())
    Console().print(table)
    if not found:
        raise IngotError(
            f"{model}: no GPU configuration of the catalog serves {context} tokens for {concurrency} sequences; "
            "ask for less context or fewer sequences."
        )


@dataclass(frozen=True)
class Recommendation:
    """One GPU configuration that serves a request with one replica."""

    gpu: str
    count: int
    tier: str
    memory: int
    plan: HostPlan

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        replica = self.plan.replicas[0]
        split = f"TP {replica.tensor_parallel_size}"
        if replica.pipeline_parallel_size > 1:
            split += f" x PP {replica.pipeline_parallel_size}"
        rate = f"{replica.estimate.decode_tokens_per_s:,.0f}" if replica.estimate else "-"
        return (
            self.tier,
            f"{self.count} x {self.gpu}",
            show_gib(self.memory),
            replica.variant,
            replica.kv_cache_dtype,
            split,
            f"{replica.max_concurrency:g}",
            rate,
        )

    def to_dict(self) -> dict[str, Any]:
        """The recommendation as JSON-able values."""
        return {"gpu": self.gpu, "count": self.count, "tier": self.tier, "plan": self.plan.to_dict()}


def recommendations(request: ModelRequest, engine: EngineProfile) -> list[Recommendation]:
    """For every GPU of the catalog the fewest that serve the request, by tier and then by memory.

    Raises: IngotError for a request that no GPU could serve because it is wrong.
    """
    found = []
    one_replica = replace(request, replicas=1)
    for key, gpu in load_gpus().items():
        for count in COUNTS:
            if count > gpu.largest:
                break
            hardware = gpu.hardware(count)
            try:
                if not fits(hardware, [one_replica], engine=engine):
                    continue
                made = plan_host(hardware, [one_replica], engine=engine, peaks=peaks())
            except SizingError as error:
                raise IngotError(str(error).removeprefix(f"{hardware.host}: ")) from error
            used = len(made.replicas[0].gpu_indices)
            memory = used * gpu.hardware(1).gpus[0].vram_bytes
            found.append(Recommendation(key, used, gpu.tier, memory, made))
            break
    return sorted(found, key=lambda one: (TIERS.index(one.tier), one.memory, one.gpu))


# --- what is asked


def _wanted(
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


def _named(gpu: str) -> Hardware:
    try:
        return hardware_from_name(gpu)
    except SizingError as error:
        raise IngotError(str(error)) from error


def _recorded(paths: Sequence[Path]) -> Hardware:
    """The GPUs in recorded outputs of one host (`ingot probe --record`, or nvidia-smi's own)."""
    from ingot.facts.driver import Driver, DriverLook
    from ingot.facts.errors import ParseError
    from ingot.facts.nvidia import assemble
    from ingot.facts.replay import read

    parsed: dict[str, Any] = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            reading = read(text)
        except OSError as error:
            raise IngotError(f"{path}: cannot be read ({error.strerror or error}); name a recorded file.") from None
        except ParseError as error:
            raise IngotError(f"{path}: {error}") from None
        if reading.kind == "probe":
            look = Driver().process(text.splitlines())
            return Hardware(path.stem, look.gpus.gpus if isinstance(look, DriverLook) else ())
        parsed[reading.kind] = reading.parsed
    log, query = parsed.get("xml"), parsed.get("query")
    rows = query.rows if query else [gpu.row for gpu in log.gpus] if log else []
    gpus, _ = assemble(rows, parsed.get("topology", {}), parsed.get("list", ()), log, None)
    return Hardware(paths[0].stem, gpus)


def _inventory(
    inventory: Path, names: Sequence[str], wanted: ModelRequest | None, outcome: Outcome, *, offline: bool
) -> Iterable[Asked]:
    """Every host of an inventory, looked at over SSH unless `offline`; what fails for one host stops no other."""
    from ingot.fleet import load

    state = load(inventory)
    known = {host.name.removeprefix("@ingot/"): host for host in state.inventory}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise IngotError(
            f"{unknown[0]}: no such host in {inventory}, expected one of {', '.join(sorted(known)) or 'none'}; "
            "correct --host."
        )
    for name, host in sorted(known.items()):
        if names and name not in names:
            continue
        try:
            refused = host.data.get("inventory_error")
            if refused:
                raise IngotError(str(refused))
            requests = _served(name, host.data, wanted)
            build = "cpu" if host.data.get("engine_build") == "cpu" else "cuda"
            engine = vllm(str(host.data.get("engine_version") or ENGINE_VERSION), build)
            if offline:
                stated = host.data.get("gpus")
                if not stated:
                    raise IngotError(f"{name}: its host file does not state `gpus`; add it or leave out --offline.")
                yield Asked(replace(_named(str(stated)), host=name), requests, engine)
            else:
                hardware, measured = _look(state, host, name)
                yield Asked(hardware, requests, engine, measured)
        except SizingError as error:
            outcome.errors.append(_with_host(name, str(error)))
        except IngotError as error:
            outcome.errors.append(_with_host(name, str(error)))


def _look(state: Any, host: Any, name: str) -> tuple[Hardware, tuple[Calibration, ...]]:
    """The GPUs of a live host as if its engine did not run, and what the engine measured before.

    Raises: IngotError, one sentence naming the host.
    """
    from pyinfra.api.exceptions import ConnectError
    from pyinfra.context import ctx_host, ctx_state

    from ingot.facts.engine import EngineLook
    from ingot.facts.nvidia import Gpus
    from ingot.facts.smi_fault import GpuFault

    with ctx_state.use(state), ctx_host.use(host):
        try:
            host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as refused:
            raise IngotError(str(refused.args[0])) from None
        try:
            found, look = host.get_fact(Gpus), host.get_fact(EngineLook, probe=False)
        finally:
            host.disconnect()
    if isinstance(found, GpuFault):
        raise IngotError(found.sentence(name))
    held = {device.partition("=")[2] for one in look.containers if one.status == "running" for device in one.devices}
    stored = look.files.get("plan.json") or {}
    before = stored.get("free_bytes") or {}
    gpus = [replace(gpu, free_bytes=before.get(gpu.uuid)) if gpu.uuid in held else gpu for gpu in found]
    measured = look.files.get("measured.json")
    return Hardware(name, tuple(gpus)), load_measured(measured) if isinstance(measured, Mapping) else ()


def _with_host(name: str, sentence: str) -> str:
    return sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}"


# --- planning and showing


def _plan_all(asked: Iterable[Asked], outcome: Outcome) -> None:
    known: list[Asked] = []
    for one in asked:
        known.append(one)
        try:
            made = plan_host(one.hardware, one.requests, engine=one.engine, calibrations=one.measured, peaks=peaks())
        except DoesNotFit as error:
            outcome.misfits[one.hardware.host] = error
        except SizingError as error:
            outcome.errors.append(_with_host(one.hardware.host, str(error)))
        else:
            outcome.plans.append(made)
            outcome.measured[one.hardware.host] = one.measured
    _suggest_hosts(known, outcome)


def _suggest_hosts(known: Sequence[Asked], outcome: Outcome) -> None:
    """To a host's misfit, the other hosts of the inventory that could serve it alone."""
    for one in known:
        error = outcome.misfits.get(one.hardware.host)
        if error is None:
            continue
        fitting = [other.hardware.host for other in known if other is not one and _serves(other, one.requests)]
        if fitting:
            nearest = (*error.nearest, f"serve it on {' or '.join(fitting[:3])}, which could")
            outcome.misfits[one.hardware.host] = DoesNotFit(str(error), error.table, error.binding, nearest)


def _serves(other: Asked, requests: Sequence[ModelRequest]) -> bool:
    try:
        return fits(other.hardware, requests, engine=other.engine)
    except SizingError:
        return False


def _show(outcome: Outcome, *, explain: bool) -> None:
    console = Console()
    for made in outcome.plans:
        print_plan(made, measured=outcome.measured.get(made.host, ()), formulas=explain, console=console)
    for error in outcome.misfits.values():
        click.echo(f"ingot: {error}", err=True)
        console.print(misfit(error))
    for sentence in outcome.errors:
        click.echo(f"ingot: {sentence}", err=True)
