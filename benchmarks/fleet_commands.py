"""How long the commands of every day take over live hosts: a second deploy, plan, status, drift and verify.

    .venv/bin/python benchmarks/fleet_commands.py [--hosts 1 8] [--rounds 3]

Boots test hosts without a GPU (root, Linux), deploys llama.cpp on all of them, and times whole processes: medians, the
processor time that the command itself takes, and the machine's load meanwhile. The hosts share this machine's cores
with the commands, which a fleet's do not.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))

from ingot.sandbox import Sandbox  # noqa: E402

INVENTORY = """from ingot.sandbox.inventory import hosts
_serve = [{{"model": "tiny-gguf", "context": 4096, "concurrency": 2, "engine": "llama.cpp"}}]
_names = {names!r}
_values = {{"serve": _serve, "docker_source": "distribution", "docker_default_ulimits": {{}}}}
gpu = [(name, {{**data, **_values}}) for name, data in hosts() if name.removeprefix("@ingot/") in _names]
"""


def took_s(command: Sequence[str | Path], timeout_s: int = 600) -> tuple[float, float]:
    """Seconds of a process that ends well, or finds a check that failed, and those of a core. Raises: SystemExit."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    if done.returncode and "verify" not in command:
        sys.exit(f"fleet_commands: {' '.join(map(str, command))}:\n{(done.stdout + done.stderr)[-4000:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sandbox, names = Sandbox(), [f"bench-c{number}" for number in range(max(args.hosts))]
    with tempfile.TemporaryDirectory() as temporary:
        inventory = Path(temporary) / "fleet.py"
        inventory.write_text(INVENTORY.format(names=names))
        deploy = [BIN / "pyinfra", "-y", inventory, "deploy.py"]
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda name: sandbox.up(name, profile="none"), names))
            # The second asks what the first could not know.
            for _ in range(2):
                took_s(deploy, 1800)
            print(f"{'':<16}" + "".join(f"{count:>5} hosts (core)" for count in args.hosts) + "    load")
            for what, command in {
                "pyinfra itself": [BIN / "pyinfra", "--version"],
                "ingot --help": [BIN / "ingot", "--help"],
                "second deploy": deploy,
                **{name: [BIN / "ingot", name, inventory] for name in ("plan", "status", "drift", "verify")},
            }.items():
                cells, load = [], os.getloadavg()[0]
                for count in args.hosts:
                    limits = [part for name in names[:count] for part in ("--limit", name)]
                    chosen = {"pyinfra itself": [], "ingot --help": [], "second deploy": limits}
                    whole = [*command, *chosen.get(what, names[:count])]
                    rounds = [took_s(whole) for _ in range(args.rounds)]
                    cells.append(tuple(statistics.median(figures) for figures in zip(*rounds, strict=True)))
                print(
                    f"{what:<16}"
                    + "".join(f"{took:>7.2f} s {f'({core:.2f} s)':>9}" for took, core in cells)
                    + f"{load:>8.1f}",
                    flush=True,
                )
        finally:
            for name in {host.name for host in sandbox.hosts()} & set(names):
                sandbox.down(name)


if __name__ == "__main__":
    main()
