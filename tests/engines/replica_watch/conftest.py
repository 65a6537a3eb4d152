"""A host with one replica below a directory: its files, its programs, and an engine that says what it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ingot.engines.replica_watch import gpus
from ingot.gateway.upstreams import Upstream, engines, upstreams_json
from ingot.operations.gateway.pool import engines_conf
from ingot.operations.serving.replica_watch import PACKAGE, settings

GPU = "GPU-00000000-0000-0000-0000-000000000001"
WELL = f"echo '{GPU}, 00000000:01:00.0, None'"
#: The engine's container, 20 minutes old.
CONTAINER: dict[str, Any] = {"Id": "c1", "Name": "/ingot-engine-chat-0", "RestartCount": 0}


@dataclass
class WatchedHost:
    """`health` and `answer` are HTTP statuses of the engine, `asked` the bodies that it got, `container` what Docker
    says of it (None: there is none)."""

    directory: Path
    port: int
    health: int = 200
    answer: int = 200
    metrics: str = 'vllm:num_requests_running{engine="0"} 0.0\nvllm:generation_tokens_total{engine="0"} 5.0\n'
    asked: list[dict[str, Any]] = field(default_factory=list)
    container: dict[str, Any] | None = None
    docker_answers: bool = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def runs(self, status: str = "running", age_s: int = 1200, **changes: Any) -> None:
        started = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
        state = {"Status": status, "ExitCode": 1 if status != "running" else 0, "StartedAt": started}
        self.container = {**CONTAINER, "State": state, **changes}

    def look(self, nvidia_smi: str = WELL) -> subprocess.CompletedProcess[str]:
        """One look of the watch, with such an nvidia-smi."""
        self.program("nvidia-smi", nvidia_smi)
        (self.directory / "container.json").write_text(json.dumps([self.container] if self.container else []))
        name = "ingot-engine-chat-0" if self.container else ""
        self.program(
            "docker",
            ("" if self.docker_answers else "echo 'Cannot connect to the Docker daemon'; exit 1\n")
            + f"case $1 in ps) echo {name};; inspect) cat {self.directory}/container.json;; "
            f'*) echo "$*" >>{self.directory}/did;; esac',
        )
        return subprocess.run(
            [sys.executable, "-m", PACKAGE, str(self.directory / "settings")],
            cwd=Path(gpus.__file__).parents[3],
            env={**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def program(self, name: str, script: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def did(self) -> list[str]:
        """What Docker was told to do."""
        path = self.directory / "did"
        return path.read_text().splitlines() if path.exists() else []

    def pool(self) -> str:
        return (self.directory / "engines").read_text()

    def holds(self) -> dict[str, Any]:
        path = self.directory / "holds"
        return dict(json.loads(path.read_text())) if path.exists() else {}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[WatchedHost]:
    """A host whose replica serves; nobody has looked yet."""

    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(made.health if self.path == "/health" else 200, made.metrics)

        def do_POST(self) -> None:
            made.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._say(made.answer, "{}")

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    Thread(target=server.serve_forever, daemon=True).start()
    made = WatchedHost(tmp_path, server.server_address[1])
    made.runs()
    names = ("services", "upstreams", "engines", "fleet", "holds", "memory", "runs", "audit")
    places = {name: str(tmp_path / name) for name in names}
    for directory in ("services", "runs"):
        Path(places[directory]).mkdir()
    # A run changed the host a moment ago, and may find it again.
    Path(places["audit"]).touch()
    service = {
        "name": "chat-0", "model": "chat", "kind": "generate", "devices": [f"nvidia.com/gpu={GPU}"],
        "address": "127.0.0.1", "port": made.port, "health_path": "/health", "start_deadline_s": 600,
    }  # fmt: skip
    (tmp_path / "services/chat-0.json").write_text(json.dumps(service))
    upstreams = (Upstream("chat", (made.address,)),)
    Path(places["upstreams"]).write_text(upstreams_json(upstreams))
    Path(places["engines"]).write_text(engines_conf(engines(upstreams), affinity=False))
    (tmp_path / "settings").write_text(json.dumps(settings(9443) | places))
    (tmp_path / "bin").mkdir()
    for name in ("systemctl", "nginx", "dmesg"):
        made.program(name, "exit 0")
    yield made
    server.shutdown()
