"""Deploying to test hosts as a user does: the real `pyinfra` command, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost

ROOT = Path(__file__).parent.parent.parent
PYINFRA = Path(sys.executable).parent / "pyinfra"
INGOT = PYINFRA.with_name("ingot")


@dataclass(frozen=True)
class Run:
    """One finished `pyinfra` run."""

    status: int
    output: str
    operations: tuple[dict[str, list[str]], ...]

    def changed(self, host: str) -> list[str]:
        """Names of the operations that changed a host, in order."""
        return [str(op["name"]) for op in self.operations if host in op["success"]]

    def reached(self, host: str) -> list[str]:
        """Names of all operations that ran on a host, in order."""
        return [str(op["name"]) for op in self.operations if host in (*op["success"], *op["no_change"])]

    def commands(self, host: str) -> dict[str, int]:
        """How many SSH commands a run with `--debug` gave a host, by role; "" is the connection."""
        counts: dict[str, int] = {}
        role = ""
        for line in self.output.splitlines():
            begins = re.search(r"--> Starting operation: (\w+) \|", line)
            role = begins.group(1) if begins else role
            if f"Running command on {host}: " in line:
                counts[role] = counts.get(role, 0) + 1
        return counts

    def said_of(self, host: str) -> list[str]:
        """The lines of the run that speak of one host."""
        return [line for line in self.output.splitlines() if host in line]


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`ingot verify` to its end, with the keys that it finds by itself."""
    environment = {key: value for key, value in os.environ.items() if key != "INGOT_API_KEY"}
    return subprocess.run(
        [str(INGOT), "verify", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def deploy(
    *hosts: str,
    inventory: str = "inventories/sandbox.py",
    data: Sequence[str] = (),
    flags: Sequence[str] = (),
    timeout_s: float = 800,
    deploy_file: str = "deploy.py",
) -> Run:
    """`pyinfra -y INVENTORY deploy.py --limit HOST …`, to its end; or another deploy than `deploy.py`.

    One that does not end fails with what it said, and what runs on the test hosts meanwhile.
    """
    command = _command(inventory, "--json", *flags, limits=hosts, deploy_file=deploy_file)
    for value in data:
        command += ["--data", value]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    ) as done:
        try:
            stdout, stderr = done.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            there = "".join(_processes(host) for host in Sandbox().hosts() if host.is_running)
            ended, said = done.poll(), ""
            # It says where each of its threads is.
            done.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                said = "".join(text[-6000:] for text in done.communicate(timeout=60))
            pytest.fail(f"{command} ended with {ended} within {timeout_s:.0f} s, and said:\n{said}\n{there}")
        finally:
            done.kill()
    output = stdout + stderr
    start = stdout.find("{")
    operations: tuple[dict[str, list[str]], ...] = ()
    if start >= 0:
        payload = json.loads(stdout[start:])
        operations = tuple((payload["results"] or {"operations": []})["operations"])
    return Run(done.returncode, output, operations)


def _processes(host: TestHost) -> str:
    """What runs on a test host, in words."""
    return f"{host.name}:\n{host.run('ps axfo pid,etimes,stat,wchan:24,args | cut -c 1-200', timeout_s=30)[1]}\n"


def kill_deploy(host: str, moment: Callable[[], bool]) -> None:
    """Begin a deploy of one host and end its process at a moment, as a power cut of the operator's machine would."""
    command = _command("inventories/sandbox.py", limits=[host])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while not moment():
            assert run.poll() is None, "the run ended before it could be killed"
        assert run.poll() is None, "the run ended before it could be killed"
        run.kill()


def _command(inventory: str, *flags: str, limits: Sequence[str], deploy_file: str = "deploy.py") -> list[str]:
    named = [word for host in limits for word in ("--limit", host)]
    return [str(PYINFRA), "-y", inventory, deploy_file, *flags, *named]
