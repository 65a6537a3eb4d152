"""The fleet on one screen: what each host serves, who waits, how full its caches are, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ingot.errors import IngotError
from ingot.facts.activity import Activity, EngineActivity, ReplicaActivity
from ingot.facts.alerts import Alert
from ingot.facts.models import Damage
from ingot.inventory.fleet import Selected, asked
from ingot.report.alerts import FleetAlerts, counted
from ingot.report.console import plain_table

HEADINGS = ("host", "model", "replicas", "running", "waiting", "KV cache", "tokens/s", "prompt/s", "wrong")
NUMBERS = HEADINGS[2:8]


@dataclass(frozen=True)
class ModelStatus:
    """One model on one host. `serving` of `replicas` answer and are in the pool; sums and shares are over those that
    answer, and None where no engine says."""

    model: str
    replicas: int
    serving: int
    running: int | None
    waiting: int | None
    kv_used: float | None
    generated_per_s: float | None
    prompt_per_s: float | None
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class HostStatus:
    """One host's models, or the sentence that says why nothing is known of it; its alerts, None where nobody looks."""

    host: str
    models: tuple[ModelStatus, ...] = ()
    error: IngotError | None = None
    alerts: tuple[Alert, ...] | None = None

    @property
    def is_well(self) -> bool:
        firing = any(one.asks for one in self.alerts or ())
        return self.error is None and not firing and not any(one.wrong for one in self.models)

    def to_dict(self) -> dict[str, Any]:
        """The figures of a host that answered."""
        alerts = None if self.alerts is None else [asdict(one) for one in self.alerts]
        return {"host": self.host, "models": [asdict(one) for one in self.models], "alerts": alerts}


def statuses(chosen: Selected) -> list[HostStatus]:
    """What each host does now, all asked at once; what fails for one host stops no other."""
    answers = asked(chosen, lambda host: host.get_fact(EngineActivity))
    return [host_status(name, one) for name, one in zip(chosen.names, answers, strict=True)]


def with_alerts(found: Sequence[HostStatus], alerts: FleetAlerts) -> list[HostStatus]:
    """The hosts with what fires on each, where a host watches them."""
    return [replace(one, alerts=alerts.of_host(one.host)) if alerts.watched else one for one in found]


def host_status(name: str, found: Activity | IngotError) -> HostStatus:
    """One host's status from its answer."""
    if isinstance(found, IngotError):
        return HostStatus(name, error=found)
    if not found.docker:
        return HostStatus(
            name, error=IngotError(f"{name}: Docker does not answer; see `systemctl status docker` there.")
        )
    held = {hold.address: hold.why for hold in found.holds}
    by_model = sorted(found.replicas, key=lambda one: (one.model, one.name))
    return HostStatus(
        name,
        tuple(
            _model(model, list(ones), held, [one for one in found.damage if f"/{model}/" in one.path])
            for model, ones in groupby(by_model, key=lambda one: one.model)
        ),
    )


def _model(
    model: str, replicas: Sequence[ReplicaActivity], held: dict[str, str], damage: Sequence[Damage]
) -> ModelStatus:
    answering = [one for one in replicas if one.answers]
    shares = [one.kv_used for one in answering if one.kv_used is not None]
    return ModelStatus(
        model,
        len(replicas),
        sum(one.address not in held for one in answering),
        _sum(one.running for one in answering),
        _sum(one.waiting for one in answering),
        sum(shares) / len(shares) if shares else None,
        _sum(one.generated_per_s for one in answering),
        _sum(one.prompt_per_s for one in answering),
        (
            *_troubles(replicas, held),
            *(f"{one.path.rpartition('/')[2]} {one.why.partition(',')[0]} on the disk; deploy again" for one in damage),
        ),
    )


def _troubles(replicas: Sequence[ReplicaActivity], held: dict[str, str]) -> Iterator[str]:
    for one in replicas:
        if one.status != "running":
            yield f"{one.name} is {one.status}"
        elif one.address in held:
            yield f"{one.name} gets no requests: {held[one.address]}"
        elif not one.answers:
            yield f"{one.name} does not answer"


def _sum(values: Iterable[Any]) -> Any:
    said = [one for one in values if one is not None]
    return sum(said) if said else None


def table(found: Iterable[HostStatus]) -> Table:
    """A row for each model of each host; `-` where no engine says. Alerts have a column where there is a monitor."""
    hosts = list(found)
    watched = any(one.alerts is not None for one in hosts)
    shown = plain_table(*HEADINGS, *(["alerts"] if watched else []), right=NUMBERS)
    for one in hosts:
        firing = [counted(one.alerts or ())] if watched else []
        if one.error is not None or not one.models:
            shown.add_row(one.host, *["-"] * 7, "no answer" if one.error else "serves nothing", *firing)
        for place, model in enumerate(one.models):
            shown.add_row(
                "" if place else one.host,
                model.model,
                f"{model.serving}/{model.replicas}",
                _shown(model.running),
                _shown(model.waiting),
                "-" if model.kv_used is None else f"{model.kv_used:.0%}",
                _shown(model.generated_per_s),
                _shown(model.prompt_per_s),
                "\n".join(model.wrong) or "-",
                *([] if place else firing),
            )
    return shown


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def watch_fleet(
    look: Callable[[], tuple[Sequence[HostStatus], Sequence[str]]], console: Console, wait: Callable[[], None]
) -> None:
    """Show what each look finds, in place of the one before where the console is a terminal, until Ctrl-C.

    A look has the hosts, and the sentences of monitors that do not answer: without alerts is not the same as well.
    """

    def shown() -> Group:
        found, silent = look()
        errors = (*(one.error for one in found if one.error), *silent)
        return Group(table(found), *(Text(f"ingot: {one}") for one in errors))

    try:
        if not console.is_terminal:
            while True:
                console.print(shown())
                wait()
        with Live(shown(), console=console, screen=True, auto_refresh=False) as live:
            while True:
                wait()
                live.update(shown(), refresh=True)
    except KeyboardInterrupt:
        return
