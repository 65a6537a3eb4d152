"""The program in the container: what it says, when it stops a level, and when it ends.

A stand-in for the engine's own benchmark answers at once, with the share of failures that its arguments say.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.bench import on_host
from ingot.bench.place import _ENTRY, MARK, PROGRAM

pytestmark = pytest.mark.observe

ENGINE = {
    "vllm/__init__.py": "",
    "vllm/benchmarks/__init__.py": "",
    "vllm/benchmarks/lib/__init__.py": "",
    "vllm/benchmarks/lib/endpoint_request_func.py": """
from types import SimpleNamespace

async def ask(fails):
    return SimpleNamespace(success=not fails, error="Traceback\\n  File\\nConnectionError: gone" if fails else "")

ASYNC_REQUEST_FUNCS = {"openai": ask}
OPENAI_COMPATIBLE_BACKENDS = ["openai"]
""",
    "vllm/benchmarks/serve.py": """
import asyncio, os
from vllm.benchmarks.lib.endpoint_request_func import ASYNC_REQUEST_FUNCS

def add_cli_args(parser):
    parser.add_argument("--backend", choices=list(ASYNC_REQUEST_FUNCS))
    parser.add_argument("--requests", type=int)
    parser.add_argument("--failed-every", type=int)
    parser.add_argument("--pause-s", type=float, default=0.0)
    parser.add_argument("--refuse", default="")

async def main_async(arguments):
    print("for people")
    if arguments.refuse:
        raise ValueError(arguments.refuse)
    for number in range(arguments.requests):
        await ASYNC_REQUEST_FUNCS["ingot"](bool(arguments.failed_every) and number % arguments.failed_every == 0)
        await asyncio.sleep(arguments.pause_s)
    return {"start_times": [os.environ["OPENAI_API_KEY"], os.environ["SSL_CERT_FILE"]], "more": 1}
""",
}


class Program:
    """The program at work, as a container runs it."""

    def __init__(self, directory: Path) -> None:
        for name, text in ENGINE.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", _ENTRY], cwd=directory, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.send(PROGRAM.replace("/tmp/ca.pem", str(directory / "ca.pem")))
        self.send({"key": "sk-secret", "ca": "CERTIFICATE"})

    def send(self, what: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def said(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        for line in self.process.stdout:
            assert line.startswith(MARK), "nothing else is printed there"
            yield json.loads(line.removeprefix(MARK))

    def level(self, *arguments: str, limit_s: float = 30, failed_share: float = 0.05) -> dict[str, Any]:
        """The end of one level."""
        self.send(
            {
                "arguments": ["--backend", "ingot", *arguments],
                "backend": "openai",
                "limit_s": limit_s,
                "failed_share": failed_share,
            }
        )
        return next(one for one in self.said() if "done" not in one)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    assert next(made.said()) == {"ready": True}
    yield made
    made.process.kill()
    made.process.wait()


def test_a_level_has_the_key_and_the_ca_and_gives_what_is_wanted(program: Program, tmp_path: Path) -> None:
    result = program.level("--requests", "3")["result"]
    assert result["start_times"] == ["sk-secret", str(tmp_path / "ca.pem")] and "more" not in result
    assert (tmp_path / "ca.pem").read_text().endswith("CERTIFICATE\n")


def test_a_level_with_too_many_failures_is_stopped_with_their_cause_and_the_next_one_runs(program: Program) -> None:
    stopped = program.level("--requests", "100000", "--failed-every", "2", "--pause-s", "0.01")["error"]
    assert stopped.endswith("requests failed, the first with: ConnectionError: gone")
    assert "result" in program.level("--requests", "3")


def test_few_failures_stop_nothing(program: Program) -> None:
    said = program.level("--requests", "130", "--failed-every", "30", "--pause-s", "0.01")
    assert "result" in said, "5 of 130 are less than 5 %"


def test_a_level_ends_with_its_time(program: Program) -> None:
    assert program.level("--requests", "100000", "--pause-s", "0.01", limit_s=1)["error"].startswith(
        "it was not over after 1 s, "
    )


def test_a_service_that_gives_no_first_answer_is_said(program: Program) -> None:
    assert program.level("--refuse", "Initial test run failed: Unauthorized") == {
        "error": "Initial test run failed: Unauthorized"
    }


def test_it_ends_with_its_input_whatever_it_does(program: Program) -> None:
    program.send(
        {
            "arguments": ["--backend", "ingot", "--requests", "100000", "--pause-s", "0.01"],
            "backend": "openai", "limit_s": 600, "failed_share": 0.05,
        }
    )  # fmt: skip
    assert next(program.said())["done"] > 0
    assert program.process.stdin
    program.process.stdin.close()
    assert program.process.wait(timeout=180) == 0


@pytest.mark.parametrize(("why", "said"), [("Traceback\n  x\nError: y\n", "Error: y"), ("", "nothing")])
def test_of_a_traceback_its_cause_is_said(why: str, said: str) -> None:
    assert on_host.last_words(why) == said
