"""What the checks said, kept: JUnit for machines that read it, JSON per host and check."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ingot.secrets import files
from tests.hosts.look import TOKEN
from tests.hosts.target import Target

SCHEMA = 1


class Recorder:
    """A pytest plugin that writes verify.json and verify.xml into a directory, each whole or not at all."""

    def __init__(self, directory: Path, targets: Sequence[Target]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.targets = targets
        self.began = datetime.now(UTC)
        self.unfinished_junit = directory / ".verify.xml"
        self.checks: dict[str, list[dict[str, Any]]] = {target.name: [] for target in targets}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A check that is left out is about what this host does not have.
        if report.skipped or (report.when != "call" and report.passed):
            return
        check, _, rest = report.nodeid.rpartition("::")[2].partition("[")
        host = next((name for name in sorted(self.checks, key=len, reverse=True) if rest.startswith(name)), None)
        if host is None:
            return
        what = rest.removeprefix(host).removeprefix("-").removesuffix("]")
        sentence = None if report.passed else _sentence(report).removeprefix(f"{host}: ")
        self.checks[host].append(
            {
                "check": check.removeprefix("test_").replace("_", " ") + (f": {what}" if what else ""),
                "outcome": "passed" if report.passed else "failed",
                "seconds": round(report.duration, 4),
                "sentence": sentence,
            }
        )

    def pytest_unconfigure(self) -> None:
        """Last of all: JUnit's writer has ended."""
        text = json.dumps(self.summary(), indent=1) + "\n"
        files.replace(self.directory / "verify.json", _clean(text), mode=0o644)
        if self.unfinished_junit.exists():
            junit = self.unfinished_junit.read_text(encoding="utf-8")
            files.replace(self.directory / "verify.xml", _clean(junit), mode=0o644)
            self.unfinished_junit.unlink()

    def summary(self) -> dict[str, Any]:
        """The run as one JSON object."""
        return {
            "schema": SCHEMA,
            "ingot": version("ingot"),
            "inventory": self.targets[0].inventory,
            "began": self.began.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "hosts": {
                target.name: {
                    "trouble": target.trouble,
                    "looked_s": round(target.seconds, 2),
                    "rebooted": len(set(target.boots)) == 2,
                    "passed": sum(check["outcome"] == "passed" for check in self.checks[target.name]),
                    "failed": sum(check["outcome"] == "failed" for check in self.checks[target.name]),
                    "checks": self.checks[target.name],
                }
                for target in self.targets
            },
        }


def _sentence(report: pytest.TestReport) -> str:
    """Why a check failed; of an error in the check itself its last line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(crash.message if crash else report.longreprtext).strip().partition("\n")[0]
    return said.removeprefix("Failed: ")


def _clean(text: str) -> str:
    """No check prints a secret; should an answer ever hold one, it stays out of the record."""
    return re.sub(TOKEN, "(secret)", text)
