"""The versions and decisions that each host recorded about itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.evidence import Evidence, Recorded
from ingot.facts.models import Damage
from ingot.facts.replica_holds import parse_holds
from ingot.inventory.fleet import Selected, asked
from ingot.report.console import plain_table

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
            (*_serves(plan), *_held_out(self._file("replica-holds.json")), *_rotten(self.recorded.damage)),
        )
        return (self.host, *("\n".join(lines) or "-" for lines in columns), self._measured())

    def to_dict(self) -> dict[str, Any]:
        """The evidence as recorded, of a host that answered."""
        assert self.recorded
        return {
            "host": self.host,
            "toolkit": self.recorded.toolkit,
            "docker": self.recorded.docker,
            "damaged": [asdict(one) for one in self.recorded.damage],
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
    alike = Counter(
        (replica.get("model"), replica.get("variant"), len(replica.get("gpu_uuids") or ()))
        for replica in plan.get("replicas") or ()
        if isinstance(replica, Mapping)
    )
    for (model, variant, gpus), count in alike.items():
        yield f"{f'{count} x ' if count > 1 else ''}{model} {variant} on {gpus} GPU{'' if gpus == 1 else 's'}"


def _held_out(holds: Mapping[str, Any]) -> Iterator[str]:
    for hold in parse_holds(json.dumps(dict(holds))):
        yield f"held out: {hold.address}, since {hold.since} ({hold.gpu}: {hold.why})"


def _rotten(damage: Iterable[Damage]) -> Iterator[str]:
    for one in damage:
        yield f"damaged: {one.path} {one.why}, found {one.since}; deploy again"


def recorded(chosen: Selected) -> list[HostReport]:
    """Each host's evidence, all hosts asked at once; what fails for one host stops no other."""
    answers = asked(chosen, lambda host: host.get_fact(Evidence))
    return [
        HostReport(name, error=str(one)) if isinstance(one, IngotError) else HostReport(name, one)
        for name, one in zip(chosen.names, answers, strict=True)
    ]


def table(reports: Iterable[HostReport]) -> Table:
    """One row per host."""
    shown = plain_table(*HEADINGS)
    for one in reports:
        shown.add_row(*one.cells())
    return shown
