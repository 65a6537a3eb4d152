"""Simulated: dcgm-exporter. It serves the fields of its counters file that the profile has a reading for.

A reading that a card does not have is served as DCGM does, as a very large number.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from . import machine

#: DCGM's fields, by what nvidia-smi calls them, and their factor to DCGM's unit.
FIELDS = {
    "DCGM_FI_DEV_GPU_UTIL": "utilization.gpu",
    "DCGM_FI_DEV_FB_USED": "memory.used",
    "DCGM_FI_DEV_GPU_TEMP": "temperature.gpu",
    "DCGM_FI_DEV_MEMORY_TEMP": "temperature.memory",
    "DCGM_FI_DEV_POWER_USAGE": "power.draw",
    "DCGM_FI_DEV_SM_CLOCK": "clocks.current.sm",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "ecc.errors.corrected.volatile.total",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "ecc.errors.uncorrected.volatile.total",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "remapped_rows.correctable",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "remapped_rows.uncorrectable",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "",
}
ABSENT = "9223372036854775794"


def main(arguments: list[str]) -> int:
    """Serve until told to stop: `-f COUNTERS`, `-a ADDRESS`."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if machine.running() is None:
        print('level=ERROR msg="Failed to initialize NVML: Driver Not Loaded"', file=sys.stderr)
        return 1
    address, _, port = given.get("-a", ":9400").rpartition(":")
    rows = [line.split(",") for line in Path(given["-f"]).read_text().splitlines() if not line.startswith("#")]
    counted = [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 3]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(_family(field, kind) for field, kind in counted).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    (machine.ROOT / "proc/self/comm").write_text("dcgm-exporter")
    with (machine.ROOT / "dev/nvidiactl").open("rb"), ThreadingHTTPServer((address, int(port)), Handler) as server:
        server.serve_forever()
    return 0


def _family(field: str, kind: str) -> str:
    if field not in FIELDS:
        return ""
    lines = [f"# TYPE {field} {kind}"]
    for index, gpu in enumerate(machine.visible_gpus()):
        said = str(gpu["query"].get(FIELDS[field], "0")).split()[0]
        value = said if said.replace(".", "", 1).isdigit() else ABSENT
        name = gpu["query"]["name"]
        labels = f'gpu="{index}",UUID="{gpu["uuid"]}",device="nvidia{index}",modelName="{name}"'
        lines.append(f"{field}{{{labels}}} {value}")
    return "\n".join([*lines, ""])
