"""`ingot bench`: what its options mean, and what is refused before anyone is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.bench.load import MOST_AT_ONCE, PRESETS, Load
from ingot.commands.bench import USUAL, _key, _loads
from ingot.errors import IngotError
from tests.commands.test_alike import checkout, run

pytestmark = pytest.mark.observe

__all__ = ["checkout"]

REFUSED = {
    (): (2, "a benchmark is of one host or address; name one."),
    ("a", "b"): (2, "a benchmark is of one host or address; name one."),
    ("gone", "--concurrency", "1", "--rate", "2"): (2, "--concurrency is a closed loop and --rate an open one"),
    ("gone", "--users-at", "ttft=1s", "--requests", "9"): (2, "--users-at tries its own levels"),
    ("gone", "--users-at", "ttft=1s", "--slo", "itl=9ms"): (2, "--users-at has the limits; leave out --slo."),
    ("https://llm.example/v1",): (2, "an address is asked from a host of the inventory; name it with --from."),
    ("gone", "--concurrency", "1,x"): (1, "--concurrency 1,x: expected requests at once, such as 1,4,16; correct it."),
    ("gone", "--concurrency", "1.5"): (1, "--concurrency 1.5: expected requests at once"),
    ("gone", "--rate", "0"): (1, "--rate 0: expected requests per second"),
    ("gone", "--slo", "ttft"): (1, "'ttft': no limit, expected ttft, itl, e2e"),
    ("gone", "--concurrency", "9999"): (1, "119,988 requests with warm-up, expected at most 20,000; ask for fewer."),
    ("gone", "--requests", "1", "--concurrency", "4000"): (1, "4000 at once, expected 1 to 2,048"),
    ("gone", "--from", "gone-too"): (1, "gone-too: no such host or group"),
    ("gone", "--from", "gon*"): (2, "--from gon* is no single host; name one."),
    ("gone", "--seconds", "5"): (2, "Invalid value for '--seconds'"),
}


def test_what_makes_no_sense_is_refused_in_a_sentence(checkout: Path) -> None:
    for words, said in zip(REFUSED, run(checkout, *(("bench", *words) for words in REFUSED)), strict=True):
        status, sentence = REFUSED[words]
        assert (said.status, said.out) == (status, ""), (words, said)
        assert said.err.startswith(f"ingot: {sentence}") and said.err.count("\n") == 1, (words, said)


def test_a_pattern_is_the_one_host_that_it_means(checkout: Path) -> None:
    (said,) = run(checkout, ("bench", "gon*"))
    assert said.status == 1 and "ingot: gone: no SSH at 127.0.0.1 port 1" in said.err and "Traceback" not in said.err


def test_levels_are_a_curve_where_nobody_names_one() -> None:
    found = _loads(USUAL, None, None, has_preset=False)
    assert [(one.at_once, one.requests) for one in found] == [(1, 20), (2, 20), (4, 40), (8, 80), (16, 160)]


def test_a_preset_is_one_level_and_numbers_make_it_several() -> None:
    guide = PRESETS["guide"]
    assert _loads(guide, None, None, has_preset=True) == (guide,) and (guide.requests, guide.at_once) == (100, 10)
    assert [one.at_once for one in _loads(guide, "1,5", None, has_preset=True)] == [1, 5]


def test_an_open_loop_holds_nothing_back() -> None:
    assert _loads(USUAL, None, "0.1,2", has_preset=False) == (
        Load(20, MOST_AT_ONCE, per_s=0.1),
        Load(120, MOST_AT_ONCE, per_s=2.0),
    )


def test_a_key_comes_from_a_file_that_nobody_else_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("sk-one\n")
    path.chmod(0o640)
    with pytest.raises(IngotError, match=r"others may read it, expected a key that only you can read; `chmod 600 "):
        _key(path)
    path.chmod(0o600)
    assert _key(path) == "sk-one"
    monkeypatch.setenv("INGOT_API_KEY", "sk-two")
    assert _key(None) == "sk-two"
    monkeypatch.setenv("INGOT_API_KEY", "")
    assert _key(None) is None
