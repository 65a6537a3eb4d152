"""`ingot report`: the versions and decisions that each host recorded about itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.evidence import Evidence, Recorded

if TYPE_CHECKING:
    from pyinfra.api.host import Host

HEADINGS = ("host", "driver", "containers", "serves", "measured")


@dataclass(frozen=True)
class HostReport:
    """One host's evidence, or the sentence that says why there is none."""

    host: str
    recorded: Recorded | None = None
    error: str | None = None

    def cells(self) -> tuple[str, ...]:
        """The row of the table; `-` where nothing was recorded."""
        if self.recorded is None:
            return (self.host, "no answer", *("-" for _ in HEADINGS[2:]))
        driver, plan = self._file("driver.json"), _of(self._file("plan.json"), "plan")
        versions = {"toolkit": self.recorded.toolkit, "docker": self.recorded.docker}
        columns = (
            (*_driver(_of(driver, "driver")), *_decided(_of(driver, "decided"))),
            tuple(f"{name} {version}" for name, version in versions.items() if version),
            tuple(_serves(plan)),
        )
        return (self.host, *("\n".join(lines) or "-" for lines in columns), self._measured())

    def to_dict(self) -> dict[str, Any]:
        """The evidence as recorded."""
        if self.recorded is None:
            return {"host": self.host, "error": self.error}
        return {
            "host": self.host,
            "toolkit": self.recorded.toolkit,
            "docker": self.recorded.docker,
            **{name.removesuffix(".json"): content for name, content in self.recorded.files.items()},
            "recorded_at": {
                name.removesuffix(".json"): datetime.fromtimestamp(stamp, UTC).isoformat()
                for name, stamp in self.recorded.written.items()
            },
        }

    def reasons(self) -> Iterator[str]:
        """Why the driver is as it is, one line each with its source; warnings last."""
        driver = self._file("driver.json")
        for kind in ("reasons", "warnings"):
            for one in driver.get(kind) or ():
                if isinstance(one, Mapping):
                    yield f"{one.get('text')} ({one.get('source')})"

    def _file(self, name: str) -> Mapping[str, Any]:
        return _of(self.recorded.files, name) if self.recorded else {}

    def _measured(self) -> str:
        starts = self._file("measured.json").get("measured")
        if not isinstance(starts, Sequence) or not starts or self.recorded is None:
            return "-"
        when = datetime.fromtimestamp(self.recorded.written["measured.json"], UTC)
        return f"{len(starts)} starts, last {when:%Y-%m-%d}"


def _of(stored: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a stored file; empty where another version of Ingot wrote something else there."""
    part = stored.get(key)
    return part if isinstance(part, Mapping) else {}


def _driver(stored: Mapping[str, Any]) -> Iterator[str]:
    if stored.get("version"):
        yield f"{stored['version']} {stored.get('flavour') or ''}".strip()
        yield f"on {stored.get('kernel')}"


def _decided(stored: Mapping[str, Any]) -> Iterator[str]:
    if stored:
        yield f"as decided: {stored.get('version') or stored.get('branch')} from {stored.get('source')}"
    if stored.get("fabric") not in (None, "none"):
        yield str(stored["fabric"])


def _serves(plan: Mapping[str, Any]) -> Iterator[str]:
    if plan.get("engine"):
        yield str(plan["engine"])
    for replica in plan.get("replicas") or ():
        if isinstance(replica, Mapping):
            gpus = len(replica.get("gpu_uuids") or ())
            yield f"{replica.get('model')} {replica.get('variant')} on {gpus} GPU{'' if gpus == 1 else 's'}"


@click.command()
@click.argument(
    "inventory", default="inventories/prod.py", required=False, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this host of the inventory (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every decision's reasons.")
def report(inventory: Path, hosts: tuple[str, ...], as_json: bool) -> None:
    """Versions and decisions that the hosts of INVENTORY recorded: driver, toolkit, plan, measurements.

    Changes nothing. With --host the reasons of the driver's decision follow the table.
    """
    reports = asked(inventory, hosts)
    if as_json:
        click.echo(json.dumps({"hosts": [one.to_dict() for one in reports]}, indent=2))
    else:
        _show(reports, reasons=bool(hosts))
    for one in reports:
        if one.error:
            click.echo(f"ingot: {one.error}", err=True)
    if any(one.error for one in reports):
        raise SystemExit(1)


def asked(inventory: Path, names: Sequence[str]) -> list[HostReport]:
    """Each host's evidence, all hosts asked at once; what fails for one host stops no other.

    Raises: IngotError when the inventory cannot be loaded or lacks one of `names`.
    """
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.inventory.fleet import at_once, chosen, load

    state = load(inventory)
    return at_once(state, [host for _, host in chosen(state, inventory, names)], _recorded)


def _recorded(host: Host) -> HostReport:
    from ingot.inventory.fleet import connected

    name = host.name.removeprefix("@ingot/")
    try:
        with connected(host):
            return HostReport(name, host.get_fact(Evidence))
    except IngotError as refused:
        return HostReport(name, error=str(refused))


def _show(reports: Iterable[HostReport], *, reasons: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for one in reports:
        table.add_row(*one.cells())
    console = Console()
    console.print(table)
    for one in reports if reasons else ():
        for line in one.reasons():
            console.print(f"{one.host}: {line}", markup=False, highlight=False, soft_wrap=True)
