"""One test host with as many servers as tests need, an empty inventory, and an operator with one key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingot.onboarding.options import Options, request
from ingot.onboarding.request import Request
from ingot.onboarding.servers import Server as Row
from ingot.sandbox import Sandbox, TestHost
from tests.onboarding.servers import INSTALLER, Server, start, stop

ROOT = Path(__file__).parents[2]
INVENTORY = """from pathlib import Path

from ingot.inventory.host_files import load

globals().update(load(Path(__file__).parent / "lab").groups())
"""


@dataclass
class Recorder:
    """An operator who answers as told, and remembers what was said."""

    yes: bool | None = None
    password: str | None = None
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def say(self, name: str, step: str) -> None:
        self.said.append(f"{name}: {step}")

    def confirm(self, question: str) -> bool | None:
        self.asked.append(question)
        return self.yes

    def secret(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.password


@dataclass(frozen=True)
class Lab:
    """A checkout with an inventory that waits for its first host, and the operator's key."""

    root: Path

    @property
    def inventory(self) -> Path:
        return self.root / "inventories" / "lab.py"

    @property
    def directory(self) -> Path:
        return self.root / "inventories" / "lab"

    @property
    def key(self) -> Path:
        return self.root / "home" / ".ssh" / "id_ed25519"

    @property
    def public(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    def files(self) -> dict[str, str]:
        """Everything that onboarding wrote here."""
        return {path.name: path.read_text() for path in sorted(self.directory.glob("*"))}

    def wish(self, server: Server, name: str = "new-01", **changes: Any) -> Request:
        """What `ingot onboard` would ask for a server; `changes` as its options."""
        address = changes.pop("address", server.address)
        values: dict[str, Any] = {
            "inventory": self.inventory, "user": "installer", "port": server.port, "jump": None, "ssh_config": None,
            "ssh_key": None, "fingerprint": None, "jump_fingerprint": None, "accept_new": True, "deploy_user": None,
            "keys": (), "harden": False, "no_gpu": False, "processor": False, "wait": 30.0, "dry": False,
        }  # fmt: skip
        return request(Options(**values | changes), Row(name, address), {})

    def ingot(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command as a user would, with both streams in `stdout`."""
        environment = {"HOME": str(self.root / "home"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
        return subprocess.run(
            [str(Path(sys.executable).parent / "ingot"), "onboard", "--inventory", str(self.inventory), *arguments],
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            cwd=self.root, env=environment, timeout=600,
        )  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path)
    made.key.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", str(made.key)], check=True)
    made.inventory.parent.mkdir()
    made.inventory.write_text(INVENTORY)
    (tmp_path / "group_data").mkdir()
    for file in (ROOT / "group_data").glob("*.py"):
        # A site that has pinned its image: else preflight says of every new member that it has not.
        pinned = file.read_text().replace("engine_image_digest = None", f'engine_image_digest = "sha256:{"0" * 64}"')
        (tmp_path / "group_data" / file.name).write_text(pinned)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return made


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """An SSH agent that takes a key into its memory, and off the disk."""
    said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    values = dict(part.split("=", 1) for line in said.splitlines() for part in line.split(";")[:1] if "=" in part)
    monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])

    def hold(key: Path) -> None:
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        key.unlink()

    yield hold
    subprocess.run(["kill", values["SSH_AGENT_PID"]], check=True)


@pytest.fixture(scope="package")
def machine() -> Iterator[TestHost]:
    sandbox = Sandbox()
    if any(one.name == "t-o1-machine" for one in sandbox.hosts()):
        sandbox.down("t-o1-machine")
    yield sandbox.up("t-o1-machine", profile="rtx4090x1")
    sandbox.down("t-o1-machine")


@pytest.fixture
def boot(machine: TestHost) -> Iterator[Callable[..., Server]]:
    """Boots a server with a first login by password, or as told."""
    started: list[Server] = []

    def boot(prepare: str = INSTALLER) -> Server:
        server = Server(machine, len(started) + 1)
        started.append(server)
        start([server], prepare)
        return server

    yield boot
    stop(started)


@pytest.fixture
def server(boot: Callable[..., Server]) -> Server:
    """One server of the usual kind."""
    return boot()


@pytest.fixture
def ten(machine: TestHost) -> Iterator[list[Server]]:
    """Ten servers of the usual kind."""
    servers = [Server(machine, number) for number in range(11, 21)]
    start(servers, INSTALLER)
    yield servers
    stop(servers)
