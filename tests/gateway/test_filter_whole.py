"""Texts, requests, answers and streams of every kind, and what the filter makes of each, as a whole.

What each should come to is judged elsewhere (test_redaction.py, test_filter_budget.py, test_filter_streams.py). Here a
change of one shows whatever else it changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.gateway import personal_data
from ingot.gateway.filter import refusals, requests
from ingot.gateway.filter.allowance import Share
from ingot.gateway.filter.answers import Withheld, redacted
from ingot.gateway.filter.events import BadEvent, Events
from ingot.gateway.filter.json_text import JsonRedactor
from ingot.gateway.filter.numbers import begins, number_at
from ingot.gateway.filter.recognisers import RECOGNISERS, Sight, recognised
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.refusals import Refused
from ingot.gateway.filter.rules import Rules
from ingot.gateway.filter.settings import Policy
from ingot.gateway.filter.stream import Stream
from tests.gateway.test_redaction import CASES, CAUGHT, LEFT_ALONE, SITE

pytestmark = pytest.mark.gateway

#: After a change that is meant: `WRITE_EXPECTED=1 pytest tests/gateway/test_filter_whole.py`; read the difference.
EXPECTED = Path(__file__).parent / "filtered"
MOBILE = "13800138000"
AS_JSON = '{"tel": "\\u00313800138000", "n": 13800138000, "f": 1.3800138E10, "left": -1.5}'


def rules() -> Rules:
    """Those that Ingot brings, and a site's, made anew."""
    return Rules.from_dicts(personal_data.rules(SITE, {"taiwan-id": 0.2}))


def as_written(name: str, lines: Iterable[str]) -> None:
    path, now = EXPECTED / name, "".join(f"{line}\n" for line in lines)
    if os.environ.get("WRITE_EXPECTED"):
        path.write_text(now, encoding="utf-8")
    assert now.split("\n") == path.read_text(encoding="utf-8").split("\n")


@pytest.fixture(autouse=True)
def nobody_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added to the time after which callers may come again is drawn; here it is none."""
    monkeypatch.setattr("random.randint", lambda least, most: least)


# --- numbers: each kind that each number may be, with its length and confidence

#: Beside the cases whose finding is known: what tells one confidence of a kind from another.
NUMBERS = (
    *(text for found in CAUGHT.values() for text in found), *LEFT_ALONE, *(case["text"] for case in CASES),
    "8613800138000", "+86 13800138000", "0086-138-0013-8000", "138 001 38 000", "1,380,013,800,0", "138.0013.8000",
    "1 3 8 0 0 1 3 8 0 0 0", "1380013\n8000", "13-80-01-38-00-0", "13/80.01-38000", "(138)00138000", "138,0013,8000",
    "010-12345678", "010-62345678", "(010) 62345678", "+86 10 62345678", "01062345678", "0755-2345678",
    "021 62345678 12",
    "0755-82345678-1234", "62345678", "91234567", "+44 20 7946 0958", "+1 202 555 0143", "0532 8234567",
    "+861062345678",
    "110105194912310021", "110105491231002", "11010519491231002Ⅹ", "110105194913310029", "990105194912310026",
    "110105184912310020", "11010521001231002X", "110 105 1949 1231 002X", "110-105-19491231-0021", "110105-491231-002",
    "4111111111111112", "4111 1111 1111 1112", "6222020200123456789", "6222020200123456", "378282246310005",
    "30569309025904", "3530111333300000", "6011111111111117", "5555555555554444", "2221000000000009",
    "9558801234567890",
    "4111,1111,1111,1111", "411111-1111111111", "41 11 11 11 11 11 11 11",
    "e12345678", "ea1234567", "E1234567", "G1234567", "g12345678", "D1234567", "S12345678", "P1234567", "SE1234567",
    "K12345678", "141234567", "151234567", "E1-23-45-67-8", "E12 34 56 78", "H1234567890", "W12345678", "EI1234567",
    "A123456(3)", "A123456(4)", "A1234563", "A1234564", "AB987654(3)", "ab987654(3)", "Z683365(5)", "G123456(A)",
    "A123456789", "a123456789", "A123456788", "A1-23456789", "A1 2 3 4 5 6789", "B812345674",
    "京A12345", "京A·12345", "沪AD12345", "京A1234学", "京A1234", "粤Z1234港", "京AABCDE", "京I12345", "京A123456",
    "91110000600037341L", "91350100M000100Y43", "91110000600037341A", "911100006000373410", "123456789012345678",
    "9111 0000 6000 37341L", "9 1 1 1 0 0 0 0 600037341L",
    "9111 0000 6000 3734 1L", "9111 0000 6000 37 34 1L", "9111 00 00 6000 37 34 1L", "91 11 00 00 60 00 37341L",
    "138 (0013) 8000", "138 ( 0013 ) 8000", "+86 (138) 0013 8000", "A123456 (3)", "A123456( 3 )", "A123456 (4)",
    "010-62345678 123", "+86 10 62345678-123", "138\n0013\n8000", "138 \n 00138000", "12 3-4513800138000",
    "3.13800138000",
    "1-13800138000", "5\u200b13800138000", "E5\u200b12345678", "5 13800138000", "5.13800138000", "5-138-0013-8000",
    "5 138-0013-8000", "E1234567 8", "G 1234567",
    "192.168.1.10", "10.0.0.1", "1.2.3.4", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "8.8.8.8.8",
    "32.1.2.3", "203.0.113.7", "256.1.1.1", "31.31.31.31",
    f"电话{MOBILE}", f"订单号{MOBILE}", f"{MOBILE}元", f"{MOBILE} tokens", f"¥{MOBILE}", f"/v1/x/{MOBILE}",
    f"?id={MOBILE}", f"a_{MOBILE}", f"5{MOBILE}", f"{MOBILE}5", f"{MOBILE}.5", f"12-{MOBILE}", f"12.{MOBILE}",
    f"ab1{MOBILE}", f"{MOBILE}ab1", f"12ab-{MOBILE}", f"1234-{MOBILE}", "138-0013-8000-1", "138-0013-8000.5",
    "3-138-0013-8000", "电话 62345678", "身份证 110105491231002", "银行卡 4111111111111112", "护照 141234567",
    "passport K12345678", "serial 13800138000", "version 1.2.3.4", "ip 1.2.3.4", "号码 A123456788", "tel 91234567",
)  # fmt: skip


def seen_in(text: str) -> str:
    found = []
    start = begins(text, 0)
    while start is not None:
        sight = Sight(number_at(text, start), text, start)
        for kind in RECOGNISERS:
            if (one := recognised(kind, sight)) and one[1] > 0:
                found.append(f"{kind} {start}+{one[0]} {one[1]:.3f}")
        start = begins(text, start + 1)
    return "; ".join(found) or "nothing"


def test_each_number_is_as_certain_as_written() -> None:
    as_written("filter-numbers.txt", (f"{text!r}: {seen_in(text)}" for text in dict.fromkeys(NUMBERS)))


def test_each_text_is_redacted_as_written() -> None:
    """By all rules together: which of them counts, and what stays around it."""
    texts = (
        *NUMBERS,
        "mail ann@example.org, ANN.B+c@mail.example.co.uk!",
        "a@b",
        "ann@example",
        "ann@@example.org",
        "@",
        ":",
        "ff02:0:0:0:0:0:1:2 0:0:0:0:0:0:0:1",
        "fe80::1 and 2001:db8:0:0:0:0:0:7 but 12:30:45, ::1, 1:2:3:4:5:6:7:8:9, 2001:db8::g, ff02::1 and ::",
        "ST-123456 ST-1234567",
        "PRJ-AB_12 PRJ-ABCDE xPRJ-AB",
        "qab q12z aqab",
        "(13800138000)",
        "（13800138000）",
        "(138)00138000",
        "tel (010) 62345678)",
        "13800138000 E12345678 ann@example.org 4111111111111111",
        "13800138000,13900139000",
        "A123456788",
        "12345",
        "123456",
        "١٣٨٠٠١٣٨٠٠٠",
        "138–0013–8000",
        "138\u200b0013\u200b8000",
        "13800138000@qq.com",
        "ST-13800138000",
    )
    all_rules = rules()

    def clean(text: str) -> str:
        redactor = Redactor(all_rules)
        return redactor.feed(text) + redactor.end()

    lines = [f"{text!r}: {clean(text)!r}" for text in dict.fromkeys(texts) if clean(text) != text or len(text) < 16]
    as_written("filter-texts.txt", [*lines, f"{dict(sorted(all_rules.hits.items()))}"])


# --- requests


def policies() -> dict[str, Policy]:
    return {
        "redacted": Policy(redact=rules()),
        "checked": Policy(check=rules()),
        "cleaned": Policy(check=rules(), check_redacts=True),
        "metered": Policy(tokens_per_minute=10),
        "daily": Policy(tokens_per_day=10),
    }


CHAT, COMPLETIONS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
PATHS = (
    CHAT, COMPLETIONS, RESPONSES, MESSAGES, "/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/score",
    "/v1/messages/count_tokens", "/v1/audio/transcriptions",
)  # fmt: skip
#: What each policy is asked, by any route that matters; texts are bodies as they are.
ASKED: tuple[tuple[str, str, Any], ...] = (
    *(("redacted", path, {"stream": True, "input": "x"}) for path in PATHS),
    *(
        ("redacted", path, {name: value})
        for path in (CHAT, "/v1/embeddings")
        for name, value in (
            ("logprobs", True), ("logprobs", False), ("logprobs", None), ("prompt_logprobs", 0), ("prompt_logprobs",
            []),
            ("logprob_token_ids", [1]), ("return_token_ids", True), ("return_token_offsets", True),
            ("return_mm_kwargs", True), ("enable_response_messages", True), ("top_logprobs", 5),
        )
    ),
    *(
        ("redacted", RESPONSES, asks)
        for asks in (
            {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema"}},
            {"response_format": {"type": "text"}}, {"response_format": "json_object"},
            {"text": {"format": {"type": "json_schema"}}}, {"text": {"format": {"type": "text"}}},
            {"text": {"format": {"type": "json_object"}}, "response_format": {"type": "text"}}, {"text": "json_object"},
            {"structured_outputs": {"json": {"type": "object"}}}, {"structured_outputs": {"json_object": True}},
            {"structured_outputs": {"json_object": False, "json": None}}, {"structured_outputs": ["json"]},
        )
    ),
    *(
        (policy, CHAT, request)
        for policy in ("checked", "cleaned")
        for request in (
            {"messages": [{"content": MOBILE}, {"content": "E12345678"}]}, {MOBILE: 1},
            {"a": {MOBILE: {"b": [MOBILE]}}},
            {"seed": 13800138000, "f": 1.3800138e10, "in": {"seed": 13800138000, "f": 1.3800138e10, "of": [7.5, 2,
            True]}},
            {"arguments": AS_JSON}, {"arguments": [AS_JSON]}, {"arguments": {"text": AS_JSON}},
            {"text": AS_JSON}, {"content": None}, {"prompt": [1, 2]}, {"input": [[1], "x"]}, {"input": [[["x"]]]},
            {"prompt": [True]}, {"messages": "x" * 16380 + MOBILE + "x" * 16380}, {"messages": []},
        )
    ),
    *(
        ("metered", path, {"stream": True, **more})
        for path in (CHAT, COMPLETIONS, RESPONSES)
        for more in (
            {}, {"stream_options": {"include_usage": True, "x": 1}}, {"stream_options": {"include_usage": 0}},
            {"stream_options": None}, {"stream_options": [1]}, {"stream": False, "stream_options": {}},
        )
    ),
    *(
        ("metered", path, {"prompt": "a" * 400, **limits})
        for path in PATHS
        for limits in ({}, {"max_tokens": 7}, {"max_completion_tokens": 8, "max_tokens": 7}, {"max_output_tokens": 9})
    ),
    *(
        ("metered", COMPLETIONS, request)
        for request in (
            {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": "12"}, {"max_tokens": 12.0}, {"max_tokens": 12.5},
            {"max_tokens": True}, {"max_tokens": "x"}, {"n": 3}, {"n": 0}, {"n": -2}, {"n": "2"}, {"n": None},
            {"prompt": ["a", "b"], "n": 2, "max_tokens": 5}, {"prompt": [1, 2], "max_tokens": 5}, {"prompt": []},
            {"prompt": [[1], [2, 3]], "max_tokens": 5}, {"prompt": "é" * 40}, {"a": {"b": ["c" * 9, "d" * 4]}},
            {"x": "\ud800" * 4}, {"a": True}, {"a": [True, 1]},
            *({key: "A" * size} for key in ("url", "image_url", "data", "file_data", "text") for size in (3996, 5000)),
            {"url": ["A" * 5000, "A" * 5000]},
        )
    ),
    *(
        (policy, CHAT, body)
        for policy in ("metered", "checked")
        for body in ("", "{", "[]", "7", '{"a": 1, "a": 2}', '{"a":[' + "0," * 98 + "0]}",
        '{"a":[' + "0," * 99 + "0]}", "\xff")
    ),
)  # fmt: skip


def refused(one: Refused, path: str) -> str:
    return f"{one.status} {json.dumps(one.error('r1', path))} {one.headers}"


def prepared(policy: Policy, path: str, body: bytes, kind: str = "application/json") -> str:
    hits = policy.check or policy.redact
    before = dict(hits.hits) if hits else {}
    try:
        made = requests.prepared(policy, path, kind, body, 1000)
    except Refused as error:
        return refused(error, path)
    new = {name: count - before.get(name, 0) for name, count in (hits.hits if hits else {}).items()}
    sent = made.body.decode(errors="backslashreplace")
    return (
        f"{sent if len(sent) < 400 else f'{sent[:20]}… of {len(sent)}'}; {made.prompt_tokens} of {made.tokens} tokens"
        f"{', JSON' if made.json_content else ''}{'' if made.usage_asked else ', usage not asked for'}"
        f"{''.join(f', {count} {name}' for name, count in new.items() if count)}"
    )


def short(body: str) -> str:
    return body if len(body) < 200 else f"{body[:60]}… of {len(body)}"


def test_each_request_goes_on_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LARGEST_PARTS", 100)
    lines, known = [], policies()
    for policy, path, asked in ASKED:
        body = asked if isinstance(asked, str) else json.dumps(asked)
        lines.append(
            f"{policy} {path} {short(body)}: {prepared(known[policy], path, body.encode('latin-1', 'replace'))}"
        )
    for policy in known:
        for kind in ("multipart/form-data; boundary=x", "Multipart/Form-Data", " multipart/form-data ;b", "text/plain"):
            lines.append(f"{policy} {kind}: {prepared(known[policy], CHAT, b'{}', kind)}")
    as_written("filter-requests.txt", lines)


def test_each_refusal_is_told_as_written() -> None:
    made = (
        refusals.bad_request("Why."), refusals.unknown_team(), refusals.filter_busy(),
        refusals.not_with_redaction("logprobs"), refusals.personal_data("mobile"), refusals.not_checked("a form"),
        refusals.withheld(), refusals.engine_down(), refusals.tokens_per_period("month", 100, 3600),
        refusals.tokens_per_minute(50, 7), Refused(404, "no", "No.", "model", (("A", "b"),)), Refused(429, "x", "X."),
        Refused(503, "x", "X.", retry_s=0), Refused(499, "x", "X."), Refused(500, "x", "X."),
    )  # fmt: skip
    lines = [refused(one, path) for one in made for path in (CHAT, MESSAGES, "/v1/messages/count_tokens")]
    lines += [f"{Share('day', used, 300)} {Share('day', used, 300).warns}" for used in (0, 239, 240, 299, 300, 600)]
    as_written("filter-refusals.txt", lines)


# --- answers

CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": AS_JSON}}
ANSWERS: tuple[Any, ...] = (
    dict.fromkeys(("id", "object", "created", "model", "usage", "service_tier", "system_fingerprint", "metrics"),
    MOBILE),
    dict.fromkeys(("text", "content", "arguments", MOBILE), MOBILE),
    {"choices": [{"message": {"content": MOBILE, "tool_calls": [CALL]}, "logprobs": {"content": []}, "index": 0}]},
    {"content": AS_JSON, "text": AS_JSON, "arguments": AS_JSON, "other": AS_JSON},
    {"in": {"content": [AS_JSON], "text": {"x": AS_JSON}, "arguments": [[AS_JSON]], "token_ids": [1]}},
    [MOBILE, {"content": MOBILE}, 13800138000, 1.3800138e10, 7, None, True, "x"], MOBILE, 13800138000, None,
    {"seed": 13800138000, "usage": {"total_tokens": 13800138000}, "n": {"usage": 13800138000}},
    {name: [1] for name in ("logprobs", "prompt_logprobs", "token_ids", "prompt_token_ids", "token_offsets",
                            "routed_experts", "kv_transfer_params", "ec_transfer_params", "mm_kwargs", "kept")},
)  # fmt: skip


def test_each_answer_is_redacted_as_written() -> None:
    as_written(
        "filter-answers.txt",
        (
            f"{'JSON ' if as_json else ''}{json.dumps(answer)}: "
            f"{json.dumps(redacted(answer, rules(), json_content=as_json), ensure_ascii=False)}"
            for answer in ANSWERS
            for as_json in (False, True)
        ),
    )


#: Texts of JSON, each read in pieces of one, of three, and at once.
TEXTS = (
    AS_JSON, '"\\ud83d\\ude00 \\ud83d \\ude00 \\u00e9"', '"\\n\\t\\"\\\\\\/\\b\\f\\r\\x"', '"\\u12',
    '"\\', '"\\ud83d\\u',
    '{"a": -13800138000, "b": 13800138000.0, "c": 1380013.8e4, "d": 1e400, "e": 1.2.3, "f": 13800138000}',
    "13800138000", "[13800138000,13800138000]", '{"13800138000": "E12345678"}', "9" * 300, "1." + "0" * 300,
    '"open 1380013',
    '"\x01\x1f\u2028"', '"13800\\u0031\\u003338000"', '{"a":13800138000}x', "-13800138000e0", "1380013800 0", "\\\"",
)  # fmt: skip


def test_each_text_of_json_is_redacted_as_written() -> None:
    lines = []
    for text in TEXTS:
        made = []
        for size in (1, 3, len(text)):
            reads = JsonRedactor(rules())
            pieces = [reads.feed(text[start : start + size]) for start in range(0, len(text), size)]
            made.append("".join(pieces) + reads.end())
        assert len(set(made)) == 1, "however a text is cut, the same comes out"
        lines.append(f"{json.dumps(text)}: {json.dumps(made[0])}")
    as_written("filter-json.txt", lines)


# --- streams: the events of each, and what is sent for them


def choice(**parts: Any) -> dict[str, Any]:
    return {"id": "x", "created": 13800138000, "choices": [{"index": 0, **parts}]}


def delta(**parts: Any) -> dict[str, Any]:
    return choice(delta=parts)


def called(arguments: str | None = None, name: str | None = None, index: Any = 0) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return delta(tool_calls=[{"index": index, "id": MOBILE, "type": "function", "function": function}])


def block(kind: str, field: str, text: Any, index: Any = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def said(kind: str, piece: Any = None, number: int = 0, **more: Any) -> dict[str, Any]:
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    text = {} if piece is None else {"delta": piece}
    return {"type": f"response.{kind}", "sequence_number": number, **place, **text, **more}


ENDS = choice(delta={}, finish_reason="stop")
STREAMS: tuple[tuple[str, list[Any]], ...] = (
    (CHAT, [delta(role="assistant", content=""), delta(content="a 1380"), delta(content="0138000 b"), ENDS, "[DONE]"]),
    (CHAT, [delta(content="1380"), delta(reasoning="E1234"), ENDS, {"choices": [], "usage": {"total_tokens": 3}}]),
    (CHAT, [delta(content="1380"), {"id": "y", "usage": {}, "choices": [{"index": 1, "text": "1380"}]}]),
    (CHAT, [delta(content="1380"), ENDS, delta(content="0138000")]), (CHAT, ["[DONE]", "[DONE]"]),
    (CHAT, [called('{"a": "1380', "f"), called('0138000"}'), ENDS]), (CHAT, [called('{"a": 1380'), "[DONE]"]),
    (CHAT, [called(name=MOBILE), called(name="138"), called(name="00138000")]), (CHAT, [called("{", index="0")]),
    (CHAT, [called(name="get_"), called(name="138"), ENDS]), (CHAT, [called("1380", index=1), called("1", index=0),
    ENDS]),
    (CHAT, [delta(function_call={"name": "f", "arguments": '"1380', "x": MOBILE}), ENDS]),
    (CHAT, [delta(function_call={"arguments": '"1380'}), choice(finish_reason="stop")]),
    (CHAT, [delta(content=[MOBILE])]), (CHAT, [delta(tool_calls={"a": 1})]), (CHAT, [delta(function_call=7)]),
    (CHAT, [delta(other=[MOBILE], token_ids=[1], role=MOBILE, content=None), choice(text="1380", logprobs={},
    x=MOBILE)]),
    (CHAT, [choice(text="1380"), choice(text="0138000", finish_reason="length")]), (CHAT, [choice(delta=[1])]),
    (CHAT, [choice(text=["x"])]), (CHAT, [{"choices": [{"delta": {}}]}]), (CHAT, [{"choices": ["x"]}]), (CHAT, [[1]]),
    (CHAT, [called('{"a": "1'), choice(delta=called('380 x E1')["choices"][0]["delta"], finish_reason="tool_calls")]),
    (CHAT, [called("{", "f"), choice(delta=called('"a": "what came with the end, 1380')["choices"][0]["delta"],
            finish_reason="tool_calls")]),
    (CHAT, [delta(content="1380", function_call={"arguments": "1380"}),
            choice(delta={"content": "x E1", "function_call": {"arguments": "0 x E1"}}, finish_reason="stop")]),
    (CHAT, [choice(text="1380", delta={"tool_calls": None}), called("1380", index=2), called("1380", index=1), ENDS]),
    (CHAT, [{"error": {"message": MOBILE}}]), (CHAT, [{"choices": {}}]), (CHAT, [{"x": 1}]), (CHAT, ["{"]),
    (CHAT, [{"error": MOBILE, "choices": [], "prompt_logprobs": 1, "other": MOBILE}]),
    (RESPONSES, [said("created", response={"id": MOBILE, "output": [MOBILE]}), said("output_text.delta", "1380", 1),
                 said("output_text.delta", "0138000 x 1380", 2), said("output_text.done", None, 3,
                 text=f"{MOBILE} x 1380"),
                 said("completed", None, 4, response={"output": [MOBILE]})]),
    (RESPONSES, [said("output_text.delta", "1380", token_ids=[1], logprobs=[MOBILE], x=MOBILE), said("failed", None,
    9)]),
    (RESPONSES, [said("function_call_arguments.delta", '{"a": 1380'),
                 said("output_item.done", None, 1, item={"arguments": AS_JSON}), said("function_call_arguments.delta",
                 "0")]),
    (RESPONSES, [said("output_text.delta", "1380"), said("content_part.done", None, 1, output_index=1),
                 said("content_part.done", None, 2), said("incomplete", None, 3)]),
    (RESPONSES, [said("output_text.delta", "1380"), said("output_text.done", None, 1), said("output_text.delta", "x")]),
    (RESPONSES, [said("output_text.delta", "1380", item_id="a"), said("output_text.delta", "E1234", item_id="b"),
                 said("reasoning_summary_text.delta", "138", summary_index=1)]),
    (RESPONSES, [said("output_text.delta", "1380", content_index=0), said("output_text.delta", "E12", content_index=1),
                 said("output_text.done", None, content_index=1), said("output_text.done", None, content_index=0)]),
    (RESPONSES, [said("summary.delta", "1380", summary_index=0), said("summary.delta", "0138000", summary_index=1),
                 said("summary.delta", "0138000", output_index=1), said("output_item.done", None, output_index=1)]),
    (RESPONSES, [said("output_text.delta", 7)]), (RESPONSES, [said("output_text.delta", "x", item_id=[1])]),
    (RESPONSES, [{"type": 7}]), (RESPONSES, [{"type": "error", "message": MOBILE}]), (RESPONSES, [7]),
    (RESPONSES, [{"type": "response.output_text.delta", "delta": "1380"}]),
    (MESSAGES, [{"type": "message_start", "message": {"id": MOBILE, "usage": {"input_tokens": 3}}},
                {"type": "content_block_start", "index": 0, "content_block": {"text": MOBILE}},
                block("text_delta", "text", "1380"), block("text_delta", "text", "0138000 138"),
                {"type": "content_block_stop", "index": 0}, {"type": "message_delta", "usage": {"output_tokens": 4}},
                {"type": "message_stop"}]),
    (MESSAGES, [block("thinking_delta", "thinking", "1380"), block("signature_delta", "signature", MOBILE),
                block("text_delta", "text", "E12", 1), {"type": "message_stop"}]),
    (MESSAGES, [block("input_json_delta", "partial_json", '{"a": 1380'), {"type": "error",
    "error": {"message": MOBILE}}]),
    (MESSAGES, [block("text_delta", "text", "1380", 1), block("thinking_delta", "thinking", "E12")]),
    (MESSAGES, [{"type": "content_block_stop", "index": 0}, block("text_delta", "text", "x")]),
    (MESSAGES, [block("other_delta", "text", "x")]), (MESSAGES, [block("text_delta", "text", 7)]),
    (MESSAGES, [block("text_delta", "text", "x", "0")]), (MESSAGES, [{"type": "content_block_stop"}]),
    (MESSAGES, [{"type": "content_block_delta", "index": 0, "delta": "x"}]), (MESSAGES, [{"type": None}]),
    (MESSAGES, [7]), (MESSAGES, [{"type": "ping", "x": MOBILE}]),
)  # fmt: skip


def sent_for(path: str, events: list[Any], **options: Any) -> Iterator[str]:
    stream = Stream(rules(), path=path, **options)
    yield f"{path}{''.join(f' {name}' for name in options)}"

    def told(what: str, does: Callable[[], bytes]) -> Iterator[str]:
        try:
            out = does().decode()
        except (Withheld, BadEvent, ValueError) as error:
            yield f"  {what}: {type(error).__name__}"
        else:
            yield f"  {what}: {' | '.join(out.rstrip().splitlines()).replace('|  |', '|')}"

    for event in events:
        text = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if isinstance(event, dict) and isinstance(event.get("type"), str) else ""
        yield from told(text, lambda name=name, text=text: stream.feed(f"{name}data: {text}\n\n".encode()))  # type: ignore[misc]
    yield from told("the end", stream.end)


#: Streams as bytes: ends of lines, comments, fields and names.
RAW = (
    b"data: {}\r\n\r\n",
    b"data:{}\r\rdata: {}\n\n",
    b": ping\n\n",
    b":\n\ndata: [DONE]\n\n",
    b"id: 1\nretry: 2\n\n",
    b'data: {"choices":\ndata: []}\n\n',
    b"event: a.b_c-d1\ndata: [DONE]\n\n",
    b"event: a b\ndata: {}\n\n",
    b"data: \xff\n\n",
    b"data: [DONE]",
    b"data\n\n",
    b"\n\n\n\n",
    b"event: x\n\n",
    b": a\ndata: [DONE]\n\n",
    b"data:  [DONE]\n\n",
)


def test_each_stream_of_bytes_is_read_as_written_however_it_is_cut() -> None:
    lines = []
    for raw in RAW:
        told = []
        for size in (1, 2, len(raw)):
            events = Events(64)
            try:
                read = [one for at in range(0, len(raw), size) for one in events.feed(raw[at : at + size])]
                told.append(str([*read, *events.end()]))
            except BadEvent:
                told.append("BadEvent")
        assert len(set(told)) == 1
        lines.append(f"{raw!r}: {told[0]}")
    as_written("filter-events.txt", lines)


@pytest.mark.parametrize(("size", "fits"), [(64, True), (65, False)])
def test_an_event_is_as_large_as_it_may_be(size: int, fits: bool) -> None:
    if fits:
        assert Events(64).feed(b"x" * size) == []
    else:
        with pytest.raises(BadEvent):
            Events(64).feed(b"x" * size)


def test_each_stream_is_redacted_as_written() -> None:
    lines: list[str] = []
    for path, events in STREAMS:
        lines += sent_for(path, events)
        if path != MESSAGES:
            lines += sent_for(path, events, json_content=True)
    as_written("filter-streams.txt", lines)
