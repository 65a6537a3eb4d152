"""The container of a benchmark: how it is started, what it is told, and what is read from it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from ingot.bench.load import Load
from ingot.bench.place import MARK, Bench, Failed, Place, Service, arguments, asked, command
from ingot.errors import IngotError

pytestmark = pytest.mark.observe

SERVICE = Service("https://llm.example", "chat", {"llm.example": "127.0.0.1"}, ca="CERTIFICATE", key="sk-secret")
RESULT = {
    "start_times": [10.0, 10.5, 11.0],
    "ttfts": [0.1, 0.2, 0.0],
    "itls": [[0.01, 0.02], [0.03], []],
    "input_lens": [5, 6, 7],
    "output_lens": [3, 2, 0],
    "errors": ["", "", "HTTP 500"],
}


class Recorded:
    """A container that says what it was given, whatever it is told."""

    def __init__(self, *said: object) -> None:
        self.sent: list[str] = []
        self._said = iter(said)

    def send(self, line: str) -> None:
        self.sent.append(line)

    def lines(self, timeout_s: float) -> Iterator[str]:
        for one in self._said:
            yield one if isinstance(one, str) else MARK + json.dumps(one)

    def close(self) -> None:
        pass


def test_the_key_is_on_no_command_line() -> None:
    words = shlex.split(command(Place("engine@sha256:aa", "2000:0", "/srv/models/chat"), SERVICE.names, 600))
    assert "sk-secret" not in " ".join(words) and "sk-secret" not in " ".join(arguments(Load(1, 1), SERVICE, 1))
    assert "sk-secret" not in repr(SERVICE)
    assert "--add-host=llm.example:127.0.0.1" in words and "/srv/models/chat:/model:ro" in words
    assert words[words.index("--entrypoint") :][:4] == ["--entrypoint", "timeout", "engine@sha256:aa", "600"]


def test_a_prefix_is_part_of_the_prompt_and_open_loops_have_a_rate() -> None:
    closed = arguments(Load(10, 4, input_tokens=1000, shared_prefix=0.25), SERVICE, 7)
    lengths = {name: closed[closed.index(name) + 1] for name in ("--random-prefix-len", "--random-input-len")}
    assert lengths == {"--random-prefix-len": "250", "--random-input-len": "750"}
    assert closed[closed.index("--request-rate") + 1] == "inf"
    opened = arguments(Load(10, 4, per_s=2.5), SERVICE, 7)
    assert opened[opened.index("--request-rate") + 1] == "2.5"


def test_levels_are_run_one_after_the_other() -> None:
    stream = Recorded("INFO loading", {"ready": True}, {"done": 1, "failed": 0}, {"result": RESULT}, {"error": "no"})
    told: list[tuple[int, int]] = []
    bench = Bench("gpu-01", stream, SERVICE)
    found = bench.run(Load(3, 1), 60, 0.05, lambda done, failed: told.append((done, failed)))
    assert not isinstance(found, Failed)
    assert [(one.sent_s, one.ok, one.output_tokens) for one in found] == [
        (0.0, True, 3),
        (0.5, True, 2),
        (1.0, False, 0),
    ]
    assert told == [(1, 0)]
    assert bench.run(Load(3, 1), 60, 0.05, lambda *_: None) == Failed("no")
    assert json.loads(stream.sent[1]) == {"key": "sk-secret", "ca": "CERTIFICATE"}
    assert json.loads(stream.sent[2]) | {"arguments": 0} == {
        "arguments": 0,
        "backend": "openai",
        "limit_s": 60,
        "failed_share": 0.05,
    }


@pytest.mark.parametrize("said", [("Error: no such image",), (), ({"ready": True}, "killed")])
def test_a_container_that_ends_is_said_with_its_last_words(said: tuple[object, ...]) -> None:
    with pytest.raises(IngotError, match=r"^gpu-01: the benchmark's container ended before its time \("):
        Bench("gpu-01", Recorded(*said), SERVICE).run(Load(1, 1), 60, 0.05, lambda *_: None)


def test_callers_of_an_open_loop_wait_from_when_they_came() -> None:
    held_back = {**RESULT, "queue_times": [0.0, 0.25, 0.0]}
    assert [(one.sent_s, one.ttft_s) for one in asked(held_back, is_open=True)][1] == (0.25, 0.45)
    # In a closed loop a request comes when the one before it has its answer, whatever the tool counts.
    assert asked(held_back, is_open=False) == asked(RESULT, is_open=True)
