"""Hosts as network namespaces of this machine (root, Linux), whose cables carry at most so much in each direction.

That is tc's token bucket. What leaves the host that has the model is read from its cable. All transfers share the cores
of this machine: what that costs is measured too, so that a cap which they cannot carry is seen.
"""

from __future__ import annotations

import resource
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


def measured(way: str, count: int, files: dict[str, bytes], mb_per_s: float) -> tuple[float, float, float]:
    """Seconds until all receivers have what one host has, how many copies left it, and seconds of processor."""
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
    cap = f"tbf rate {round(mb_per_s * 8000)}kbit burst 128kb latency 200ms"

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
