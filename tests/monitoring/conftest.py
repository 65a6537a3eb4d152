"""One test host that is watched and watches: the real role, with two stand-in engines and a simulated GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, upstreams_json
from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.aptrepo import source_values
from ingot.sandbox.inventory import connection
from tests.e2e.deploying import Run
from tests.settings.values import DEFAULTS

ROOT = Path(__file__).parents[2]
NAME = "t-monitor"
MODEL = "qwen3-4b"
ENGINES = ("172.31.213.10:8000", "172.31.213.11:8000")
ROLES = """
from roles.driver import driver
from roles.gateway import gateway
from roles.monitoring import monitoring

{roles}
"""
SERVICE = {"model": MODEL, "port": 8000, "health_path": "/health", "devices": [], "start_deadline_s": 60}


@dataclass
class Watched:
    """The host, and one control machine's directory for it."""

    host: TestHost
    directory: Path

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    def deploy(self, *roles: str, watched: bool = True, flags: Sequence[str] = (), **data: object) -> Run:
        """Run some roles with the real `pyinfra`; `watched`: the inventory has a group `monitor`."""
        sources = {**DEFAULTS["sources"], **source_values()["sources"]}
        serve = [{"model": MODEL, "context": 4096, "concurrency": 1}]
        values = {**connection(self.host), "sources": sources, "secrets_dir": str(self.secrets), "serve": serve}
        # systemd-resolved, which test hosts have, and the stand-in engines.
        values |= {"verify_ports": [5355, 8000], **data}
        entry = (f"@ingot/{self.host.name}", values)
        groups = f"gpu = [{entry!r}]\n" + (f"monitor = [{entry!r}]\n" if watched else "")
        inventory, deploy = self.directory / "lab.py", self.directory / "deploy.py"
        inventory.write_text(groups)
        deploy.write_text(ROLES.format(roles="\n".join(f"{role}()" for role in roles)))
        command = [str(Path(sys.executable).parent / "pyinfra"), "-y", "--json", *flags, str(inventory), str(deploy)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        start = done.stdout.find("{")
        payload = json.loads(done.stdout[start:]) if start >= 0 else {}
        operations = tuple((payload.get("results") or {"operations": []})["operations"])
        return Run(done.returncode, done.stdout + done.stderr, operations)

    def prometheus(self, path: str) -> Any:
        """What Prometheus on the host answers under /api/v1."""
        return json.loads(self.host.succeeds(f"curl -sf 'http://127.0.0.1:9090/api/v1/{path}'"))["data"]

    def wait_for_sample(self, query: str, timeout_s: float = 180) -> None:
        """Wait until a query of Prometheus has a result."""
        asked = f"curl -sf -G --data-urlencode {query_word(query)} http://127.0.0.1:9090/api/v1/query"
        self.host.wait_until_succeeds(f"{asked} | grep -q '\"value\":'", timeout_s=timeout_s)


def query_word(query: str) -> str:
    """A query as a word of curl."""
    return "'query=" + query.replace("'", "'\\''") + "'"


def start_engine(host: TestHost, address: str) -> None:
    """Run a stand-in engine as a unit of its own."""
    ip, _, port = address.partition(":")
    host.put("/root/standin_engine.py", (ROOT / "tests/gateway/standin_engine.py").read_text())
    host.succeeds(
        f"ip address replace {ip}/32 dev lo && "
        f"systemd-run --unit standin-{ip} python3 /root/standin_engine.py {ip} {port} /run/standin-{ip}.jsonl"
    )
    host.wait_until_succeeds(f"curl -sf http://{address}/running")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes monitoring away again comes after every test that needs it."""
    mine = [place for place, item in enumerate(items) if item.path.is_relative_to(Path(__file__).parent)]
    ordered = sorted((items[place] for place in mine), key=lambda item: "TestLast" in item.nodeid)
    for place, item in zip(mine, ordered, strict=True):
        items[place] = item


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The host, deployed: driver, gateway and monitoring, with two replicas of a model as a rollout leaves them."""
    sandbox = Sandbox()
    made = Watched(sandbox.up(NAME, profile="a10gx4"), tmp_path_factory.mktemp("monitoring"))
    host = made.host
    host.succeeds("mkdir -p /var/lib/ingot/engine/last-good /srv/models")
    host.put(UPSTREAMS_FILE, upstreams_json([Upstream(MODEL, ENGINES)]))
    for number, address in enumerate(ENGINES):
        service = {**SERVICE, "name": f"{MODEL}-{number}", "address": address.partition(":")[0]}
        path = f"/var/lib/ingot/engine/last-good/{MODEL}-{number}.json"
        host.put(path, json.dumps({"schema": 1, "digest": "", "service": service}))
    # The driver's role boots the host again.
    run = made.deploy("driver")
    assert run.status == 0, run.output[-6000:]
    for address in ENGINES:
        start_engine(host, address)
    run = made.deploy("gateway", "monitoring")
    assert run.status == 0, run.output[-6000:]
    yield made
    sandbox.down(NAME)
