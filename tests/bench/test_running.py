"""A benchmark from its first level to its record, with a container that is simulated: an engine of known capacity."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.bench import running
from ingot.bench.load import MOST_REQUESTS, Load
from ingot.bench.place import MARK, Place, Service
from ingot.bench.record import Record
from ingot.bench.running import Wanted, is_address
from ingot.bench.served import Served, Subject
from ingot.errors import IngotError

pytestmark = pytest.mark.observe

SERVED = Served(Subject("chat", "ab12cd34"), (), Place("engine", "2000:0", "/srv/chat"))
BEGUN = Record("gpu-01", "2026-11-29T10:00:00+00:00", "ops@desk", "gpu-01", "https://gpu-01", SERVED.subject, ())
LIMITS = {"ttft": 1.0, "itl": 0.05}


class Container:
    """Answers levels as an engine whose time between tokens is 10 ms for one user and 50 ms for `capacity` of them.

    `dies_at` is the number of users at which it ends, `fails_at` the one at which too many requests fail.
    """

    capacity = 100
    dies_at = fails_at = 1 << 30
    #: What each level asked for at once.
    levels: list[int]

    def __init__(self, host: Any, command: str) -> None:
        self.sent: list[str] = []
        Container.levels = []
        self.random = random.Random(7)
        self.closed = False

    def send(self, line: str) -> None:
        self.sent.append(line)

    def close(self) -> None:
        self.closed = True

    def lines(self, timeout_s: float) -> Iterator[str]:
        if len(self.sent) == 2:
            yield MARK + json.dumps({"ready": True})
            return
        words = json.loads(self.sent[-1])["arguments"]
        named = dict(itertools.pairwise(words))
        users, requests = int(named["--max-concurrency"]), int(named["--num-prompts"])
        Container.levels.append(users)
        if users >= self.dies_at:
            yield "Killed"
            return
        if users >= self.fails_at:
            yield MARK + json.dumps({"error": "9 of 40 requests failed, the first with: Too Many Requests"})
            return
        yield MARK + json.dumps({"done": requests, "failed": 0})
        yield MARK + json.dumps({"result": self.answers(users, requests, int(named["--random-output-len"]))})

    def answers(self, users: int, requests: int, tokens: int) -> dict[str, Any]:
        gap_s = 0.01 + 0.04 * (users - 1) / (self.capacity - 1)
        gaps = [[gap_s * self.random.gauss(1, 0.05) for _ in range(tokens - 1)] for _ in range(requests)]
        return {
            "start_times": [number // users * (0.1 + gap_s * tokens) for number in range(requests)],
            "ttfts": [0.1] * requests,
            "itls": gaps,
            "input_lens": [512] * requests,
            "output_lens": [tokens] * requests,
            "errors": [""] * requests,
        }


def run(monkeypatch: pytest.MonkeyPatch, wanted: Wanted, **engine: int) -> Record:
    made = type("Engine", (Container,), engine)
    monkeypatch.setattr(running, "ChannelStream", made)
    service = Service("https://gpu-01", "chat", {}, "", "sk-secret")
    asker = SimpleNamespace(name="gpu-01")
    return running._run(None, asker, SERVED, service, wanted, BEGUN, lambda *_: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [2, 9, 40, 100, 230])
def test_the_users_for_whom_limits_hold_are_found_within_a_tenth(
    monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    wanted = Wanted((Load(20, 1),), LIMITS, users_at=True)
    found = run(monkeypatch, wanted, capacity=capacity)
    assert found.why is None and not found.users_at_least
    assert found.users is not None and abs(found.users - capacity) <= max(capacity * 0.1, 1)
    assert [level.load.at_once for level in found.levels] == Container.levels


def test_the_search_ends_at_the_most_users(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(20, 1),), LIMITS, users_at=True, most_users=32), capacity=100)
    assert (found.users, found.users_at_least, found.why) == (32, True, None)


def test_levels_are_run_in_their_order_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(40, 4), Load(80, 8)), {}))
    assert [level.load.at_once for level in found.levels] == [4, 8] and found.why is None
    assert all(level.measured and level.measured.failed == 0 for level in found.levels)


def test_a_container_that_ends_leaves_a_record_of_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(40, 4), Load(80, 8)), {}), dies_at=8)
    assert [level.load.at_once for level in found.levels] == [4]
    assert found.why == "gpu-01: the benchmark's container ended before its time (Killed); run it again."


def test_a_container_that_never_began_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IngotError, match=r"^gpu-01: the benchmark's container ended before its time \(Killed\)"):
        run(monkeypatch, Wanted((Load(40, 4),), {}), dies_at=1)


def test_ctrl_c_leaves_a_record_of_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Container):
        def answers(self, users: int, requests: int, tokens: int) -> dict[str, Any]:
            if users == 8:
                raise KeyboardInterrupt
            return super().answers(users, requests, tokens)

    monkeypatch.setattr(running, "ChannelStream", Interrupted)
    wanted, asker = Wanted((Load(40, 4), Load(80, 8)), {}), SimpleNamespace(name="gpu-01")
    service = Service("https://gpu-01", "chat", {}, "", "sk-secret")
    found = running._run(None, asker, SERVED, service, wanted, BEGUN, lambda *_: None)  # type: ignore[arg-type]
    assert (len(found.levels), found.why) == (1, "interrupted")


def test_a_level_that_is_stopped_is_the_last_and_its_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(40, 4), Load(80, 8), Load(90, 9)), {}), fails_at=8)
    assert [(level.load.at_once, level.measured is None) for level in found.levels] == [(4, False), (8, True)]
    assert found.why == "8 at once: 9 of 40 requests failed, the first with: Too Many Requests"


def test_users_that_held_before_it_was_stopped_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(20, 1),), LIMITS, users_at=True), fails_at=16)
    assert (found.users, found.users_at_least) == (8, True) and found.why


def test_no_level_begins_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(40, 4),), {}, limit_s=0))
    assert (found.levels, found.why) == ((), "its time of 0 s was over before 4 at once")


def test_a_search_never_makes_more_requests_than_any_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, Wanted((Load(20, 1),), LIMITS, users_at=True, most_users=2048), capacity=5000)
    assert found.why and found.why.endswith(f"would have made more than {MOST_REQUESTS:,} requests")
    assert sum(level.load.requests + level.load.warm_up for level in found.levels) <= MOST_REQUESTS
    assert found.users == 1024 and found.users_at_least


def test_one_failed_request_of_many_is_counted_and_many_end_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Container):
        def answers(self, users: int, requests: int, tokens: int) -> dict[str, Any]:
            found = super().answers(users, requests, tokens)
            return {**found, "errors": ["gone"] * (users - 3) + [""] * (requests - users + 3)}

    monkeypatch.setattr(running, "ChannelStream", Failing)
    service = Service("https://gpu-01", "chat", {}, "", "sk-secret")
    wanted = Wanted((Load(40, 4), Load(20, 8)), {})
    asker: Any = SimpleNamespace(name="gpu-01")
    few, many = running._run(None, asker, SERVED, service, wanted, BEGUN, lambda *_: None).levels
    assert few.measured and few.measured.failed == 1
    assert many.measured is None and many.why == "5 of 20 requests failed"


@pytest.mark.parametrize(("word", "address"), [("https://llm.example/v1", True), ("http://x", True), ("gpu-0*", False)])
def test_addresses_are_told_from_hosts(word: str, address: bool) -> None:
    assert is_address(word) is address


@pytest.mark.parametrize(
    "url", ["http://llm.example", "https://", "https://llm.example/v1/chat", "https://ops:sk@llm.example", "ftp://x"]
)
def test_what_is_no_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(IngotError, match=r"no address of a service, expected one such as https://llm\.example/v1"):
        running._netloc(url)
    assert running._netloc("https://llm.example:8443/v1/") == "llm.example:8443"


def test_the_name_in_the_certificate_is_asked_at_an_address_that_the_asker_has() -> None:
    def host(**data: Any) -> Any:
        given = {"ssh_hostname": "10.0.0.7", **data}
        return SimpleNamespace(name="gpu-01", data=SimpleNamespace(get=given.get, **given))

    asked = host()
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(running, "section", lambda *_: SimpleNamespace(gateway_names=("llm.example",)))
        assert running._reached(asked, asked) == ("https://llm.example", {"llm.example": "127.0.0.1"})
        patched.setattr(running, "section", lambda *_: SimpleNamespace(gateway_names=("2001:db8::7",)))
        assert running._reached(asked, host()) == ("https://[2001:db8::7]", {})
        patched.setattr(running, "section", lambda *_: SimpleNamespace(gateway_names=("llm.example",)))
        assert running._reached(asked, host()) == ("https://llm.example", {"llm.example": "10.0.0.7"})
        with pytest.raises(IngotError, match=r"^gpu-01: its address no\.invalid does not resolve here"):
            running._reached(host(ssh_hostname="no.invalid"), asked)


def test_a_user_sends_the_next_request_when_the_answer_is_there() -> None:
    one = replace(Load(0, 1), input_tokens=9)
    assert running._for_users(one, 2) == Load(20, 2, input_tokens=9)
    assert running._for_users(one, 50) == Load(250, 50, input_tokens=9)
