"""What a first deploy overlaps, for real: how long each of its long works took on a bare host, and how long it took.

    .venv/bin/python benchmarks/first_run.py [--weights-mb 120] [--mb-per-s 1]

Boots a bare test host (root, Linux) whose driver needs a reboot, and deploys it. The weights' source is throttled by
`cache_bandwidth_mb_s`, packages and image are what test hosts have. The host's journal says when each unit was at work;
a reboot ends one and begins it again. The targets: the deploy ends within 5 % of the longest chain of works that wait
for each other, plus what has to come after it (replicas that start and are proven, gateway).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from ingot.sandbox import Sandbox, TestHost, mirror  # noqa: E402
from ingot.sandbox.paths import Paths  # noqa: E402
from ingot.sandbox.tiny_models import directory as models  # noqa: E402
from ingot.sandbox.tiny_models import generator  # noqa: E402

NAME = "bench-first"
#: The units in which long work runs, and what each does.
WORKS = {
    "ingot-transfers": "weights travel",
    "ingot-packages": "packages: driver, Docker, toolkit, nginx",
    "ingot-image": "image",
    "ingot-models": "weights that were not there yet, and their proof",
}
INVENTORY = """from ingot.sandbox.inventory import hosts
gpu = [(name, {{**data, **{values!r}}}) for name, data in hosts() if name == "@ingot/{name}"]
"""


def weights(work: Path, size_mb: int) -> tuple[Path, dict[str, object]]:
    """A model that takes long to fetch, beside the others of the mirror, and the values by which a host serves it."""
    filling = "".join(random.choices(string.ascii_letters, k=1 << 20))
    contents = {**generator.files(), "filling.json": models.as_json([filling] * size_mb)}
    made = models.make(Paths.from_environment().mirror / "models", generator.NAME, contents)
    listed = json.loads((made / models.MANIFEST).read_text())["files"]
    lock = work / "models.lock.yaml"
    entry = {"commit": made.name, "files": listed}
    lock.write_text(json.dumps({"schema": 1, "hub": mirror.MODELS, "repositories": {generator.NAME: entry}}))
    return made, {
        "models_lock": str(lock),
        "site_models": {generator.NAME: mirror.catalog_entry(generator, made.name)},
    }


def works(host: TestHost, since: float) -> dict[str, list[tuple[float, float]]]:
    """When each unit was at work, seconds since the deploy began."""
    found: dict[str, list[tuple[float, float]]] = {}
    begun: dict[str, float] = {}
    read = f"journalctl --quiet --output=json --since=@{int(since)} _PID=1"
    boot, last = "", since
    for line in host.succeeds(read).splitlines():
        entry = json.loads(line)
        at, unit = int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry.get("UNIT", "")).removesuffix(".service")
        ended = [unit] if unit in begun and "Deactivated" in str(entry["MESSAGE"]) else []
        # What a reboot ended did not always say so.
        for name in list(begun) if boot not in ("", entry["_BOOT_ID"]) else ended:
            found.setdefault(name, []).append((begun.pop(name) - since, (at if ended else last) - since))
        if unit in WORKS and str(entry["MESSAGE"]).startswith("Started"):
            begun[unit] = at
        boot, last = entry["_BOOT_ID"], at
    return found


def measure(args: argparse.Namespace, work: Path) -> int:
    sandbox = Sandbox()
    host = sandbox.up(NAME, profile="rtx4090x1")
    made, values = weights(work, args.weights_mb)
    try:
        host.succeeds("mkdir -p /var/log/journal && journalctl --flush")
        serve = [{"model": generator.NAME, "context": 4096, "concurrency": 4}]
        values |= {"cache_bandwidth_mb_s": args.mb_per_s, "docker_source": "distribution", "serve": serve}
        values["docker_default_ulimits"] = {}  # a test host may not raise them
        path = work / "first.py"
        path.write_text(INVENTORY.format(values=values, name=NAME))
        load, began = os.getloadavg()[0], time.time()
        command = [Path(sys.executable).parent / "pyinfra", "-y", path, "deploy.py"]
        done = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=1800, stdin=subprocess.DEVNULL
        )
        took = time.time() - began
        if done.returncode:
            print((done.stdout + done.stderr)[-4000:], file=sys.stderr)
            return 1
        total = 0.0
        for unit, spans in works(host, began).items():
            for start, end in spans:
                total += end - start
                print(f"{start:7.1f} s to {end:7.1f} s  {end - start:7.1f} s  {unit}: {WORKS[unit]}")
        print(f"the deploy took {took:.1f} s; these works {total:.1f} s (load {load:.1f} to {os.getloadavg()[0]:.1f})")
        return 0
    finally:
        sandbox.down(NAME)
        subprocess.run(["rm", "-rf", "--", made], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights-mb", type=int, default=120)
    parser.add_argument("--mb-per-s", type=int, default=1)
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(measure(parser.parse_args(), Path(temporary)))


if __name__ == "__main__":
    main()
