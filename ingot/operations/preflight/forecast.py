"""What a deploy would have hosts serve, and why: planned as the deploy plans, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingot.catalog import hardware_from_name
from ingot.compat import Machine
from ingot.engines import VLLM
from ingot.errors import IngotError
from ingot.facts.driver import Driver
from ingot.facts.engine import EngineState
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nvidia import assemble
from ingot.facts.replay import read, text_of
from ingot.operations.driver.answer import DriverAnswer, answer, by_name
from ingot.operations.driver.request import driver_request
from ingot.operations.serving import planning
from ingot.operations.serving.planning import Planned
from ingot.settings.defaults import defaults
from ingot.sizing import (
    GPU,
    Alternative,
    Calibration,
    DoesNotFit,
    EngineProfile,
    Hardware,
    HostPlan,
    ModelRequest,
    SizingError,
    fits,
)


@dataclass(frozen=True)
class Asked:
    """One host with what it has and what it shall serve.

    `state` is None where nobody looked at what it stores; `unlocked` says why a deploy has no commits to take.
    """

    hardware: Hardware
    requests: tuple[ModelRequest, ...]
    engine: EngineProfile
    state: EngineState | None = None
    driver: DriverAnswer | None = None
    unlocked: str | None = None

    @property
    def host(self) -> str:
        return self.hardware.host


@dataclass
class Forecast:
    """Plans and refusals, in the order of the hosts."""

    plans: list[HostPlan] = field(default_factory=list)
    #: Host -> why its plan is the one: only of hosts that were looked at.
    because: dict[str, str] = field(default_factory=dict)
    misfits: dict[str, DoesNotFit] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    measured: dict[str, tuple[Calibration, ...]] = field(default_factory=dict)
    drivers: dict[str, DriverAnswer] = field(default_factory=dict)
    #: Host -> why a deploy would be refused: it has no lock of models.
    unlocked: dict[str, str] = field(default_factory=dict)
    #: Host -> the next best ways to serve the same: only where they were asked for.
    alternatives: dict[str, tuple[Alternative, ...]] = field(default_factory=dict)
    #: Host -> model -> what a benchmark of the same plan measured.
    benchmarks: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The forecast as one JSON object."""
        return {
            "plans": [
                {
                    **plan.to_dict(),
                    "because": self.because.get(plan.host),
                    "benchmarks": self.benchmarks.get(plan.host, {}),
                    "alternatives": [asdict(one) for one in self.alternatives.get(plan.host, ())],
                }
                for plan in self.plans
            ],
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
            "drivers": {host: answer.to_dict() for host, answer in self.drivers.items()},
            "unlocked": self.unlocked,
        }


def forecast(asked: Iterable[Asked | IngotError], *, alternatives: bool = False) -> Forecast:
    """Plan each host; what cannot be planned becomes a misfit or an error, and stops no other.

    With `alternatives`, the next best ways are worked out too.
    """
    known: list[Asked] = []
    made = Forecast()
    for one in asked:
        if isinstance(one, IngotError):
            made.errors += str(one).splitlines()
            continue
        known.append(one)
        if one.unlocked:
            made.unlocked[one.host] = one.unlocked
        if one.driver:
            made.drivers[one.host] = one.driver
            if one.driver.refusal and not one.driver.assumed:
                made.errors.append(f"{one.host}: {one.driver.refusal}.")
        try:
            planned = _planned(one)
        except DoesNotFit as error:
            made.misfits[one.host] = error
        except SizingError as error:
            made.errors.append(str(of_host(one.host, error)))
        else:
            made.plans.append(planned.plan)
            if alternatives:
                ways = planning.others(one.hardware, one.requests, one.engine, one.state or EngineState())
                made.alternatives[one.host] = ways
            if one.state:
                made.because[one.host] = planned.because
                made.measured[one.host] = planning.calibrations(one.state.files)
    _suggest_hosts(known, made)
    return made


def by_gpu(gpu: str, request: ModelRequest) -> Asked:
    """GPUs by a name such as rtx4090x2, with the values of group_data. Raises: SizingError for a name nobody listed."""
    hardware, values = hardware_from_name(gpu), defaults()
    return Asked(hardware, (request,), planning.profile(values), driver=by_name(hardware, driver_request(values)))


def by_records(paths: Sequence[Path], request: ModelRequest) -> Asked:
    """The GPUs in recorded outputs of one host (`ingot probe --record`, or nvidia-smi's own).

    Raises: IngotError.
    """
    values = defaults()
    machine, gpus = recorded(paths)
    hardware = Hardware(paths[0].stem, gpus)
    asks = driver_request(values)
    driver = answer(hardware.host, machine, asks) if machine else by_name(hardware, asks)
    return Asked(hardware, (request,), planning.profile(values), driver=driver)


def of_host(name: str, error: Exception) -> IngotError:
    """An error whose sentence begins with the host it is about."""
    sentence = str(error)
    return IngotError(sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}")


def recorded(paths: Sequence[Path]) -> tuple[Machine | None, tuple[GPU, ...]]:
    """The GPUs of recorded outputs, and the machine where one of them is of `ingot probe`. Raises: IngotError."""
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
            if isinstance(look, Unread):
                raise IngotError(f"{path}: {look.why}")
            return look.state.machine(), look.gpus.gpus
        parsed[reading.kind] = reading.parsed
    log, query = parsed.get("xml"), parsed.get("query")
    rows = query.rows if query else [gpu.row for gpu in log.gpus] if log else []
    gpus, _ = assemble(rows, parsed.get("topology", {}), parsed.get("list", ()), log, parsed.get("memory"))
    return None, gpus


def _planned(one: Asked) -> Planned:
    return planning.plan(one.hardware, one.requests, one.engine, one.state or EngineState())


def _suggest_hosts(known: Sequence[Asked], made: Forecast) -> None:
    """To a host's misfit, the other hosts of the inventory that could serve it alone."""
    for one in known:
        error = made.misfits.get(one.host)
        if error is None:
            continue
        fitting = [other.host for other in known if other is not one and _serves(other, one.requests)]
        if fitting:
            nearest = (*error.nearest, f"serve it on {' or '.join(fitting[:3])}, which could")
            made.misfits[one.host] = DoesNotFit(str(error), error.table, error.binding, nearest)


def _serves(other: Asked, requests: Sequence[ModelRequest]) -> bool:
    try:
        if not all(one.engine == VLLM.name for one in requests):
            return bool(planning.plan(other.hardware, requests, other.engine, EngineState()))
        return fits(other.hardware, requests, engine=other.engine)
    except SizingError:
        return False
