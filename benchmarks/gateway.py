"""What a gateway costs: side by side on one test host's loopback, before an engine that costs next to nothing.

    .venv/bin/python benchmarks/gateway.py [--rounds 3] [--seconds 3] [--peers DIRECTORY] [--accounting]

Boots a test host (root, Linux), deploys the real role there with 1,000 keys, and measures from inside the host's
network: the engine directly, nginx with TLS alone, Ingot's gateway, the same with redaction, a FastAPI proxy as the
usual guide builds it, and LiteLLM's proxy. The last two run from environments of their own below `--peers`
(`DIRECTORY/fastapi` and `DIRECTORY/litellm`, made with pip where they are missing; a peer that cannot be installed is
left out and said so). Rounds take turns, and medians are reported, for machines that others use too.

- added p50 and p99: one connection, over nginx with TLS alone
- requests per second of one core: 32 connections, by the CPU time of the gateway's own processes
- CPU per piece that the engine sends: 32 streams, by the CPU time of the gateway's own processes
- accounting per piece: what it costs to count the tokens of an engine that accounts for nobody, over a model beside it
  that accounts for itself; with `--accounting` that alone

Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingot.facts.filter import SOCKETS
from ingot.operations.gateway import filter_site
from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.inventory import connection
from ingot.secrets import files, keys
from ingot.settings.defaults import defaults
from ingot.settings.gateway import TeamValues

ROOT = Path(__file__).parent.parent
STANDINS = ROOT / "benchmarks" / "gateway_standins"
NAME = "bench-gateway"
ENGINE = "172.31.213.10:8000"
PATH = "/v1/chat/completions"
KEYS, REDACTED = 1000, "redacted"
CONNECTIONS, STREAMS, PIECES, PIECE_EVERY_S = 32, 32, 400, 0.01
#: What the filter's container would run from; here its process runs without a container.
IMAGE = {"engine_image_archive": "/nonexistent", "engine_image_id": "sha256:" + "0" * 64}
ASK = json.dumps({"model": "stand-in", "messages": [{"role": "user", "content": "Say something short, please."}]})
TARGETS = {
    "added p50, ms": 0.5,
    "times FastAPI's requests/s": 10,
    "redaction per piece, µs": 50,
    "accounting per piece, µs": 15,
}
VALUES: dict[str, Any] = {"gateway_requests_per_minute": 60_000_000, "gateway_concurrency": 10_000}
TLS_ONLY_PORT, FASTAPI_PORT, LITELLM_PORT = 9443, 9444, 9445

TLS_ONLY = """
user www-data;
worker_processes auto;
pid /run/tls-only.pid;
error_log /dev/null crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    ssl_certificate /etc/ingot/gateway/tls/certificate.pem;
    ssl_certificate_key /etc/ingot/gateway/tls/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    upstream engine {{ server {engine}; keepalive 32; }}
    server {{
        listen {port} ssl;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""
WRK = """
wrk.method = "POST"
wrk.body = [[%s]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format("RESULT %%d %%f %%f %%d %%d\\n", summary.requests,
    latency:percentile(50), latency:percentile(99),
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
"""


@dataclass
class Contender:
    """One way to the engine. `belongs` says whether a process (pid and command line) is a part of it."""

    name: str
    url: str
    key: str
    belongs: Callable[[int, str], bool]
    model: str = "stand-in"
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    per_core: list[float] = field(default_factory=list)
    piece_us: list[float] = field(default_factory=list)

    def cpu_s(self) -> float:
        """CPU time that its processes have used so far."""
        ticks = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if self.belongs(int(entry.name), command):
                        ticks += sum(map(int, (entry / "stat").read_text().rpartition(")")[2].split()[11:13]))
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
        return ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    """The host and what runs in its network; everything started here ends with it."""

    def __init__(self, host: TestHost, directory: Path, peers: Path) -> None:
        self.host, self.directory, self.peers = host, directory, peers
        self.secrets = directory / "secrets"
        self.leader = next(pid for pid in _pids() if _is_init(pid) and _host_name(pid) == host.name)
        self.root = Path(f"/proc/{self.leader}/root")

    def inside(self, *command: str) -> list[str]:
        """A command of this machine, run in the host's network."""
        return ["nsenter", f"--net=/proc/{self.leader}/ns/net", *command]

    @contextmanager
    def process(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process in the host's network, until the end of the block."""
        log = (self.directory / f"{Path(command[0]).name}.log").open("ab")
        started = subprocess.Popen(
            self.inside(*command), env={**os.environ, **environment}, stdout=log, stderr=log, cwd=self.directory
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()

    def deploy(self, **data: object) -> None:
        """The gateway role, as a user runs it."""
        values = {**connection(self.host), "secrets_dir": str(self.secrets), **data}
        (self.directory / "lab.py").write_text(f"gpu = [('@ingot/{NAME}', {values!r})]\n")
        (self.directory / "gateway_only.py").write_text("from roles.gateway import gateway\n\ngateway()\n")
        command = [Path(sys.executable).parent / "pyinfra", "-y", "lab.py", "gateway_only.py"]
        command[2:] = [str(self.directory / name) for name in command[2:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            sys.exit(done.stdout[-3000:] + done.stderr[-3000:])

    def nginx(self, configuration: str) -> Callable[[int, str], bool]:
        """Whether a process is of this host's nginx with that configuration: its master, or one of its workers."""

        def belongs(pid: int, command: str) -> bool:
            if not command.startswith("nginx:") or _host_name(pid) != self.host.name:
                return False
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            master = command if "master" in command else Path(f"/proc/{parent}/cmdline").read_text()
            return ("tls-only" in master) == ("tls-only" in configuration)

        return belongs

    def wrk(self, one: Contender, connections: int, seconds: int) -> tuple[int, float, float]:
        """Load for some seconds: requests answered, p50 and p99 in milliseconds."""
        self.host.put("/root/ask.lua", WRK % (ASK, one.key))
        threads = 1 if connections == 1 else 2
        said = self.host.succeeds(
            f"wrk -t{threads} -c{connections} -d{seconds}s --timeout 20s -s /root/ask.lua {one.url}", seconds + 60
        )
        done, p50, p99, refused, broken = re.findall(r"RESULT (\d+) (\S+) (\S+) (\d+) (\d+)", said)[0]
        if int(refused) or int(broken):
            sys.exit(
                f"{one.name}: {refused} requests were refused and {broken} connections broke; nothing is measured."
            )
        return int(done), float(p50) / 1000, float(p99) / 1000

    def measure(self, one: Contender, seconds: int) -> None:
        """One round."""
        done, p50, p99 = self.wrk(one, 1, seconds)
        if not done:
            sys.exit(f"{one.name}: no answer within {seconds} s; give it more (--seconds), nothing is measured.")
        one.p50_ms.append(p50)
        one.p99_ms.append(p99)
        before = one.cpu_s()
        done, _, _ = self.wrk(one, CONNECTIONS, seconds)
        one.per_s.append(done / seconds)
        one.per_core.append(done / max(one.cpu_s() - before, 0.01))
        self.stream(one)

    def stream(self, one: Contender) -> None:
        """One round of streams alone."""
        before = one.cpu_s()
        python = str(self.peers / "fastapi/bin/python")
        streams = self.inside(python, str(STANDINS / "streams.py"), one.url, one.key, str(STREAMS), one.model)
        pieces = int(subprocess.run(streams, capture_output=True, check=True, timeout=60).stdout)
        if not pieces:
            sys.exit(f"{one.name}: no piece of any stream came; nothing is measured.")
        one.piece_us.append((one.cpu_s() - before) / (STREAMS * PIECES) * 1e6)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_init(pid: int) -> bool:
    try:
        return bool(re.search(r"^NSpid:.*\t1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    except OSError:
        return False


def _host_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/root/etc/hostname").read_text().strip()
    except OSError:
        return ""


def _environment(directory: Path, *packages: str) -> bool:
    """Whether a virtual environment with these packages is there, made with pip if need be."""
    if not (directory / "made").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(directory / "bin/pip"), "install", "--quiet", *packages]
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            return False
        (directory / "made").touch()
    return True


def _wait(host: TestHost, url: str) -> None:
    host.wait_until_succeeds(f"curl -sk --max-time 5 -o /dev/null {url}", timeout_s=90)


def keys_of(bench: Bench) -> dict[str, str]:
    """Make the keys of as many teams, in the order of the teams."""
    made = {
        f"sk-{team}-{secrets.token_urlsafe(32)}": team for team in [f"team-{n}" for n in range(1, KEYS)] + [REDACTED]
    }
    # Written at once: `ingot keys create` reads the whole file for each.
    entries = [{"team": team, "sha256": keys.fingerprint(one), "created": "2026-11-23"} for one, team in made.items()]
    files.private_directory(bench.secrets)
    files.replace(bench.secrets / keys.KEYS_FILE, json.dumps({"keys": entries}), mode=0o600)
    return made


def engine_of(bench: Bench, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start the engine that everything is before."""
    python = str(bench.peers / "fastapi/bin/python")
    bench.host.succeeds(f"ip address replace {ENGINE.partition(':')[0]}/32 dev lo; mkdir -p /var/lib/ingot")
    return stack.enter_context(
        bench.process(python, str(STANDINS / "engine.py"), *ENGINE.split(":"), str(PIECES), str(PIECE_EVERY_S))
    )


def accounting(bench: Bench, key: str, rounds: int) -> bool:
    """Measure what counting costs, print it, and whether it is within its target."""
    models = [{"model": "stand-in", "replicas": [ENGINE]}, {"model": "counted", "replicas": [ENGINE], "engine": "tgi"}]
    bench.host.put("/var/lib/ingot/upstreams.json", json.dumps(models))
    bench.deploy(**VALUES)
    url, nginx = f"https://{NAME}{PATH}", bench.nginx("/etc/nginx/nginx.conf")
    both = [Contender(str(one["model"]), url, key, nginx, str(one["model"])) for one in models]
    for _ in range(rounds):
        for one in both:
            bench.stream(one)
    own, counted = (statistics.median(one.piece_us) for one in both)
    name = "accounting per piece, µs"
    print(f"\nCPU per piece: {own:.1f} µs of two models, {counted:.1f} µs where the gateway counts")
    print(
        f"{name}: {counted - own:.2f} (target {TARGETS[name]}) {'met' if counted - own <= TARGETS[name] else 'MISSED'}"
    )
    return counted - own <= TARGETS[name]


def contenders(
    bench: Bench, stack: ExitStack, made: dict[str, str], engine: subprocess.Popen[bytes]
) -> list[Contender]:
    """Start what is compared; it ends with the stack."""
    host = bench.host
    key = list(made)[KEYS // 2]
    host.put("/var/lib/ingot/upstreams.json", json.dumps([{"model": "stand-in", "replicas": [ENGINE]}]))
    values = VALUES
    bench.deploy(**values)
    host.succeeds(f"echo 127.0.0.1 {NAME} >>/etc/hosts; apt-get install -y -q wrk", timeout_s=120)
    host.put("/root/tls-only.conf", TLS_ONLY.format(engine=ENGINE, port=TLS_ONLY_PORT))
    host.succeeds("nginx -c /root/tls-only.conf")
    found: list[Contender] = [
        Contender("engine, directly", f"http://{ENGINE}{PATH}", key, lambda pid, _: pid == engine.pid),
        Contender("nginx, TLS alone", f"https://{NAME}:{TLS_ONLY_PORT}{PATH}", key, bench.nginx("/root/tls-only.conf")),
        Contender(f"Ingot, {KEYS:,} keys", f"https://{NAME}{PATH}", key, bench.nginx("/etc/nginx/nginx.conf")),
    ]
    found.append(redaction(bench, stack, values, list(made)[-1]))
    tls = bench.root / "etc/ingot/gateway/tls"
    (bench.directory / "keys.txt").write_text("\n".join(made))
    fastapi = stack.enter_context(
        bench.process(
            *(str(bench.peers / "fastapi/bin/uvicorn"), "fastapi_proxy:app", "--app-dir", str(STANDINS)),
            *("--port", str(FASTAPI_PORT), "--no-access-log", "--log-level", "warning"),
            *("--ssl-keyfile", str(tls / "key.pem"), "--ssl-certfile", str(tls / "certificate.pem")),
            ENGINE=f"http://{ENGINE}",
            KEYS=str(bench.directory / "keys.txt"),
        )
    )
    url = f"https://{NAME}:{FASTAPI_PORT}"
    _wait(host, f"{url}/docs")
    found.append(Contender("FastAPI and httpx", url + PATH, key, lambda pid, _: pid == fastapi.pid))
    if _environment(bench.peers / "litellm", "litellm[proxy]"):
        found.append(litellm(bench, stack))
    else:
        print("LiteLLM's proxy cannot be installed here and is left out.")
    return found


def redaction(bench: Bench, stack: ExitStack, values: dict[str, Any], key: str) -> Contender:
    """The gateway again, for a team whose answers are redacted. The filter runs here as it does in its container."""
    teams = {REDACTED: TeamValues(redact=("all",)).team(REDACTED, defaults().others)}
    one = filter_site.wanted(
        tuple(teams.values()),
        {},
        {},
        defaults().gateway_default_max_tokens,
        IMAGE["engine_image_id"],
        values.get("gateway_read_timeout_s", defaults().gateway_read_timeout_s),
    )
    assert one is not None
    (bench.directory / "rules.json").write_text(one.rules)
    bench.host.succeeds(f"mkdir -p {SOCKETS}")
    sockets = bench.root / SOCKETS.lstrip("/")
    python = str(bench.peers / "fastapi/bin/python")
    arguments = [str(bench.directory / "rules.json"), str(sockets / "filter.sock"), str(sockets / "engine.sock")]
    process = stack.enter_context(
        bench.process(python, "-m", "ingot.gateway.filter", *arguments, one.digest, PYTHONPATH=str(ROOT))
    )
    bench.host.wait_until_succeeds(f"test -S {SOCKETS}/filter.sock && chmod 666 {SOCKETS}/filter.sock")
    bench.deploy(**values, **IMAGE, gateway_teams={REDACTED: {"redact": "all"}})
    nginx = bench.nginx("/etc/nginx/nginx.conf")
    return Contender(
        "Ingot, with redaction",
        f"https://{NAME}{PATH}",
        key,
        lambda pid, command: pid == process.pid or nginx(pid, command),
    )


def litellm(bench: Bench, stack: ExitStack) -> Contender:
    """LiteLLM's proxy with one model and one key, over TLS."""
    key, tls = "sk-litellm-master", bench.root / "etc/ingot/gateway/tls"
    parameters = {"model": "openai/stand-in", "api_base": f"http://{ENGINE}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "stand-in", "litellm_params": parameters}],
        "general_settings": {"master_key": key},
    }
    (bench.directory / "litellm.yaml").write_text(json.dumps(config))
    process = stack.enter_context(
        bench.process(
            *(str(bench.peers / "litellm/bin/litellm"), "--config", str(bench.directory / "litellm.yaml")),
            *("--port", str(LITELLM_PORT), "--ssl_keyfile_path", str(tls / "key.pem")),
            *("--ssl_certfile_path", str(tls / "certificate.pem")),
            LITELLM_LOG="ERROR",
            NO_PROXY="*",
        )
    )
    url = f"https://{NAME}:{LITELLM_PORT}"
    _wait(bench.host, f"{url}/health/liveliness")
    return Contender("LiteLLM's proxy", url + PATH, key, lambda pid, _: pid == process.pid)


def table(found: list[Contender]) -> bool:
    """Print the table, and whether every target was met."""
    middle = statistics.median
    base = next(one for one in found if one.name.startswith("nginx"))
    heads = ("p50, ms", "added p50, ms", "added p99, ms", "requests/s", "requests/s of one core", "CPU per piece, µs")
    print(f"| gateway | {' | '.join(heads)} |")
    print("| --- " * (len(heads) + 1) + "|")
    for one in found:
        added = [middle(mine) - middle(other) for mine, other in ((one.p50_ms, base.p50_ms), (one.p99_ms, base.p99_ms))]
        print(
            f"| {one.name} | {middle(one.p50_ms):.3f} | {added[0]:+.3f} | {added[1]:+.3f} | {middle(one.per_s):,.0f} "
            f"| {middle(one.per_core):,.0f} | {middle(one.piece_us):.0f} |"
        )
    ingot, fastapi = (next(one for one in found if name in one.name) for name in ("Ingot,", "FastAPI"))
    results = {
        "added p50, ms": middle(ingot.p50_ms) - middle(base.p50_ms),
        "times FastAPI's requests/s": middle(ingot.per_core) / middle(fastapi.per_core),
    }
    for redaction in (one for one in found if "redaction" in one.name):
        results["redaction per piece, µs"] = middle(redaction.piece_us) - middle(ingot.piece_us)
    met = True
    for name, value in results.items():
        good = value >= TARGETS[name] if name.startswith("times") else value <= TARGETS[name]
        met = met and good
        print(f"{name}: {value:.2f} (target {TARGETS[name]}) {'met' if good else 'MISSED'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache/ingot/gateway-peers")
    parser.add_argument("--accounting", action="store_true", help="measure only what counting tokens costs")
    asked = parser.parse_args()
    if not _environment(asked.peers / "fastapi", "fastapi", "uvicorn[standard]", "httpx"):
        sys.exit("fastapi, uvicorn and httpx cannot be installed; nothing to compare with.")
    sandbox = Sandbox()
    if any(one.name == NAME for one in sandbox.hosts()):
        sandbox.down(NAME)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        host = sandbox.up(NAME, profile="none")
        stack.callback(sandbox.down, NAME)
        bench = Bench(host, Path(directory), asked.peers)
        made, engine = keys_of(bench), engine_of(bench, stack)
        if asked.accounting:
            bench.host.succeeds(f"echo 127.0.0.1 {NAME} >>/etc/hosts")
            return 0 if accounting(bench, list(made)[KEYS // 2], asked.rounds) else 1
        found = contenders(bench, stack, made, engine)
        began = time.monotonic()
        for _ in range(asked.rounds):
            for one in found:
                bench.measure(one, asked.seconds)
        load = os.getloadavg()[0]
        print(f"{asked.rounds} rounds in {time.monotonic() - began:.0f} s on {os.cpu_count()} cores; load {load:.1f}\n")
        met = table(found)
        return 0 if accounting(bench, list(made)[KEYS // 2], asked.rounds) and met else 1


if __name__ == "__main__":
    sys.exit(main())
