"""One run: every part reads its source, and one file is written for node exporter."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingot.monitoring.collector import gateway, gpus, host, plans, replicas
from ingot.monitoring.collector.figures import Figures
from ingot.monitoring.collector.stored import replace, stored


def main(file: str) -> int:
    """Write the figures of this moment; returns the exit status."""
    began = time.monotonic()
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    memory: dict[str, Any] = stored(settings["memory"], {})
    figures = Figures(settings["metrics"])
    parts: dict[str, Callable[[], bool]] = {
        "gpus": lambda: gpus.collect(figures, memory, settings["has_gpus"]),
        "plan": lambda: host.collect_expected(figures, settings),
        "plans": lambda: plans.collect(figures, settings),
        "replicas": lambda: replicas.collect(figures, settings),
        "access_log": lambda: gateway.collect_log(figures, memory, settings),
        "nginx": lambda: gateway.collect_status(figures, settings["gateway_name"]),
        "budgets": lambda: gateway.collect_budgets(figures, settings),
        "cache": lambda: host.collect_cache(figures, settings),
        "disks": lambda: host.collect_disks(figures, settings),
        "clock": lambda: host.collect_clock(figures, settings),
        "units": lambda: host.collect_units(figures, settings),
        "certificates": lambda: host.collect_certificates(figures, settings),
        "runs": lambda: host.collect_runs(figures, settings),
    }
    for name, part in parts.items():
        try:
            up = part()
        except Exception as error:  # one part that fails leaves the others' figures
            print(f"<4>{name}: {type(error).__name__}: {error}", file=sys.stderr)
            up = False
        figures.add("ingot_collector_part_up", float(up), part=name)
    figures.add("ingot_collector_last_run_seconds", time.time())
    figures.add("ingot_collector_duration_seconds", time.monotonic() - began)
    # Counts first: one that is lost after it was shown would be counted twice.
    replace(settings["memory"], json.dumps(memory, sort_keys=True) + "\n", 0o600)
    replace(settings["textfile"], figures.text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
