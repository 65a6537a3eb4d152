"""A test host with the gateway on it and a stand-in engine behind it, deployed as a user deploys."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.inventory import connection
from ingot.secrets import keys
from tests.hosts.https import Caller

ROOT = Path(__file__).parent.parent.parent
ENGINE = "172.31.213.10:8000"
SECOND_ENGINE = "172.31.213.11:8000"
RECORD = "/run/standin-engine.jsonl"
ANSWERED = "/run/port-80-answered"
KNOCK = f"""import pathlib, socket, time
while True:
    with socket.socket() as knock:
        if knock.connect_ex(("127.0.0.1", 80)) == 0:
            pathlib.Path({ANSWERED!r}).touch()
    time.sleep(0.02)
"""


@dataclass(frozen=True)
class Deploy:
    """One finished run of the gateway role."""

    status: int
    output: str
    commands: int
    changed: list[str]


@dataclass
class GatewayHost:
    """The test host, and what a control machine would hold for it."""

    host: TestHost
    directory: Path
    key: str = field(default="", repr=False)

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def caller(self) -> Caller:
        return Caller(self.host.address, self.host.name, self.secrets / "ca.crt", self.key)

    def deploy(self, *, flags: tuple[str, ...] = ("-y", "--json"), **data: object) -> Deploy:
        """Run the role with the real `pyinfra`, counting its SSH commands."""
        values = {**connection(self.host), "secrets_dir": str(self.secrets), **data}
        inventory, deploy, counts = (self.directory / name for name in ("lab.py", "deploy.py", "counts.json"))
        inventory.write_text(f"gpu = [('@ingot/{self.host.name}', {values!r})]\n")
        deploy.write_text("from roles.gateway import gateway\n\ngateway()\n")
        command = [sys.executable, "benchmarks/round_trips.py", "--count-into", str(counts), "--"]
        done = subprocess.run(
            [*command, *flags, str(inventory), str(deploy)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        counted = json.loads(counts.read_text())
        # A run that failed on every host ends without results.
        _, brace, rest = done.stdout.partition("{")
        operations = json.loads(brace + rest)["results"]["operations"] if brace else []
        return Deploy(
            status=done.returncode or counted["status"],
            output=done.stdout + done.stderr,
            # Connecting proves sudo once per run, whatever the roles do.
            commands=sum(count for role, count in counted["commands"].items() if role.startswith("Gateway")),
            changed=[operation["name"] for operation in operations if operation["success"]],
        )

    def start_engine(self, address: str = ENGINE) -> None:
        """Run a stand-in engine."""
        self.host.put("/root/standin_engine.py", (Path(__file__).parent / "standin_engine.py").read_text())
        ip, _, port = address.partition(":")
        self.host.succeeds(
            f"ip address replace {ip}/32 dev lo && : >{RECORD} && "
            f"systemd-run --unit standin-{ip} python3 /root/standin_engine.py {ip} {port} {RECORD}"
        )
        self.host.wait_until_succeeds(f"curl -sf http://{address}/running")

    def tell_gateway(self, engines: Mapping[str, str]) -> None:
        """Write which engine serves which model, as the engine role does."""
        upstreams = [{"model": model, "replicas": [address]} for model, address in engines.items()]
        self.host.succeeds("mkdir -p /var/lib/ingot")
        self.host.put("/var/lib/ingot/upstreams.json", json.dumps(upstreams))

    def reached(self) -> list[dict[str, Any]]:
        """What reached the engine since the last call."""
        lines = self.host.succeeds(f"cat {RECORD}; : >{RECORD}").splitlines()
        return [json.loads(line) for line in lines]

    def running(self, address: str = ENGINE) -> int:
        """How many answers an engine is streaming."""
        return int(json.loads(self.host.succeeds(f"curl -sf http://{address}/running"))["running"])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Streams stand still after their first piece until this ends."""
        self.host.succeeds(f"touch {RECORD}.hold")
        try:
            yield
        finally:
            self.host.succeeds(f"rm {RECORD}.hold")

    def wait_until_running(self, count: int, timeout_s: float = 180) -> None:
        deadline = time.monotonic() + timeout_s
        while (now := self.running()) != count:
            assert time.monotonic() < deadline, f"the engine streams {now} answers after {timeout_s} s, not {count}"


@pytest.fixture(scope="module")
def gateway_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayHost]:
    """A fresh host with an engine, the first deploy still to come."""
    sandbox = Sandbox()
    made = GatewayHost(sandbox.up("t-gateway"), tmp_path_factory.mktemp("control"))
    made.start_engine()
    made.tell_gateway({"stand-in": ENGINE})
    made.key = keys.create(made.secrets, "research")
    yield made
    sandbox.down("t-gateway")


@pytest.fixture(scope="module")
def dry(gateway_host: GatewayHost) -> Deploy:
    """A dry run before the first deploy."""
    return gateway_host.deploy(flags=("--dry",))


@pytest.fixture(scope="module")
def first(gateway_host: GatewayHost, dry: Deploy) -> Deploy:
    """The first deploy, after the dry run, with somebody knocking on port 80 all the while."""
    assert dry.status == 0, dry.output
    gateway_host.host.put("/root/knock.py", KNOCK)
    gateway_host.host.succeeds("systemd-run --unit knock python3 /root/knock.py")
    done = gateway_host.deploy()
    gateway_host.host.succeeds("systemctl is-active --quiet knock && systemctl stop knock")
    return done


@pytest.fixture(scope="module")
def served(gateway_host: GatewayHost, first: Deploy) -> GatewayHost:
    """The host after a first deploy that succeeded."""
    assert first.status == 0, first.output
    return gateway_host


# Defined beside what it is made of.
from tests.gateway.fleet_hosts import fleet  # noqa: E402, F401
