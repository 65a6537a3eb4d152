"""What it takes to have a model on 1, 2, 4 and 8 hosts: peers beside as many plain downloads, as a table.

    python -m benchmarks.fanout [--mb 64] [--mb-per-s 25] [--hosts 1 2 4 8]

Each host is a cache directory of this machine with its own server and the script that hosts run; the hub is a local web
server that sends at most --mb-per-s to all callers together, as a site's line to the internet does. So the table says
how many copies leave the hub, and what waits for its line; it says nothing of disks or of links between hosts.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from pathlib import Path

from ingot.operations.weights import models
from ingot.secrets import pki
from tests.operations.weights.swarm import Hub, Member

SHARDS = 8


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=64)
    parser.add_argument("--mb-per-s", type=float, default=25.0)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4, 8])
    asked = parser.parse_args()
    names = (f"model-{index}-of-{SHARDS}.safetensors" for index in range(SHARDS))
    files = {name: os.urandom(asked.mb * 10**6 // SHARDS) for name in names}
    print(f"{asked.mb} MB in {SHARDS} files, {asked.mb_per_s:g} MB/s from outside, load {os.getloadavg()[0]:.1f}\n")
    print("| hosts | plain downloads, s | copies from outside | peers, s | copies from outside |")
    print("| --- | --- | --- | --- | --- |")
    for count in asked.hosts:
        plain, peers = (measured(count, files, asked.mb_per_s * 1e6, shares) for shares in (False, True))
        print(f"| {count} | {plain[0]:.1f} | {plain[1]:.2f} | {peers[0]:.1f} | {peers[1]:.2f} |", flush=True)


def measured(count: int, files: dict[str, bytes], bytes_per_s: float, shares: bool) -> tuple[float, float]:
    """Seconds until all hosts have the model, and how many copies left the hub."""
    hub = Hub(files, in_all_per_s=bytes_per_s)
    with tempfile.TemporaryDirectory(prefix="ingot-fanout-") as made:
        Path(made).chmod(0o755)
        ca = pki.authority(Path(made) / "secrets")
        members = [Member(index, Path(made) / str(index), _free_port()) for index in range(count)]
        for one in members:
            (one.home / "at-work").mkdir(parents=True)
            if shares:
                one.serve(ca)
        began = time.monotonic()
        for one in members:
            one.fetch(members if shares else [one], hub.url, files, models.SCRIPT)
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
