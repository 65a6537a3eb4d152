"""LM Studio's start, run here for real before a stand-in that takes the commands of `lms`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines import Replica, Values, lm_studio
from ingot.sandbox.simulated.engines import image
from tests.engines.waiting import until

pytestmark = pytest.mark.engines


@contextmanager
def started(replica: Replica, values: Values, weights: bytes, at: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The service's own command line, with the installation and the model's directory at places of this machine."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    installed, model, home = at / "lmstudio", at / "model", at / "home"
    for directory in (installed / "bin", model, home):
        directory.mkdir(parents=True)
    (model / "q4.gguf").write_bytes(weights)
    shutil.copy(image.SCRIPT, at / "standin.py")
    program = installed / "bin" / "lms"
    program.write_text(f"#!{sys.executable}\nimport standin, sys\nstandin.main('lmstudio', sys.argv[1:])\n")
    program.chmod(0o755)
    service = lm_studio.service(replace(replica, file="q4.gguf"), replace(values, port=port))
    command = [
        word.replace("/opt/lmstudio", str(installed)).replace("/model/q4", f"{model}/q4") for word in service.argv
    ]
    env = {**dict(service.env), "HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(at)}
    with (at / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield server, port
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def answer(port: int, path: str, body: object = None) -> dict[str, object] | None:
    """What it answers; None while nothing does."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data), timeout=10) as said:
            return dict(json.load(said))
    except OSError:
        return None


def test_it_listens_once_its_model_is_loaded(replica: Replica, values: Values, tmp_path: Path) -> None:
    with started(replica, values, b"GGUF", tmp_path) as (server, port):
        assert until(lambda: answer(port, lm_studio.HEALTH) or server.poll() is not None, seconds=30)
        said = answer(port, "/v1/completions", {"model": replica.served_name, "prompt": "one", "max_tokens": 2})
        assert said and said["model"] == replica.served_name
        loaded = json.loads((tmp_path / "home" / ".lmstudio" / "loaded.json").read_text())
        assert loaded[loaded.index("--context-length") + 1 :][:3] == [str(16 * 8192), "--parallel", "16"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        # What it started ends with it.
        assert until(lambda: answer(port, lm_studio.HEALTH) is None, seconds=30)


def test_a_model_that_it_cannot_load_ends_it(replica: Replica, values: Values, tmp_path: Path) -> None:
    with started(replica, values, b"no model", tmp_path) as (server, port):
        assert server.wait(30) == 1
        assert answer(port, lm_studio.HEALTH) is None
        assert "is no model" in (tmp_path / "log").read_text()


def test_a_server_that_ends_ends_its_container(replica: Replica, values: Values, tmp_path: Path) -> None:
    with started(replica, values, b"GGUF", tmp_path) as (server, port):
        assert until(lambda: answer(port, lm_studio.HEALTH), seconds=30)
        os.kill(int((tmp_path / "home" / ".lmstudio" / "server.pid").read_text().split()[0]), signal.SIGKILL)
        assert server.wait(60) == 1
