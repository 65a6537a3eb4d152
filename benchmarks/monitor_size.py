"""What a monitor needs for many hosts: the distribution's own Prometheus, Ingot's configuration and rules, stand-ins.

`python benchmarks/monitor_size.py [--hosts 200] [--seconds 180] [--prometheus PATH]` prints a table. Each stand-in
answers on a port of its own with so many series as a host and an engine have, by TLS with client certificates. Hosts,
their network and their nginx are not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingot.monitoring.metrics import CATALOGUE, GPU
from ingot.monitoring.rules.rendered import rule_file
from ingot.monitoring.targets import Member, nodes
from ingot.operations.monitoring import monitor
from ingot.secrets import pki

ROOT = Path(__file__).parents[1]
FIRST_PORT, OWN = 20_000, "127.0.0.1:29190"
#: Series of a host with eight GPUs and of an engine, counted on test hosts and real vLLM 0.32.
NODE_SERIES, ENGINE_SERIES = 1_500, 500
UP = 'count(up{job=~"node|replica"} == 1)'


#: What is 1 on a host that is well; the other figures of its collector are 0, so that no alert fires.
WELL = (
    "_up",
    "_seen",
    "_running",
    "_healthy",
    "_in_pool",
    "_mounted",
    "_synchronized",
    "_passed",
    "_succeeded",
    "_max_sequences",
)


def page(kind: str, turn: int) -> bytes:
    """What a stand-in says: a host or an engine that is well, filled up to as many series as there would be."""
    rows = []
    if kind == "node":
        for one in CATALOGUE:
            value = {"ingot_gpu_temperature_margin_celsius": 40, "ingot_gpu_expected": 8, "ingot_gpu_seen": 8}.get(
                one.name, int(one.name.endswith(WELL))
            )
            value = int(time.time()) + 10**7 * ("not_after" in one.name) if one.name.endswith("_seconds") else value
            if (
                "reason" in one.labels
                or "action" in one.labels
                or "purpose" in one.labels
                or one.name.endswith("offset_seconds")
            ):
                value = 0
            for gpu in range(8) if one.labels[:3] == GPU else (0,):
                labels = ",".join(f'{name}="{name}-{gpu}"' for name in one.labels)
                rows += [f"{series}{{{labels}}} {value}" for series in one.series]
    else:
        edges = ("0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")
        names = (ROOT / "tests/monitoring/captures/vllm.txt").read_text().splitlines()
        for name in (line for line in names if not line.startswith("#")):
            if name.endswith("_bucket"):
                rows += [f'{name}{{engine="0",le="{edge}"}} {turn * 100}' for edge in edges]
            else:
                value = turn * 100 if name.endswith(("_total", "_count", "_sum")) else 0
                rows.append(f'{name}{{engine="0"}} {0 if "error" in name or "preempt" in name else value}')
    wanted = NODE_SERIES if kind == "node" else ENGINE_SERIES
    rows += [f'{kind}_filler_total{{n="{number}"}} {turn * number}' for number in range(wanted - len(rows))]
    return ("\n".join(rows[:wanted]) + "\n").encode()


class Standins:
    """Every host's port, in one process."""

    def __init__(self, hosts: int) -> None:
        self.hosts, self.turn = hosts, 0
        self.pages = {kind: page(kind, 1) for kind in ("node", "replica")}

    async def serve(self, context: ssl.SSLContext) -> None:
        for number in range(self.hosts):
            await asyncio.start_server(self._answer, "127.0.0.1", FIRST_PORT + number, ssl=context)
        while True:
            await asyncio.sleep(15)
            self.turn += 1
            self.pages = {kind: page(kind, self.turn + 1) for kind in self.pages}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ")[1].decode()
                body = self.pages["node"]
                if path.startswith("/replica"):
                    body = self.pages["replica"]
                elif path.startswith("/targets/replica"):
                    here = {"__metrics_path__": "/replica/0", "model": "qwen", "replica": "qwen-0"}
                    body = json.dumps([{"targets": ["here"], "labels": here}]).encode()
                elif path.startswith("/targets"):
                    body = b"[]"
                kind = b"application/json" if path.startswith("/targets") else b"text/plain; version=0.0.4"
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def certify(directory: Path) -> None:
    """Make a CA's files for both ends, as a monitor and its hosts have them."""
    ca = pki.authority(directory)
    for name, is_client in (("server", False), ("client", True)):
        key, request = directory / f"{name}.key", directory / f"{name}.csr"
        subprocess.run(
            ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
             "-out", request, "-subj", "/CN=127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
        signed = pki.sign(ca, request.read_text(), ("127.0.0.1",), is_client=is_client)
        (directory / f"{name}.pem").write_text(signed)
    (directory / "authority.pem").write_text(ca.certificate_pem)


def hosts_end(directory: Path) -> ssl.SSLContext:
    """TLS of a host's port: for the monitor's certificate alone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "authority.pem"))
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def configuration(directory: Path, hosts: int) -> Path:
    """Ingot's own configuration of a monitor of so many hosts, with the paths and ports of this machine."""
    members = [Member(f"gpu-{number:03}", "127.0.0.1", FIRST_PORT + number) for number in range(hosts)]
    text = monitor.prometheus_yml(members, "monitor").replace("127.0.0.1:9090", OWN)
    text = text.replace(monitor.NODES, str(directory / "nodes.json")).replace(
        monitor.RULES, str(directory / "rules.yml")
    )
    text = text.replace(f"{monitor.MONITOR_DIRECTORY}/certificate.pem", str(directory / "client.pem"))
    text = text.replace(f"{monitor.MONITOR_DIRECTORY}/key.pem", str(directory / "client.key"))
    text = text.replace(f"{monitor.MONITOR_DIRECTORY}/authority.pem", str(directory / "authority.pem"))
    (directory / "nodes.json").write_text(nodes(members))
    (directory / "rules.yml").write_text(rule_file())
    (directory / "prometheus.yml").write_text(text)
    return directory / "prometheus.yml"


def asked(query: str) -> float:
    """One figure of Prometheus' own; NaN where there is none."""
    url = f"http://{OWN}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return float(found[0]["value"][1]) if found else float("nan")


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--prometheus", default="prometheus")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(Standins(given.hosts).serve(hosts_end(Path(given.serve))))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        certify(directory)
        config = configuration(directory, given.hosts)
        again = [sys.executable, __file__, "--hosts", str(given.hosts), "--serve", name]
        words = [given.prometheus, f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
        version = subprocess.run([given.prometheus, "--version"], capture_output=True, text=True, check=True)
        with subprocess.Popen(again) as standins:
            time.sleep(5)
            with (directory / "log").open("w") as log:
                watching = subprocess.Popen([*words, f"--web.listen-address={OWN}"], stderr=log)
            try:
                time.sleep(given.seconds)
                rows = {
                    "version": re.findall(r"version (\S+)", version.stdout + version.stderr)[0],
                    "hosts, targets up": f"{given.hosts}, {asked(UP):.0f} of {2 * given.hosts}",
                    "series": f"{asked('prometheus_tsdb_head_series'):,.0f}",
                    "samples a second": f"{asked('rate(prometheus_tsdb_head_samples_appended_total[1m])'):,.0f}",
                    "memory": f"{asked('process_resident_memory_bytes') / 2**20:,.0f} MiB",
                    "processor": f"{asked('rate(process_cpu_seconds_total[1m])'):.2f} cores",
                    "scrape, mean and slowest": f"{asked('avg(scrape_duration_seconds)') * 1000:.0f} ms, "
                    f"{asked('max(max_over_time(scrape_duration_seconds[1m]))') * 1000:.0f} ms",
                    "all rules once": f"{asked('sum(prometheus_rule_group_last_duration_seconds)') * 1000:.0f} ms",
                    "alerts": f"{asked('count(ALERTS)'):.0f}",
                    "evaluations missed": f"{asked('sum(prometheus_rule_group_iterations_missed_total)'):.0f}",
                }
            finally:
                watching.terminate()
                standins.terminate()
                watching.wait()
    for what, value in rows.items():
        print(f"{what:<26}{value}")


if __name__ == "__main__":
    main()
