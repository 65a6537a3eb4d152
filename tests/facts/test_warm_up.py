"""A warm-up asks for as many tokens as the longest prompt of the model's callers, and for none of their text."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ingot.facts.warm_up import Warmed, WarmUp

pytestmark = pytest.mark.rollout


class Engine(ThreadingHTTPServer):
    """Keeps the bodies that it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def account(model: str, tokens: int | None) -> str:
    return json.dumps({"team": "research", "model": model, "prompt_tokens": tokens, "completion_tokens": 900000}) + "\n"


def warmed(engine: Engine, accounts: Path, most: int) -> Warmed | None:
    endpoint = f"127.0.0.1:{engine.server_address[1]}"
    command = WarmUp().command(endpoint, "qwen", str(accounts), most, 30)
    done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
    return WarmUp().process(done.stdout.splitlines())


@pytest.mark.parametrize(("most", "sent"), [(100_000, 40_000), (4095, 4095)], ids=["its longest", "what fits"])
def test_the_longest_prompt_of_the_model_is_asked_again_in_length(
    engine: Engine, tmp_path: Path, most: int, sent: int
) -> None:
    (tmp_path / "qwen-0.jsonl").write_text(account("qwen", 12) + account("qwen", 40_000) + account("qwen", None))
    (tmp_path / "llama-0.jsonl").write_text(account("llama", 90_000))
    assert warmed(engine, tmp_path, most) == Warmed(sent, "200")
    [body] = engine.bodies
    assert (body["model"], body["max_tokens"], body["prompt"]) == ("qwen", 1, [100] * sent)


def test_without_callers_nothing_is_asked(engine: Engine, tmp_path: Path) -> None:
    assert warmed(engine, tmp_path, 4095) == Warmed(0, "") and engine.bodies == []
