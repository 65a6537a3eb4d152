"""What a benchmark may send, and limits as people write them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.bench.load import MOST_AT_ONCE, MOST_REQUESTS, PRESETS, Load, check, parse_limits
from ingot.errors import IngotError

pytestmark = pytest.mark.observe

ONE = Load(requests=10, at_once=2)


def test_limits_are_read_in_seconds() -> None:
    assert parse_limits("ttft=1s,itl=50ms") == {"ttft": 1.0, "itl": 0.05}
    assert parse_limits("e2e=2.5s") == {"e2e": 2.5}


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft=1", "ttft=0s", "tpot=1s", "ttft=1s,ttft=2s", "ttft=-1s", "itl=50 ms"]
)
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(IngotError, match=r"expected ttft, itl, e2e once each with ms or s, such as ttft=1s,itl=50ms"):
        parse_limits(text)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_within_the_bounds(name: str) -> None:
    check((PRESETS[name],))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"requests": 0}, "0 requests, expected at least 1"),
        ({"at_once": MOST_AT_ONCE + 1}, "2049 at once, expected 1 to 2,048"),
        ({"per_s": 0.0}, "0.0 requests per second"),
        ({"input_tokens": 0}, "0 input tokens"),
        ({"output_tokens": 1}, "1 output tokens, expected at least 2"),
        ({"shared_prefix": 1.0}, "a shared prefix of 1"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(IngotError, match=words):
        check((replace(ONE, **changed),))  # type: ignore[arg-type]


def test_all_levels_together_stay_within_the_bound() -> None:
    most = Load(requests=MOST_REQUESTS // 2 - 2, at_once=1)
    check((most, most))
    with pytest.raises(IngotError, match="20,002 requests with warm-up, expected at most 20,000"):
        check((most, replace(most, requests=most.requests + 2)))
