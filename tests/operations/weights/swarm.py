"""Hosts that share their models, as directories and processes of this machine, and the hub outside that counts."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingot.facts.models import MADE, ModelDirectory
from ingot.operations.weights import models, peers
from ingot.operations.weights.manifest import ModelFile, Origin
from ingot.secrets import pki
from tests.operations.weights.test_models import wanted

SERVER = peers.__file__.replace("peers.py", "peer_on_host.py")


def listed(files: Mapping[str, bytes]) -> tuple[ModelFile, ...]:
    """The lock's lines of these files."""
    return tuple(ModelFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items())


class Hub(http.server.ThreadingHTTPServer):
    """What is outside: it counts the bytes that leave it, and sends so many a second to all callers together."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], in_all_per_s: float = 1e12) -> None:
        self.files, self.in_all_per_s, self.sent = files, in_all_per_s, 0
        self.line = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def copies(self) -> float:
        """How many times all files have left."""
        return self.sent / sum(map(len, self.files.values()))


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        data = self.server.files[self.path.rpartition("/")[2]]
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        step = 1 << 16
        for at in range(start, len(data), step):
            piece = data[at : at + step]
            self.wfile.write(piece)
            with self.server.line:
                self.server.sent += len(piece)
                time.sleep(len(piece) / self.server.in_all_per_s)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Member:
    """One host: its cache, its server, its fetch."""

    index: int
    home: Path
    port: int
    address: str = "127.0.0.1"
    #: What its programs are started by: `ip netns exec NAME` where it has a network of its own.
    within: tuple[str, ...] = ()
    swarm_port: int = 8445
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"gpu-{self.index:02}"

    @property
    def root(self) -> Path:
        return self.home / "models"

    @property
    def target(self) -> Path:
        return Path(wanted(self.root).target)

    def serve(
        self,
        ca: pki.Authority,
        idle_s: float = 600,
        swarm: Sequence[Member] = (),
        bytes_per_s: int = 0,
        script: str = SERVER,
    ) -> subprocess.Popen[bytes]:
        """Start its server, and wait until it listens; with these hosts, itself among them, in a swarm."""
        (self.home / "peer.pem").write_text(pki.of_a_day(ca, [self.name]))
        (self.home / "peer-ca.pem").write_text(ca.certificate_pem)
        line = [sys.executable, "-I", script]
        words = [str(self.root), str(self.home), str(self.port), str(idle_s)]
        if swarm:
            at = swarm.index(self)
            others = [f"{one.address},{one.swarm_port}" for one in (*swarm[at + 1 :], *swarm[:at])]
            words += [str(self.swarm_port), str(bytes_per_s), str(at), *others]
        process = subprocess.Popen([*self.within, *line, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.processes.append(process)
        assert process.stdout is not None
        while not (line_ := process.stdout.readline()).startswith(b"serving "):
            assert line_, "it ended"
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return process

    def holds(self, files: Mapping[str, bytes]) -> None:
        """Have it hold a model already."""
        self.target.mkdir(parents=True)
        (self.target / MADE).write_text(f"{self.target}\n")
        for path, data in files.items():
            (self.target / path).write_bytes(data)

    def fetch(
        self,
        members: list[Member],
        hub: str,
        files: Mapping[str, bytes],
        script: str,
        swarm_port: int | None = None,
        serving: Sequence[str] = (),
    ) -> None:
        """Begin to fetch the model, as its unit does; the run knows of hosts that are `serving`."""
        work = self.home / "work"
        work.mkdir()
        known = [peers.Peer(one.index, one.name, one.address) for one in members]
        text = peers.plan_text(known, self.name, 0, swarm_port, "one", serving)
        for one in members:
            text = text.replace(f"\t{one.name}\t{one.address}\t0\n", f"\t{one.name}\t{one.address}\t{one.port}\n")
        text = text.replace(peers.HOME, str(self.home))
        origin = Origin("mirror", hub)
        plan = models.plan_text(self.name, wanted(self.root), [origin], listed(files), ModelDirectory(), peers=text)
        (work / "plan").write_text(plan.replace("damage\t/var/lib", f"damage\t{self.home}"))
        (work / "run.sh").write_text(script)
        line = [*self.within, "sh", str(work / "run.sh"), str(work), str(self.home / "log")]
        self.processes.append(subprocess.Popen(line, start_new_session=True))

    def ended(self, limit_s: float = 120) -> str:
        """Wait for its fetch: what it says, "" for nothing."""
        status = self.processes[-1].wait(timeout=limit_s)
        said = self.home / "work/sentence"
        text = said.read_text().strip() if said.exists() else ""
        assert status == 0, f"{text}\n{(self.home / 'log').read_text()}"
        return text

    def dies(self) -> None:
        """Its power goes: nothing of it answers any more."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()
            process.wait(timeout=180)

    def has(self, files: Mapping[str, bytes]) -> bool:
        """Whether the model is there, whole and marked as verified."""
        marker = self.target / ".ingot-verified.json"
        return (
            marker.is_file()
            and len(json.loads(marker.read_text())["files"]) == len(files)
            and all((self.target / path).read_bytes() == data for path, data in files.items())
        )
