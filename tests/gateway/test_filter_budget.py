"""Budgets of tokens by a clock that the tests hold, and what a request is charged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.gateway.filter import refusals, requests
from ingot.gateway.filter.budget import WINDOW_S, Budget
from ingot.gateway.filter.refusals import Refused
from ingot.gateway.filter.requests import prepared
from ingot.gateway.filter.settings import Policy
from ingot.gateway.filter.spent import Spent
from tests.gateway.test_redaction import RULES

pytestmark = pytest.mark.gateway

CHAT = "/v1/chat/completions"


def test_a_window_is_full_until_its_first_charge_is_a_minute_old() -> None:
    budget = Budget(100)
    assert budget.charge(60, 0.0) and budget.charge(40, 10.0)
    assert budget.charge(1, 20.0) is None
    assert (budget.wait_s(1, 20.0), budget.wait_s(61, 20.0), budget.wait_s(100, 20.0)) == (40, 50, 50)
    assert budget.charge(60, 59.9) is None
    assert budget.charge(60, 60.0)


def test_what_was_not_used_is_given_back_at_once() -> None:
    budget = Budget(100)
    charge = budget.charge(100, 0.0)
    assert charge and budget.charge(1, 1.0) is None
    budget.settle(charge, 30, 2.0)
    assert budget.used(2.0) == 30 and budget.charge(70, 3.0)


def test_what_was_used_beyond_a_charge_counts_from_when_it_is_known() -> None:
    budget = Budget(100)
    charge = budget.charge(10, 0.0)
    assert charge
    budget.settle(charge, 90, 50.0)
    assert (budget.used(50.0), budget.used(60.0), budget.used(109.9), budget.used(110.0)) == (90, 80, 80, 0)


def test_a_settlement_after_the_window_gives_nothing_back_twice() -> None:
    budget = Budget(100)
    charge = budget.charge(80, 0.0)
    assert charge and budget.charge(80, 60.0)
    budget.settle(charge, 5, 61.0)
    assert budget.used(61.0) == 80


def test_a_request_larger_than_the_budget_runs_when_nothing_else_counts() -> None:
    budget = Budget(100)
    assert budget.charge(1, 0.0)
    assert budget.charge(500, 1.0) is None and budget.wait_s(500, 1.0) == 59
    assert budget.charge(500, 60.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 120), st.integers(0, 200)), max_size=40))
def test_no_history_lets_more_start_than_the_budget_holds(history: list[tuple[int, int, int]]) -> None:
    budget, now, kept = Budget(100), 0.0, []
    for tokens, quarters, really in history:
        now += quarters / 4
        before = budget.used(now)
        charge = budget.charge(tokens, now)
        assert (charge is None) == (before + min(tokens, 100) > 100)
        if charge:
            kept.append((charge, really))
        else:
            now += budget.wait_s(tokens, now)
            assert budget.charge(tokens, now)
        if len(kept) > 2:
            budget.settle(*kept.pop(0), now)
        assert budget.used(now) >= 0
    assert budget.used(now + WINDOW_S) == 0


def spent(budget: Budget) -> Spent:
    charge = budget.charge(50, 0.0)
    assert charge
    return Spent(budget, charge, prompt_tokens=8)


@pytest.mark.parametrize(
    ("seen", "costs"),
    [
        ({"told": 21}, 21),
        ({"told": 21, "left": True, "pieces": 3}, 21),
        ({"pieces": 3, "begun": True, "left": True}, 11),
        ({"pieces": 3, "begun": True}, 11),
        ({}, 0),
        ({"left": True}, 50),
        ({"begun": True, "left": True}, 50),
    ],
    ids=["told", "told and left", "left in a stream", "stream broke off", "engine error", "left before", "left whole"],
)
def test_every_end_of_a_request_settles_its_charge(seen: dict[str, Any], costs: int) -> None:
    budget = Budget(100)
    one = spent(budget)
    for name, value in seen.items():
        setattr(one, name, value)
    one.settle(1.0)
    assert budget.used(1.0) == costs


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"usage": {"total_tokens": 7}}, 7),
        ({"type": "response.completed", "response": {"usage": {"total_tokens": 9}}}, 9),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, 7),
        ({"usage": {"total_tokens": "7"}}, None),
        ({"usage": None}, None),
        ([], None),
    ],
)
def test_usage_is_read_as_each_route_tells_it(body: Any, told: int | None) -> None:
    one = spent(Budget(100))
    one.see(body)
    assert one.told == told


def price(request: dict[str, Any], path: str = CHAT) -> int:
    return prepared(Policy(tokens_per_minute=10), path, "application/json", json.dumps(request).encode(), 1024).tokens


def test_a_request_is_charged_for_its_prompt_and_its_longest_answer() -> None:
    message = {"role": "user", "content": "a" * 4000}
    ask = {"messages": [message], "max_tokens": 100}
    assert price(ask) == 1000 + 1 + 100  # "user" is a token
    assert price({**ask, "n": 3}) == 1001 + 300
    assert price({**ask, "max_completion_tokens": 7}) == 1008
    assert price({"messages": [message]}) == 1001 + 1024
    assert price({"prompt": [1, 2, 3], "max_tokens": 5}, "/v1/completions") == 8
    assert price({"input": "a" * 400}, "/v1/embeddings") == price({"query": "a" * 400}, "/v1/rerank") == 100
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert price({"messages": [{"role": "user", "content": [picture]}], "max_tokens": 1}) < 1100


def test_a_text_is_no_picture_whatever_it_begins_with() -> None:
    text = "data:image/png;base64," + "A" * 40_000
    assert price({"messages": [{"content": text}], "max_tokens": 1}) > 10_000
    sources = [{"type": "base64", "data": "A" * 40_000}, {"input_audio": {"data": "A" * 40_000}}, {"image_url": text}]
    assert price({"messages": [{"content": sources}], "max_tokens": 1}) < 3_010


@pytest.mark.parametrize(
    "asks",
    [
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"json": {}, "json_object": True}},
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
    ],
)
def test_answers_that_were_asked_for_as_json_are_read_as_json(asks: dict[str, Any]) -> None:
    body = json.dumps({"input": "x", **asks}).encode()
    assert prepared(Policy(redact=RULES), "/v1/responses", "application/json", body, 1024).json_content


def test_each_prompt_of_a_list_is_charged_an_answer() -> None:
    ask = {"max_tokens": 100, "n": 2}
    assert price({**ask, "prompt": ["", "", ""]}, "/v1/completions") == 600
    assert price({**ask, "prompt": [[1], [2, 3]]}, "/v1/completions") == 3 + 400


def test_the_limit_that_is_charged_is_the_one_that_the_engine_takes() -> None:
    assert price({"prompt": "", "max_completion_tokens": 1, "max_tokens": 5000}, "/v1/completions") == 5000
    assert price({"input": "", "max_tokens": 1, "max_output_tokens": 5000}, "/v1/responses") == 5000
    assert price({"input": "", "max_tokens": 1}, "/v1/responses") == 1024


@pytest.mark.parametrize("written", ["5000", 5000.0, " 5_000 "])
def test_a_number_is_charged_however_the_engine_lets_it_be_written(written: object) -> None:
    assert price({"prompt": "", "max_tokens": written}, "/v1/completions") >= 5000
    assert price({"prompt": "", "max_tokens": 1, "n": written}, "/v1/completions") >= 5000


@pytest.mark.parametrize("limit", [-5, True, "x", None, 1.5])
def test_a_limit_that_is_none_is_charged_as_none(limit: object) -> None:
    assert price({"prompt": "", "max_tokens": limit}, "/v1/completions") == 1024


def test_a_stream_is_made_to_tell_its_usage() -> None:
    def asked(request: dict[str, Any], policy: Policy) -> tuple[Any, bool]:
        made = prepared(policy, CHAT, "application/json", json.dumps(request).encode(), 1024)
        return json.loads(made.body).get("stream_options"), made.usage_asked

    budgeted = Policy(tokens_per_minute=10)
    assert asked({"stream": True}, budgeted) == ({"include_usage": True}, False)
    assert asked({"stream": True, "stream_options": {"include_usage": True, "x": 1}}, budgeted) == (
        {"include_usage": True, "x": 1},
        True,
    )
    assert asked({"stream": False}, budgeted) == (None, True)
    assert asked({"stream": True}, Policy(redact=RULES)) == (None, True)


def refusal(policy: Policy, request: Any, path: str = CHAT, kind: str = "application/json") -> Refused:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(Refused) as refused:
        prepared(policy, path, kind, body, 1024)
    return refused.value


REFUSES = Policy(check=RULES)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [{"role": "user", "content": "手机13800138000"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "13800138000"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": '{"a":"\\u00313800138000"}'}}]}]},
        {"prompt": ["x", "13800138000"]},
        {"tools": [{"function": {"parameters": {"properties": {"tel": {"const": 13800138000}}}}}]},
        {"tools": [{"function": {"parameters": {"properties": {"13800138000": {}}}}}]},
    ],
)
def test_a_request_with_personal_data_is_refused_by_the_rules_name_alone(request_: Any) -> None:
    error = refusal(REFUSES, request_)
    assert (error.status, error.code) == (400, "request_refused_personal_data")
    said = json.dumps(error.error("id"))
    assert "mobile" in said and "13800138000" not in said


def test_what_cannot_be_looked_into_is_refused_where_requests_are_checked() -> None:
    for request, kind in (({"prompt": [1, 2]}, "application/json"), (b"--x", "multipart/form-data; boundary=x")):
        assert refusal(REFUSES, request, kind=kind).code == "not_with_request_checks"
    for body in (b"{", b"[]", b"[" * 100_000):
        assert refusal(REFUSES, body).code == "bad_request"


def test_settings_that_resemble_personal_data_are_none() -> None:
    body = json.dumps({"messages": [], "seed": 13800138000}).encode()
    assert prepared(REFUSES, CHAT, "application/json", body, 1024).body


@pytest.mark.parametrize("part", [b"[],", b"{},", b"0,"])
def test_a_body_that_would_be_many_times_larger_in_memory_is_refused(part: bytes) -> None:
    body = b'{"messages":[' + part * requests.LARGEST_PARTS + b"0]}"
    assert refusal(Policy(tokens_per_minute=10), body).code == "bad_request"


def test_a_request_can_be_redacted_instead() -> None:
    request = {"messages": [{"role": "user", "content": "手机13800138000"}], "temperature": 0.5}
    body = json.dumps(request).encode()
    made = prepared(Policy(check=RULES, check_redacts=True), CHAT, "application/json", body, 1024)
    assert json.loads(made.body) == {
        "messages": [{"role": "user", "content": "手机[redacted:mobile]"}],
        "temperature": 0.5,
    }


@pytest.mark.parametrize(
    "asks",
    [
        {"logprobs": True},
        {"logprobs": 0},
        {"prompt_logprobs": 1},
        {"return_token_ids": True},
        {"enable_response_messages": True},
    ],
)
def test_answers_that_are_redacted_are_not_told_as_tokens(asks: dict[str, Any]) -> None:
    (name,) = asks
    error = refusal(Policy(redact=RULES), {"messages": [], **asks})
    assert (error.code, error.param) == ("not_with_redaction", name)
    assert prepared(REFUSES, CHAT, "application/json", json.dumps(asks).encode(), 1024).body


def test_a_stream_of_unknown_events_is_refused_where_answers_are_redacted() -> None:
    ask = {"stream": True, "input": "x"}
    assert refusal(Policy(redact=RULES), ask, "/v1/audio/transcriptions").param == "stream"
    for path in (CHAT, "/v1/responses", "/v1/messages"):
        assert prepared(Policy(redact=RULES), path, "application/json", json.dumps(ask).encode(), 1024).body


def test_anthropics_clients_are_refused_in_their_own_shape() -> None:
    told = refusals.tokens_per_minute(100, 5).error("r1", "/v1/messages")
    assert (told["type"], told["error"]["type"], told["request_id"]) == ("error", "rate_limit_error", "r1")
    assert refusals.filter_busy().error("r1", "/v1/messages")["error"]["type"] == "overloaded_error"
    assert set(refusals.filter_busy().error("r1", "/v1/responses")) == {"error"}


def test_callers_who_are_refused_together_come_back_apart() -> None:
    told = {int(dict(refusals.engine_down().headers)["Retry-After"]) for _ in range(200)}
    assert min(told) >= 10 and max(told) <= 20 and len(told) > 5
