"""What a run costs: SSH commands and seconds per role, first and second run, with and without latency.

    .venv/bin/python benchmarks/round_trips.py [--delay-ms 50] [--profile a10gx4]

Boots its own test host, deploys twice as is; then boots a fresh one and deploys twice through a local TCP proxy
that delays every packet. Counts are exact (a look answers the others); seconds are this machine's.
"""

# pyinfra's command line patches the standard library for gevent: it comes first.
import pyinfra_cli  # noqa: F401  isort: skip

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

HOST = "bench"
ROOT = Path(__file__).parent.parent
#: The second run of the whole deploy must stay within this many SSH commands.
SECOND_RUN_LIMIT = 4


def count_one_run(arguments: list[str], result: Path) -> None:
    """Run pyinfra in this process with every command counted under the role that sent it."""
    from pyinfra_cli.cli import cli

    from ingot.inventory.connector import IngotConnector

    commands: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)

    def role_of(host: Any) -> str:
        op_hash = host.executing_op_hash
        if not op_hash:
            return "connect and prepare"
        return str(min(host.state.get_op_meta(op_hash).names)).split(" | ")[0]

    def counted(name: str) -> None:
        original = getattr(IngotConnector, name)

        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            role, started = role_of(self.host), time.monotonic()
            commands[role] += 1
            try:
                return original(self, *args, **kwargs)
            finally:
                seconds[role] += time.monotonic() - started

        setattr(IngotConnector, name, wrapper)

    # `connect` proves sudo by one command; what a look answers is none.
    for name in ("_run", "put_file", "get_file", "hold", "connect"):
        counted(name)
    started = time.monotonic()
    status = 0
    try:
        cli(args=arguments, standalone_mode=False)
    except SystemExit as end:
        status = int(end.code or 0)
    result.write_text(
        json.dumps({"status": status, "commands": commands, "seconds": seconds, "wall_s": time.monotonic() - started})
    )


def run(extra: list[str]) -> dict[str, Any]:
    """One deploy in a fresh process; its counts."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        command = [sys.executable, __file__, "--count-into", str(result), "--"]
        command += ["-y", "inventories/sandbox.py", "deploy.py", "--limit", HOST, *extra]
        log = Path(scratch) / "log"
        with log.open("w") as output:
            # Python keeps bytecode, as it does for people: compiling Ingot anew is no cost of a run.
            own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False, timeout=1800, env=own)
        if not result.exists():
            sys.exit(f"round_trips: the deploy did not end by itself:\n{log.read_text()[-4000:]}")
        counts: dict[str, Any] = json.loads(result.read_text())
        if counts["status"]:
            sys.exit(f"round_trips: the deploy failed:\n{log.read_text()[-4000:]}")
        return counts


@contextmanager
def delayed(address: str, known_hosts: Path, delay_ms: int) -> Iterator[list[str]]:
    """pyinfra arguments that reach a host through a proxy adding `delay_ms` to every round trip."""
    from ingot.sandbox.proxy import Proxy

    with Proxy(address, 22, delay_s=delay_ms / 2000) as proxy, tempfile.TemporaryDirectory() as scratch:
        pinned = Path(scratch) / "known_hosts"
        keys = [line.split(maxsplit=1)[1] for line in known_hosts.read_text().splitlines() if address in line]
        pinned.write_text("".join(f"[127.0.0.1]:{proxy.port} {key}\n" for key in keys))
        yield [
            *("--data", "ssh_hostname=127.0.0.1", "--data", f"ssh_port={proxy.port}"),
            *("--data", f"ssh_known_hosts_file={pinned}"),
        ]


def table(title: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    print(f"\n{title}")
    print(f"{'role':<22}{'first run':>22}{'second run':>22}")
    roles = list(dict.fromkeys([*first["commands"], *second["commands"]]))
    for role in roles:
        cells = (f"{r['commands'].get(role, 0):>8} cmd {r['seconds'].get(role, 0.0):>7.1f} s" for r in (first, second))
        print(f"{role:<22}" + "".join(f"{cell:>22}" for cell in cells))
    totals = (f"{sum(r['commands'].values()):>8} cmd {r['wall_s']:>7.1f} s" for r in (first, second))
    print(f"{'whole run':<22}" + "".join(f"{cell:>22}" for cell in totals))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay-ms", type=int, default=50)
    parser.add_argument("--profile", default="a10gx4")
    parser.add_argument("--count-into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("pyinfra", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count_into:
        sys.path.insert(0, str(ROOT))
        count_one_run(options.pyinfra, options.count_into)
        return

    from ingot.sandbox import Sandbox

    sandbox, worst = Sandbox(), 0
    for delay_ms in dict.fromkeys((0, options.delay_ms)):
        host = sandbox.up(HOST, profile=options.profile)
        try:
            way = delayed(host.address, host.known_hosts_path, delay_ms) if delay_ms else nullcontext([])
            with way as extra:
                first, second = run(extra), run(extra)
        finally:
            sandbox.down(HOST)
        table(f"{delay_ms} ms added per round trip, profile {options.profile}", first, second)
        worst = max(worst, sum(second["commands"].values()))
    print(f"\nsecond run: {worst} SSH commands, limit {SECOND_RUN_LIMIT}")
    sys.exit(worst > SECOND_RUN_LIMIT)


if __name__ == "__main__":
    main()
