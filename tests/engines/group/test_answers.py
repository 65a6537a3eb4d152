"""A group is believed by its answers: counters that move, or a short question while it is idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ingot.engines.group import answers
from ingot.engines.group.answers import Answers


class Engine(ThreadingHTTPServer):
    """An engine's three routes: what each says, and how often it was asked a question."""

    health, status, running, tokens, asked = 200, 200, 0, 0, 0


class Routes(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(self.server.health, "")
            return
        counts = {"num_requests_running": self.server.running, "generation_tokens_total": self.server.tokens}
        self._say(200, "".join(f'vllm:{name}{{engine="0"}} {value}.0\n' for name, value in counts.items()))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        if self.server.status:
            self._say(self.server.status, "{}")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(("127.0.0.1", 0), Routes)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def watch(engine: Engine) -> Answers:
    made = Answers(f"127.0.0.1:{engine.server_port}", "/health", ("/v1/completions", {"model": "m"}), 600)
    made.begin(1)
    return made


def test_it_has_answered_once_a_question_is_answered(engine: Engine, watch: Answers) -> None:
    engine.health = 503
    assert watch._look() == (False, "")
    engine.health = 200
    assert watch._look() == (True, "")


def test_a_start_has_a_deadline(engine: Engine, watch: Answers) -> None:
    engine.health, watch.deadline_s = 503, -1.0
    assert watch._look()[1].startswith("it was not ready after")


def test_an_engine_that_says_what_is_wrong_is_believed(engine: Engine, watch: Answers) -> None:
    watch.answered, engine.status = True, 500
    assert watch._look() == (False, "a short question was answered with 500")


def test_one_that_says_nothing_is_asked_twice(engine: Engine, watch: Answers) -> None:
    watch.answered, engine.status = True, 0
    assert watch._look() == (False, "")
    assert "had no answer" in watch._look()[1]
    engine.status = 200
    assert watch._look() == (True, "")


def test_one_that_works_is_not_asked_and_one_that_stands_still_is(engine: Engine, watch: Answers) -> None:
    watch.answered, engine.running = True, 3
    for tokens in (1, 2, 3):
        engine.tokens = tokens
        assert watch._look() == (True, "")
    assert engine.asked == 0
    watch._look()
    assert engine.asked == 1


def test_another_epoch_begins_without_what_was_known(engine: Engine, watch: Answers) -> None:
    watch.answered, watch.trouble = True, "gone"
    watch.begin(2)
    assert (watch.answered, watch.trouble, watch.epoch) == (False, "", 2)


def test_it_looks_by_itself(engine: Engine, watch: Answers) -> None:
    watch.watch()
    done = threading.Event()
    for _ in range(600):
        if watch.answered:
            break
        done.wait(0.1)
    assert watch.answered
    assert answers.EVERY_S < answers.ANSWER_S
