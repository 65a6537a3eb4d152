"""Three test hosts as a fleet: a gateway without a GPU before two hosts, with two stand-in engines and one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, upstreams_json
from ingot.sandbox import Sandbox
from ingot.sandbox.inventory import connection
from ingot.secrets import keys
from tests.gateway.conftest import ENGINE, ROOT, SECOND_ENGINE, GatewayHost

CHAT = "/v1/chat/completions"
ASK = {"model": "qwen3-4b", "messages": [{"role": "user", "content": "Hello"}]}
NAMES = ("t-g4-front", "t-g4-a", "t-g4-b")

INVENTORY = """
_serve = [{{"model": "qwen3-4b", "context": 4096, "concurrency": 1}}]
gpu = [(name, {{"serve": _serve, **data}}) for name, data in {gpu!r}]
gateway = {front!r}
"""


@dataclass
class Fleet:
    """The hosts, and one control machine's directory for all of them."""

    front: GatewayHost
    members: tuple[GatewayHost, GatewayHost]
    directory: Path

    def pyinfra(self, deploy: str, *limit: GatewayHost) -> None:
        """Run a deploy file of the checkout, or the text of one, on some hosts of the whole inventory."""
        path = ROOT / deploy
        if "\n" in deploy:
            path = self.directory / f"deploy{threading.get_ident()}.py"
            path.write_text(deploy)
        names = [word for one in limit for word in ("--limit", one.host.name)]
        command = [str(Path(sys.executable).parent / "pyinfra"), "-y", str(self.directory / "lab.py"), str(path)]
        done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

    def write_inventory(self, *, apart: bool = False) -> None:
        """The hosts as an inventory. `apart`: the second serves another model, which stands in for the first's."""

        def entry(one: GatewayHost) -> tuple[str, dict[str, object]]:
            # Requests written as frames are a part of what is tried on members.
            values = {"secrets_dir": str(one.secrets), "gateway_http2": True}
            return f"@ingot/{one.host.name}", {**connection(one.host), **values}

        gpu, front = [entry(one) for one in self.members], [entry(self.front)]
        if apart:
            other = {"serve": [{"model": "qwen3-8b", "context": 4096, "concurrency": 1}]}
            gpu[1] = (gpu[1][0], {**gpu[1][1], **other, "fallback": {"qwen3-4b": ["qwen3-8b"]}})
        (self.directory / "lab.py").write_text(INVENTORY.format(gpu=gpu, front=front))

    def served_by(self, requests: int = 12) -> set[str]:
        """Which hosts' engines answered so many requests to the front."""
        for one in self.members:
            one.reached()
        answers = [self.front.caller.post(CHAT, ASK) for _ in range(requests)]
        assert {answer.status for answer in answers} == {200}, answers[-1].body
        return {one.host.name for one in self.members if one.reached()}

    def wait_until_both_serve(self, timeout_s: float = 180) -> None:
        """A member that was passed by is asked again some seconds after it failed."""
        deadline = time.monotonic() + timeout_s
        while self.served_by() != {one.host.name for one in self.members}:
            assert time.monotonic() < deadline, f"a member is still passed by after {timeout_s} s"
            time.sleep(0.5)


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    sandbox = Sandbox()
    directory = tmp_path_factory.mktemp("fleet")
    with ThreadPoolExecutor(3) as pool:
        front, *members = (GatewayHost(host, directory) for host in pool.map(sandbox.up, NAMES))
    made = Fleet(front, (members[0], members[1]), directory)
    made.write_inventory()
    front.key = keys.create(front.secrets, "research")
    for one, engines in zip(made.members, ([ENGINE, SECOND_ENGINE], [ENGINE]), strict=True):
        for engine in engines:
            one.start_engine(engine)
        one.host.succeeds("mkdir -p /var/lib/ingot")
        one.host.put(UPSTREAMS_FILE, upstreams_json([Upstream("qwen3-4b", tuple(engines))]))
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(made.pyinfra, "deploy.py", front),
            pool.submit(made.pyinfra, "from roles.gateway import gateway\n\ngateway()\n", *made.members),
        ]
        for run in runs:
            run.result()
    yield made
    for name in NAMES:
        sandbox.down(name)
