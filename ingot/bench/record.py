"""The record of a benchmark, and what it is compared with: the last one of the same, and the plan's estimate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingot.bench.load import Load
from ingot.bench.measured import Measured, Spread
from ingot.bench.served import Subject
from ingot.errors import IngotError
from ingot.secrets import files

#: Below an inventory's secrets directory, which is backed up and outside git.
DIRECTORY = "bench"
SCHEMA = 1
#: A change of less than this between two runs is no news.
NEWS = 0.05


@dataclass(frozen=True, slots=True)
class Level:
    """One level of load: what was measured, or why it ended before its end; what the engines counted meanwhile."""

    load: Load
    seconds: float
    measured: Measured | None = None
    why: str | None = None
    counters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One benchmark. `place` is the host that asked; `why` says why it was stopped, None where it came to its end."""

    host: str
    at: str
    by: str
    place: str
    url: str
    subject: Subject
    levels: tuple[Level, ...]
    limits: Mapping[str, float] = field(default_factory=dict)
    users: int | None = None
    users_at_least: bool = False
    why: str | None = None
    estimate: Mapping[str, Any] | None = None

    @property
    def measured(self) -> Iterator[tuple[Load, Measured]]:
        """The levels that came to their end."""
        for level in self.levels:
            if level.measured:
                yield level.load, level.measured

    @property
    def best(self) -> tuple[Load, Measured] | None:
        """The level with the most output tokens per second."""
        return max(self.measured, key=lambda one: one[1].output_tokens_per_s, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-able values."""
        return {"schema": SCHEMA, **asdict(self), "limits": dict(self.limits)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Record:
        """The record that `to_dict` wrote. Raises: KeyError, TypeError or ValueError where it cannot be read."""
        if stored["schema"] != SCHEMA:
            raise ValueError(f"schema {stored['schema']}")
        values = {name: value for name, value in stored.items() if name != "schema"}
        values["subject"] = Subject(**values["subject"])
        values["levels"] = tuple(_level(one) for one in values["levels"])
        return cls(**values)


def _level(stored: Mapping[str, Any]) -> Level:
    measured = stored["measured"]
    if measured is not None:
        spreads = {name: Spread(**measured[name]) for name in ("ttft", "itl", "e2e")}
        measured = Measured(**{**measured, **spreads})
    return Level(**{**stored, "load": Load(**stored["load"]), "measured": measured})


def write(directory: Path, record: Record) -> Path:
    """Keep a record as `<directory>/<model>/<engine, GPUs, plan>/<time>-<host>.json`; returns its path."""
    place = directory / record.subject.model.replace("/", "-") / record.subject.directory
    files.private_directory(place)
    path = place / f"{record.at.replace(':', '')}-{record.host.replace('/', '-')}.json"
    files.replace(path, json.dumps(record.to_dict(), indent=1, sort_keys=True) + "\n", mode=0o600)
    return path


def records(directory: Path) -> tuple[Record, ...]:
    """Every record that is kept, oldest first; what cannot be read is passed over, as one of another version."""
    found = []
    for path in directory.glob("*/*/*.json"):
        try:
            found.append(Record.from_dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return tuple(sorted(found, key=lambda one: one.at))


def last(known: Iterable[Record], subject: Subject) -> Record | None:
    """The newest record of the same subject that measured something."""
    return next((one for one in reversed(tuple(known)) if one.subject == subject and any(one.measured)), None)


def read_key(path: Path, text: str) -> str:
    """An API key out of a file's text. Raises: IngotError where it holds none."""
    key = text.strip()
    if not key or any(one.isspace() for one in key):
        raise IngotError(f"{path}: holds no API key, expected one key and nothing else; correct it.")
    return key


def compared(record: Record, before: Record | None) -> Iterator[str]:
    """What is different from the last record of the same, one sentence for each figure that changed."""
    if before is None:
        return
    known = dict(before.measured)
    for load, now in record.measured:
        then = known.get(load)
        if then is None:
            continue
        for words, new, old in (
            ("tokens/s", now.output_tokens_per_s, then.output_tokens_per_s),
            ("time to first token (p50)", now.ttft.p50_s, then.ttft.p50_s),
            ("time between tokens (p50)", now.itl.p50_s, then.itl.p50_s),
        ):
            if old > 0 and abs(change := new / old - 1) >= NEWS:
                way = "higher" if change > 0 else "lower"
                yield f"{load.level}: {words} {abs(change):.0%} {way} than at {before.at}"


def estimated_tokens_per_s(estimate: Mapping[str, Any], load: Load, replicas: int) -> float | None:
    """Output tokens/s of all replicas at a level by the plan's estimate; None where it cannot be said.

    Decoding and reading prompts take turns (as `ingot.sizing.throughput` has it), each at the rate that the plan states
    for its own number of sequences, so that levels far from that number are only roughly comparable.
    """
    step, reading = estimate.get("token_s"), estimate.get("prefill_tokens_per_s")
    if not step or not reading or not replicas or load.per_s is not None:
        return None
    sequences = load.at_once / replicas
    prompt = load.input_tokens * (1 - load.shared_prefix)
    spent = load.output_tokens * step + sequences * prompt / reading
    return float(replicas * sequences * load.output_tokens / spent)


def beside_estimate(record: Record) -> Iterator[str]:
    """Each closed level beside the plan's estimate."""
    for load, measured in record.measured if record.estimate else ():
        own = estimated_tokens_per_s(record.estimate or {}, load, record.subject.replicas)
        if own:
            yield (
                f"{load.level}: {measured.output_tokens_per_s:,.0f} tokens/s, the plan estimated {own:,.0f} "
                f"({measured.output_tokens_per_s / own:.0%} of it)"
            )


def hit_share(counters: Mapping[str, float], queries: str, hits: str) -> float | None:
    """The share of prompt tokens that the prefix cache had; None where the engines do not say."""
    return counters[hits] / counters[queries] if counters.get(queries) and hits in counters else None


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What counters gained; one that went down is of an engine that was started again, and is left out."""
    return {name: after[name] - before[name] for name in before if name in after and after[name] >= before[name]}


def newest_of(known: Sequence[Record], subject: Subject) -> Record | None:
    """The record whose figures stand for a plan: the newest of the same that was not stopped."""
    return next((one for one in reversed(known) if one.subject == subject and one.why is None and one.best), None)
