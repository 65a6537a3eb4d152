"""Hosts of a group begin together or not at all, and the head answers for all of them."""

from __future__ import annotations

import threading

import pytest

from ingot.acceptance.evidence import Outcome
from ingot.acceptance.finding import Finding, Verdict
from ingot.acceptance.meeting import Meeting, incomplete, meetings
from ingot.errors import IngotError
from tests.acceptance.box import HEALTHY
from tests.settings.values import host

HOSTS = ("gpu-01", "gpu-02")


def meeting() -> Meeting:
    return Meeting("qwen3-32b", HOSTS)


def outcome(name: str, verdict: Verdict) -> Outcome:
    return Outcome(name, "quick", "2026-01-01T00:00:00+00:00", verdict, (Finding(verdict, "so"),), HEALTHY, {})


def test_a_group_of_which_one_is_not_named_is_refused_with_the_line_that_names_all() -> None:
    assert incomplete("gpu-02", meeting(), HOSTS) is None
    assert incomplete("gpu-02", meeting(), ["gpu-02", "gpu-03"]) == (
        "gpu-02: it serves qwen3-32b together with gpu-01, all of which stop with it, expected all to be accepted in "
        "one run; run `ingot accept gpu-01 gpu-02`, or leave their GPUs alone with --no-burn-in."
    )


def test_a_host_that_serves_alone_meets_nobody() -> None:
    alone = host(serve=[{"model": "qwen3-32b", "context": 8192, "concurrency": 8}], models_lock=None)
    assert meetings([alone]) == {}


def test_all_begin_or_none() -> None:
    whole = meeting()
    others = threading.Thread(target=whole.begin, args=("gpu-02",))
    others.start()
    whole.begin("gpu-01")
    others.join()
    broken = meeting()
    broken.end("gpu-02", None)
    with pytest.raises(IngotError, match="gpu-01: nothing was begun here, since gpu-02, with which it serves"):
        broken.begin("gpu-01")


@pytest.mark.parametrize(
    ("head", "member", "comes_to"),
    [
        (Verdict.PASS, Verdict.PASS, Verdict.PASS),
        (Verdict.PASS, Verdict.FAIL, Verdict.FAIL),
        (Verdict.WARN, Verdict.WARN, Verdict.WARN),
        (Verdict.FAIL, Verdict.PASS, Verdict.FAIL),
    ],
)
def test_the_head_fails_with_any_of_them(head: Verdict, member: Verdict, comes_to: Verdict) -> None:
    met = meeting()
    met.end("gpu-02", outcome("gpu-02", member))
    judged = met.judged("gpu-01", outcome("gpu-01", head))
    assert judged.verdict is comes_to
    if judged.verdict is not head:
        assert judged.reasons == ("gpu-02, with which it serves qwen3-32b, failed; see there", "so")
    assert met.judged("gpu-02", outcome("gpu-02", member)).verdict is member
