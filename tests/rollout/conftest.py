"""Two hosts with stand-in engines, a fleet gateway before them, and callers: what the tests of changes share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.rollout import OLDER_DRIVER
from benchmarks.steady_load import row, steady_load
from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import files
from ingot.secrets.keys import create
from tests.e2e import standin_image
from tests.e2e.deploying import Run, deploy

NAMES = ("roll-1", "roll-2")
FRONT = "roll-front"
MODEL = "tiny-qwen3"
INVENTORY = """
from ingot.sandbox.inventory import hosts
_values, _own = {values!r}, {own!r}
_hosts = [(name, {{**data, **_values}}, name.removeprefix("@ingot/")) for name, data in hosts()]
sandbox = [(name, {{**data, **_own[short]}}) for name, data, short in _hosts if short in _own]
gateway = [(name, data) for name, data, short in _hosts if short == {front!r}]
"""
#: The first has two replicas, so that its callers need not notice anything.
PROFILES = {"roll-1": "a10gx4", "roll-2": "rtx4090x1", FRONT: "none"}
SERVE = {"model": MODEL, "context": 4096, "concurrency": 8}
GATEWAY = "roles.gateway.gateway"


@dataclass
class Fleet:
    """The hosts, and the directory of their inventories."""

    hosts: tuple[TestHost, TestHost]
    #: The fleet gateway, which has no GPU.
    front: TestHost
    directory: Path
    values: dict[str, object]
    #: What each host has for itself.
    own: dict[str, dict[str, object]]
    #: Requests of all callers so far, and those without OpenAI's client.
    sent: int = 0
    bare: int = 0

    def inventory(self, front: str = FRONT, **values: object) -> Path:
        """An inventory of all with these values; without a name for `front`, of the two that serve."""
        path = self.directory / "fleet.py"
        path.write_text(INVENTORY.format(values={**self.values, **values}, own=self.own, front=front))
        return path

    def deploy(self, deploy_file: str = "deploy.py", **values: object) -> Run:
        return deploy(inventory=str(self.inventory(**values)), deploy_file=deploy_file)

    @property
    def key(self) -> Path:
        """The file with the key of the callers."""
        return self.directory / "key"

    @contextmanager
    def called_without_a_failure(self, in_all: int = 0) -> Iterator[None]:
        """Callers ask the first host and the fleet gateway, plain and streamed; none of their requests fails.

        A third of them use OpenAI's client. It goes on until `in_all` were sent, those of earlier blocks included.
        """
        record, ca = self.directory / f"{time.monotonic_ns()}.jsonl", Sandbox().secrets_dir / "ca.crt"
        asked = [self.hosts[0].address, self.front.address]
        with steady_load(asked, ca, self.key, MODEL, record, rate=8, bare=16):
            self._wait_for_requests(record, 20)
            yield
            self._wait_for_requests(record, max(120, in_all - self.sent))
        told = row("", record, 0, time.time(), 0)
        self.sent, self.bare = self.sent + told.sent, self.bare + told.bare
        print(f"{told.sent} requests, {told.failed} failed, {told.again} sent again, slowest {told.slowest_s:.1f} s")
        print(f"{self.sent} so far, {self.sent - self.bare} of them by OpenAI's client")
        assert not told.failed, told

    def _wait_for_requests(self, record: Path, count: int, timeout_s: float = 600) -> None:
        deadline = time.monotonic() + timeout_s
        while record.read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline, f"fewer than {count} requests were answered within {timeout_s} s"
            time.sleep(0.1)

    def containers(self) -> list[str]:
        """Id and start of each host's replica."""
        told = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' ingot-engine-tiny-qwen3-0"
        return [host.succeeds(told) for host in self.hosts]


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    sandbox = Sandbox()
    with ThreadPoolExecutor(len(PROFILES)) as pool:
        first, second, front = pool.map(lambda name: sandbox.up(name, profile=PROFILES[name]), PROFILES)
    directory = tmp_path_factory.mktemp("fleet")
    values = {**standin_image.write(directory), "engine_hold_s": 0, "rollout_canary_hold_s": 2}
    values["cache_peer_port"], values["cache_swarm_port"] = 8444, 8445
    # These callers are more than a team may be.
    values["gateway_requests_per_minute"] = 60_000
    own: dict[str, dict[str, object]] = {
        "roll-1": {"serve": [{**SERVE, "replicas": 2}]},
        "roll-2": {"serve": [{**SERVE, "replicas": 1}], "driver_version": OLDER_DRIVER},
    }
    made = Fleet((first, second), front, directory, values, own)
    files.replace(made.key, create(sandbox.secrets_dir, "steady"), mode=0o600)
    run = made.deploy()
    assert run.status == 0, run.output[-6000:]
    yield made
    for name in PROFILES:
        sandbox.down(name)
