"""The record of an acceptance: what is kept on the host, and on the control machine as JSON and as a page."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingot.acceptance.figures import floors
from ingot.acceptance.finding import Finding, Measured, Verdict
from ingot.acceptance.level import proves
from ingot.acceptance.readings import GpuCounters
from ingot.acceptance.speed import Medians, expected, medians
from ingot.errors import IngotError
from ingot.secrets import files

#: On the host; the gateway role reads the first, people the second.
ACCEPTANCE_FILE = "/var/lib/ingot/acceptance.json"
EVIDENCE_FILE = "/var/lib/ingot/acceptance-evidence.json"
#: Below an inventory's secrets directory, which is backed up and outside git.
DIRECTORY = "evidence"
#: Of a trace of hours, a page needs no more points per GPU than this.
POINTS = 400


@dataclass(frozen=True, slots=True)
class Outcome:
    """One host's acceptance, judged."""

    host: str
    level: str
    at: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    measured: Measured
    hardware: Mapping[str, Any]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The findings as sentences."""
        return tuple(one.text for one in self.findings)

    def acceptance(self) -> dict[str, Any]:
        """What other parts of Ingot read on the host."""
        return {
            "verdict": str(self.verdict),
            "level": self.level,
            "at": self.at,
            "reasons": list(self.reasons),
            "override": None,
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole record."""
        measured = asdict(self.measured)
        measured["samples"] = _thinned(measured["samples"])
        return {
            "host": self.host,
            **self.acceptance(),
            "findings": [asdict(one) for one in self.findings],
            "hardware": dict(self.hardware),
            "expected": {one.uuid: self._expected(one) for one in self.measured.before.gpus},
            "medians": medians(self.measured),
            "measured": measured,
        }

    def _expected(self, gpu: GpuCounters) -> dict[str, Any]:
        """Floors of one GPU by metric, and the peaks of its data sheet."""
        sheet = floors(gpu.name, 0)
        peaks = {"matmul": sheet.matmul_peak, "soak": sheet.matmul_peak, "copy": sheet.copy_peak}
        return {"floors": expected(self.measured, gpu), "peaks": peaks}


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def operator() -> str:
    """Who runs this, on which machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def standing(stored: str, level: str) -> str | None:
    """Why a host that failed before stays failed: this acceptance proves less than that one. None where it may pass.

    `stored` is the text of ACCEPTANCE_FILE, `level` what is proven now.
    """
    try:
        before = json.loads(stored)
        if before["verdict"] != Verdict.FAIL or before.get("override") or proves(before["level"]) <= proves(level):
            return None
        first = next(iter(before["reasons"]), "no reason is kept")
        return (
            f"it failed at level {before['level']} ({first}), which {level} does not disprove; accept it at that level"
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def overridden(stored: str, host: str, reason: str) -> dict[str, Any]:
    """A host's acceptance with an operator's override in it.

    Raises: IngotError where the acceptance did not fail, so that there is nothing to override.
    """
    try:
        acceptance = dict(json.loads(stored))
        verdict = acceptance["verdict"]
    except (ValueError, KeyError, TypeError):
        raise IngotError(f"{host}: it has no acceptance to override; run `ingot accept {host}` first.") from None
    if verdict != Verdict.FAIL:
        raise IngotError(f"{host}: its acceptance came to {verdict}, expected fail for an override; nothing is to do.")
    if not reason.strip():
        raise IngotError(f"{host}: the reason of an override is empty; write why the host shall serve all the same.")
    return {**acceptance, "override": {"reason": reason.strip(), "by": operator(), "at": now()}}


def write(directory: Path, host: str, at: str, record: Mapping[str, Any]) -> Path:
    """Keep a record as `<directory>/<host>/<time>.json`; returns its path."""
    place = directory / host
    files.private_directory(place)
    path = place / f"{at.replace(':', '').replace('+0000', 'Z')}.json"
    files.replace(path, json.dumps(record, indent=1, sort_keys=True) + "\n", 0o600)
    return path


def newest(directory: Path, host: str) -> Mapping[str, Any] | None:
    """A host's last acceptance that is kept; None where there is none that can be read."""
    place = directory / host
    for path in sorted(place.glob("*.json"), reverse=True) if place.is_dir() else ():
        record = _read(path)
        # An override has the verdict alone.
        if "measured" in record:
            return record
    return None


def fleet(directory: Path, level: str, without: str) -> list[Medians]:
    """The medians of the last record of each other host at this level."""
    found: list[Medians] = []
    for place in sorted(directory.glob("*")) if directory.is_dir() else ():
        if place.is_dir() and place.name != without:
            for path in sorted(place.glob("*.json"), reverse=True):
                record = _read(path)
                if record.get("level") == level and isinstance(record.get("medians"), Mapping):
                    found.append(record["medians"])
                    break
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _thinned(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    gpus = len({one["uuid"] for one in samples}) or 1
    step = max(1, len(samples) // (POINTS * gpus))
    # Whole rounds of GPUs are kept, so that all lines have the same points.
    return [one for number, one in enumerate(samples) if (number // gpus) % step == 0]
