"""What it takes to have a model on 1, 2, 4 and 8 hosts, as two tables.

    python -m benchmarks.fanout [--mb 100] [--files 8] [--line-mb-per-s 10] [--mb-per-s 5] [--hosts 1 2 4 8]

From outside, where no host has it: hosts are cache directories of this machine with their own servers and the script
that hosts run; the hub is a local web server that sends at most --line-mb-per-s to all callers together, as a site's
line to the internet does. It says how many copies leave the hub.

Between hosts, where one has it and each has a network of its own that carries --mb-per-s in each direction (root,
Linux: fanout_nodes.py): peers with and without a swarm, plain downloads, and rsync where it is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from benchmarks import fanout_nodes
from ingot.operations.weights import models
from ingot.secrets import pki
from tests.operations.weights.swarm import Hub, Member


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--line-mb-per-s", type=float, default=10.0)
    parser.add_argument("--mb-per-s", type=float, default=5.0)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--only", choices=("outside", "between"))
    rsync = ["rsync"] if shutil.which("rsync") else []
    parser.add_argument("--ways", nargs="+", default=["plain", *rsync, "ranges", "swarm"])
    asked = parser.parse_args()
    names = (f"model-{index:02}-of-{asked.files}.safetensors" for index in range(asked.files))
    files = {name: os.urandom(asked.mb * 10**6 // asked.files) for name in names}
    print(f"{asked.mb} MB in {asked.files} files, load {os.getloadavg()[0]:.1f}")
    if asked.only != "between":
        print(f"\nFrom outside, by a line of {asked.line_mb_per_s:g} MB/s for all:\n")
        print("| hosts | way | s | copies from outside |")
        print("| --- | --- | --- | --- |")
        for count in asked.hosts:
            for way in (one for one in asked.ways if one != "rsync"):
                took, copies = outside(way, count, files, asked.line_mb_per_s * 1e6)
                print(f"| {count} | {way} | {took:.1f} | {copies:.2f} |", flush=True)
    if asked.only != "outside" and os.geteuid() == 0 and shutil.which("tc"):
        print(f"\nFrom one host to others, {asked.mb_per_s:g} MB/s for each in each direction:\n")
        print("| receivers | way | s | times one | copies from the one | processor, s |")
        print("| --- | --- | --- | --- | --- | --- |")
        first: dict[str, float] = {}
        for count in asked.hosts:
            for way in asked.ways:
                took, copies, cpu = fanout_nodes.measured(way, count, files, asked.mb_per_s)
                ratio = took / first.setdefault(way, took)
                print(f"| {count} | {way} | {took:.1f} | {ratio:.2f} | {copies:.2f} | {cpu:.1f} |", flush=True)


def outside(way: str, count: int, files: dict[str, bytes], bytes_per_s: float) -> tuple[float, float]:
    """Seconds until all hosts have the model, and how many copies left the hub."""
    hub = Hub(files, in_all_per_s=bytes_per_s)
    with tempfile.TemporaryDirectory(prefix="ingot-fanout-") as made:
        Path(made).chmod(0o755)
        ca = pki.authority(Path(made) / "secrets")
        members = [
            Member(index, Path(made) / str(index), _free_port(), swarm_port=_free_port()) for index in range(count)
        ]
        for one in members:
            (one.home / "at-work").mkdir(parents=True)
            if way != "plain":
                one.serve(ca, swarm=members if way == "swarm" else ())
        began = time.monotonic()
        for one in members:
            one.fetch([one] if way == "plain" else members, hub.url, files, models.SCRIPT)
        for one in members:
            one.ended(limit_s=3600)
        took = time.monotonic() - began
        assert all(one.has(files) for one in members)
        for one in members:
            one.dies()
    hub.shutdown()
    return took, hub.copies()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
