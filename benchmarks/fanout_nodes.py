"""One host has a model, others want it, and each has a network of its own with a cap: peers, downloads, rsync.

    python -m benchmarks.fanout_nodes [--mb 128] [--files 32] [--mb-per-s 5] [--receivers 1 2 4 8]

Hosts are network namespaces of this machine (root, Linux), whose cables carry at most --mb-per-s in each direction
(tc, a token bucket). What leaves the host that has it is read from its cable. All transfers share the cores of
this machine: what that costs is printed, so that a cap which they cannot carry is seen.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingot.operations.weights import models
from ingot.secrets import pki
from tests.operations.weights.swarm import Hub, Member

BRIDGE, SUBNET = "ingot-fan", "10.213.7"
MODULES = "rsync.conf"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=128)
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--mb-per-s", type=float, default=5.0)
    parser.add_argument("--receivers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--ways", nargs="+", default=["plain", *(["rsync"] if shutil.which("rsync") else []), "ranges", "swarm"]
    )
    asked = parser.parse_args()
    names = (f"model-{index:02}-of-{asked.files}.safetensors" for index in range(asked.files))
    files = {name: os.urandom(asked.mb * 10**6 // asked.files) for name in names}
    print(
        f"{asked.mb} MB in {asked.files} files, {asked.mb_per_s:g} MB/s for each host, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| receivers | way | s | times one | copies from the source | processor, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    first: dict[str, float] = {}
    for count in asked.receivers:
        for way in asked.ways:
            seconds, copies, cpu = measured(way, count, files, asked.mb_per_s)
            first.setdefault(way, seconds)
            ratio = seconds / first[way]
            print(f"| {count} | {way} | {seconds:.1f} | {ratio:.2f} | {copies:.2f} | {cpu:.1f} |", flush=True)


def measured(way: str, count: int, files: dict[str, bytes], mb_per_s: float) -> tuple[float, float, float]:
    """Seconds until all receivers have it, how many copies left the source, and seconds of processor."""
    with tempfile.TemporaryDirectory(prefix="ingot-fanout-") as made, nodes(count + 1, mb_per_s):
        Path(made).chmod(0o755)
        source, *others = members = [
            Member(
                index,
                Path(made) / str(index),
                8444,
                f"{SUBNET}.{index + 2}",
                ("ip", "netns", "exec", f"{BRIDGE}{index}"),
            )
            for index in range(count + 1)
        ]
        for one in members:
            (one.home / "at-work").mkdir(parents=True)
        source.holds(files)
        server: subprocess.Popen[bytes] | None = None
        hub = Hub({})
        shares = way in ("ranges", "swarm")
        if shares:
            ca = pki.authority(Path(made) / "secrets")
            for one in members:
                one.serve(ca, swarm=members if way == "swarm" else ())
        else:
            server = _served(way, source, Path(made))
        before, cpu, began = _sent(source), _processor(), time.monotonic()
        address = hub.url if shares else f"http://{source.address}:8000"
        for one in others:
            if way == "rsync":
                target = one.target
                target.parent.mkdir(parents=True)
                line = [*one.within, "rsync", "-a", f"rsync://{source.address}/model/", f"{target}/"]
                one.processes.append(subprocess.Popen(line))
            else:
                one.fetch(members if shares else [one], address, files, models.SCRIPT)
        for one in others:
            assert one.processes[-1].wait(timeout=3600) == 0, way
        took = time.monotonic() - began
        assert all((one.target / path).read_bytes() == data for one in others for path, data in files.items())
        sent = _sent(source) - before
        for one in members:
            one.dies()
        if server:
            server.kill()
            server.wait()
        hub.shutdown()
    return took, sent / sum(map(len, files.values())), _processor() - cpu


def _served(way: str, source: Member, made: Path) -> subprocess.Popen[bytes]:
    """A server of the source for plain downloads or rsync, that listens."""
    if way == "rsync":
        (made / MODULES).write_text(f"use chroot = no\n[model]\npath = {source.target}\n")
        line = ["rsync", "--daemon", "--no-detach", "--config", str(made / MODULES), "--port", "873"]
        port = 873
    else:
        line = [sys.executable, "-m", "http.server", "8000", "--directory", str(source.target)]
        port = 8000
    process = subprocess.Popen([*source.within, *line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    probe = ["bash", "-c", f"echo >/dev/tcp/{source.address}/{port}"]
    while subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode:
        assert process.poll() is None, line
        time.sleep(0.1)
    return process


def _sent(member: Member) -> int:
    """Bytes that came from a host over its cable."""
    return int(Path(f"/sys/class/net/{BRIDGE}{member.index}/statistics/rx_bytes").read_text())


def _processor() -> float:
    """Seconds of processor of this process and all that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


@contextmanager
def nodes(count: int, mb_per_s: float) -> Iterator[None]:
    """So many network namespaces on one bridge, each behind a cable that carries so much in each direction."""
    cap = f"tbf rate {round(mb_per_s * 8000)}kbit burst 64kb latency 200ms"

    def run(line: str, *, check: bool = True) -> None:
        subprocess.run(line.split(), check=check, stderr=None if check else subprocess.DEVNULL)

    def removed() -> None:
        for index in range(count):
            run(f"ip netns delete {BRIDGE}{index}", check=False)
            run(f"ip link delete {BRIDGE}{index}", check=False)
        run(f"ip link delete {BRIDGE}", check=False)

    removed()
    try:
        run(f"ip link add {BRIDGE} type bridge")
        run(f"ip address add {SUBNET}.1/24 dev {BRIDGE}")
        run(f"ip link set {BRIDGE} up")
        for index in range(count):
            name = f"{BRIDGE}{index}"
            within = f"ip -n {name}"
            run(f"ip netns add {name}")
            run(f"ip link add {name} type veth peer name cable netns {name}")
            run(f"ip link set {name} master {BRIDGE} up")
            run(f"{within} link set lo up")
            run(f"{within} address add {SUBNET}.{index + 2}/24 dev cable")
            run(f"{within} link set cable up")
            run(f"tc qdisc add dev {name} root {cap}")
            run(f"tc -n {name} qdisc add dev cable root {cap}")
        yield
    finally:
        removed()


if __name__ == "__main__":
    main()
