"""Streamed and whole answers, redacted: any text, cut anywhere, in any framing of events, as the whole would be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.gateway.filter.answers import StreamedAnswer, Withheld, redacted
from ingot.gateway.filter.budget import Budget
from ingot.gateway.filter.events import BadEvent
from ingot.gateway.filter.json_text import JsonRedactor
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.spent import Spent
from ingot.gateway.filter.stream import LARGEST_EVENT, Stream
from tests.gateway.test_redaction import RULES, cut, cuts, in_pieces, texts

pytestmark = pytest.mark.gateway

ENVELOPE = {"id": "chatcmpl-13800138000", "object": "chat.completion.chunk", "created": 1, "model": "m"}
#: Kind of place -> how a piece of its text stands in a choice.
PLACES = {
    "content": lambda piece: {"delta": {"content": piece}},
    "reasoning": lambda piece: {"delta": {"reasoning": piece}},
    "refusal": lambda piece: {"delta": {"refusal": piece, "content": None}},
    "tool 0": lambda piece: {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}},
    "tool 1": lambda piece: {"delta": {"tool_calls": [{"index": 1, "function": {"arguments": piece}}]}},
    "function": lambda piece: {"delta": {"function_call": {"arguments": piece}}},
    "text": lambda piece: {"text": piece},
}


def joined(events: Sequence[Any]) -> dict[tuple[int, str], str]:
    """The texts of a stream's events, joined as a client joins them."""
    found: dict[tuple[int, str], str] = {}

    def add(index: int, place: str, piece: str | None) -> None:
        found[index, place] = found.get((index, place), "") + (piece or "")

    for event in events:
        for choice in event["choices"]:
            index, delta = choice["index"], choice.get("delta", {})
            for key in ("content", "reasoning", "refusal"):
                add(index, key, delta.get(key))
            for call in delta.get("tool_calls", []):
                add(index, f"tool {call['index']}", call["function"].get("arguments"))
            add(index, "function", delta.get("function_call", {}).get("arguments"))
            add(index, "text", choice.get("text"))
    return {place: text for place, text in found.items() if text}


def parsed(stream: bytes) -> Iterator[str]:
    """The data of events, by a reader of its own."""
    for block in stream.decode().split("\n\n"):
        data = [line[len("data: ") :] for line in block.split("\n") if line.startswith("data: ")]
        if data:
            yield "\n".join(data)


def events_of(stream: bytes) -> list[Any]:
    return [json.loads(data) for data in parsed(stream) if data != "[DONE]"]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Any], dict[tuple[int, str], str]]:
    """Events of one answer: pieces of several texts of several choices, interleaved; and what their texts are."""
    whole: dict[tuple[int, str], str] = {}
    queues: list[list[Any]] = []
    for index in range(draw(st.integers(1, 3))):
        for place in draw(st.lists(st.sampled_from(sorted(PLACES)), max_size=3, unique=True)):
            text = draw(texts)
            whole[index, place] = text
            queues.append([{"index": index, **PLACES[place](piece)} for piece in cut(text, draw(cuts))])
    events = []
    while queues := [queue for queue in queues if queue]:
        events.append({**ENVELOPE, "choices": [draw(st.sampled_from(queues)).pop(0)]})
    for index in sorted({index for index, _ in whole}):
        if draw(st.booleans()):
            events.append({**ENVELOPE, "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})
    return events, whole


@st.composite
def framings(draw: st.DrawFn, events: Sequence[Any]) -> bytes:
    """The events as bytes, with each of the freedoms that the format gives."""
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    out = ""
    for event in events:
        if draw(st.integers(0, 5)) == 0:
            out += f": ping{newline}{newline}"
        text = json.dumps(
            event, ensure_ascii=draw(st.booleans()), indent=1 if newline == "\n" and draw(st.booleans()) else None
        )
        space = draw(st.sampled_from(["", " "]))
        out += "".join(f"data:{space}{line}{newline}" for line in text.split("\n")) + newline
    out += f"data: [DONE]{newline}{newline}" if draw(st.booleans()) else ""
    return out.encode()


def expected(whole: dict[tuple[int, str], str]) -> dict[tuple[int, str], str]:
    """The plain reference: each text redacted as a whole."""
    made = {}
    for (index, place), text in whole.items():
        as_json = place.startswith(("tool", "function"))
        made[index, place] = in_pieces((JsonRedactor if as_json else Redactor)(RULES), [text])
    return {place: text for place, text in made.items() if text}


@settings(max_examples=150, deadline=None)
@given(st.data(), answers(), st.lists(st.integers(0, 5000), max_size=20))
def test_any_stream_is_redacted_as_its_whole_texts_are(data: st.DataObject, answer: Any, places: list[int]) -> None:
    events, whole = answer
    raw = data.draw(framings(events))
    inner = sorted({place % (len(raw) + 1) for place in places})
    stream = Stream(RULES)
    out = b"".join(stream.feed(raw[a:b]) for a, b in zip([0, *inner], [*inner, len(raw)], strict=True)) + stream.end()
    assert joined(events_of(out)) == expected(whole)


@settings(deadline=None)
@given(answers())
def test_byte_by_byte_is_the_same(answer: Any) -> None:
    events, whole = answer
    raw = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events).encode()
    stream = Stream(RULES)
    out = b"".join(stream.feed(raw[place : place + 1]) for place in range(len(raw))) + stream.end()
    assert joined(events_of(out)) == expected(whole)


def sent(*events: Any, done: bool = True) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events) + b"data: [DONE]\n\n" * done


def chunk(**choice: Any) -> dict[str, Any]:
    return {**ENVELOPE, "choices": [{"index": 0, **choice}]}


def like(shape: int, piece: str) -> tuple[str, str]:
    """Path, and an event with a piece in one of the forms that engines give their streams."""
    words = json.dumps(piece, ensure_ascii=bool(shape % 2))
    chat = f'{{"id":"x","choices":[{{"index":0,"delta":{{"content":{words}}},"finish_reason":null}}],"usage":null}}'
    fields = f'"content": {words}, "role": "assistant", "note": "\\"content\\": 13800138000"'
    return (
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", f'{{"choices": [{{"delta": {{{fields}}}, "index": 0}}], "id": "content"}}'),
        ("/v1/completions", f'{{"choices":[{{"index":1,"text":{words},"logprobs":null}}]}}'),
        ("/v1/messages", f'{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{words}}}}}'),
    )[shape]


#: An event of another form on the same path: more fields, another choice, another block.
OTHER = (
    like(1, "word ")[1],
    like(0, "word ")[1],
    like(2, "word ")[1].replace('"index":1', '"index":0'),
    like(3, "word ")[1].replace('"index":0', '"index":1'),
)


@given(st.integers(0, 3), texts, cuts, st.lists(st.integers(0, 2), min_size=3, max_size=3))
@settings(deadline=None)
def test_events_that_differ_in_a_text_alone_are_written_as_any_other_is(
    shape: int, text: str, places: list[int], others: list[int]
) -> None:
    pieces = [like(shape, piece) for piece in cut(text, places)]
    # Events of another form in between, as an engine that is done thinking sends them.
    for place in others:
        pieces.insert(min(place, len(pieces)), (pieces[0][0], OTHER[shape]))
    sent = []
    for learns in (True, False):
        stream = Stream(RULES, path=pieces[0][0])
        if not learns:
            stream._learn = lambda *_: None  # type: ignore[method-assign]
        sent.append(b"".join(stream.feed(f"data: {data}\n\n".encode()) for _, data in pieces) + stream.end())
    assert sent[0] == sent[1]


def test_the_form_of_an_event_is_learned_from_two_and_left_with_the_first_that_differs() -> None:
    stream = Stream(RULES)
    event = like(0, "word ")[1]
    for _ in range(3):
        stream.feed(f"data: {event}\n\n".encode())
    assert stream._repeated
    for broken in (event.replace('"word "', "7"), event.replace('"word "', '"a" "b"'), event[:-1]):
        assert stream._repeated.feed(broken) is None
    stream.feed(f"data: {event.replace('null}', '7}')}\n\n".encode())
    assert stream._repeated is None
    with pytest.raises(Withheld):
        stream.feed(f"data: {event}\n\n".encode())


@pytest.mark.parametrize(
    ("choice", "path"),
    [
        ({"index": 1, "text": "word"}, ("text",)),
        ({"index": 1, "text": "word", "delta": {}}, ("text",)),
        ({"index": 1, "delta": {"content": "word", "role": "assistant"}}, ("delta", "content")),
        ({"index": 1, "delta": {"reasoning": "word", "content": None}}, ("delta", "reasoning")),
        ({"index": 1, "text": "word", "delta": {"content": "word"}}, None),
        ({"index": 1, "delta": {"content": "word", "reasoning": "word"}}, None),
        ({"index": 1, "delta": {"content": "word", "annotations": []}}, None),
        ({"index": 1, "delta": {"content": "word"}, "finish_reason": "stop"}, None),
        ({"index": 1, "delta": {"role": "assistant"}}, None),
        ({"index": 1, "delta": {}}, None),
    ],
)
def test_an_event_that_adds_to_one_text_alone_says_which(choice: Any, path: tuple[str, ...] | None) -> None:
    """So that the form of such events is learned, and each of them read once and not thrice."""
    answer = StreamedAnswer(RULES)
    event = {**ENVELOPE, "choices": [choice]}
    answer.event(event)
    joined = answer.joined(event)
    assert (joined.path if joined else None) == (("choices", 0, *path) if path else None)
    assert answer.joined({**event, "choices": [choice, {**choice, "index": 2}]}) is None


def test_what_is_no_text_of_the_answer_stays_as_it_is() -> None:
    event = {**ENVELOPE, "system_fingerprint": "x", "usage": {"total_tokens": 3}}
    event["choices"] = [{"index": 0, "delta": {"role": "assistant", "content": "你好"}, "finish_reason": None}]
    assert events_of(Stream(RULES).feed(sent(event))) == [event]


def test_what_is_held_comes_with_the_choices_end() -> None:
    stream = Stream(RULES)
    assert joined(events_of(stream.feed(sent(chunk(delta={"content": "1380"}), done=False)))) == {}
    (last,) = events_of(stream.feed(sent(chunk(delta={}, finish_reason="stop"), done=False)))
    assert last["choices"] == [{"index": 0, "delta": {"content": "1380"}, "finish_reason": "stop"}]


def test_other_forms_of_the_text_are_dropped() -> None:
    event = chunk(delta={"content": "好"}, logprobs={"content": [{"token": "1"}]}, token_ids=[1])
    (out,) = events_of(Stream(RULES).feed(sent({**event, "prompt_token_ids": [1, 2]})))
    assert out == chunk(delta={"content": "好"})


def test_texts_of_unknown_fields_are_redacted_too() -> None:
    event = chunk(delta={"citations": [{"quote": "13800138000"}]}, stop_reason="13800138000")
    (out,) = events_of(Stream(RULES).feed(sent({**event, "note": "13800138000"})))
    assert "13800138000" not in json.dumps(out["choices"]) + out["note"]


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {not json\n\n",
        b'data: {"choices": 7}\n\n',
        b'data: ["13800138000"]\n\n',
        b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {}}]}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"content": [{"text": "13800"}]}}]}\n\n',
        b'data: {"choices": [{"index": 0, "text": ["1"]}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": "13800138000"}]}\n\n',
        b"data: \xff\xfe\n\n",
        b"event: 13800138000 \xe5\x8f\xb7\ndata: {}\n\n",
        b"data: [DONE]\n\ndata: {}\n\n",
        b"data: " + b"x" * (LARGEST_EVENT + 1),
        sent(chunk(delta={"content": "1380"}, finish_reason="stop"), chunk(delta={"content": "0138000"})),
    ],
)
def test_what_cannot_be_redacted_with_certainty_is_withheld(raw: bytes) -> None:
    with pytest.raises((Withheld, BadEvent, ValueError)):
        Stream(RULES).feed(raw)


def test_a_field_that_is_not_known_is_joined_as_well() -> None:
    stream = Stream(RULES)
    pieces = (sent(chunk(delta={"thought": piece}), done=False) for piece in ("1380", "0138000", "."))
    out = b"".join(map(stream.feed, pieces)) + stream.end()
    assert "".join(event["choices"][0]["delta"]["thought"] for event in events_of(out)) == "[redacted:mobile]."


def test_numbers_and_names_in_an_answer_are_redacted_too() -> None:
    answer = {
        "content": [{"type": "tool_use", "input": {"tel": 13800138000, "13800138000": 1.5, "type": "13800138000"}}]
    }
    assert redacted(answer, RULES)["content"][0]["input"] == {
        "tel": "[redacted:mobile]",
        "[redacted:mobile]": 1.5,
        "type": "[redacted:mobile]",
    }


def test_an_engines_error_within_a_stream_is_told_without_personal_data() -> None:
    (out,) = events_of(Stream(RULES).feed(sent({"error": {"message": "bad 13800138000", "code": 400}}, done=False)))
    assert out == {"error": {"message": "bad [redacted:mobile]", "code": 400}}


def test_json_that_a_request_asked_for_stays_json() -> None:
    pieces = ['{"tel": 1380', '0138000, "x": "\\u00313800138000"}']
    stream = Stream(RULES, json_content=True)
    out = b"".join(stream.feed(sent(chunk(delta={"content": piece}), done=False)) for piece in pieces) + stream.end()
    assert json.loads(joined(events_of(out))[0, "content"]) == {"tel": "[redacted:mobile]", "x": "[redacted:mobile]"}


def test_a_whole_answer_is_redacted_in_every_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"tel": "\\u00313800138000"}'}}
    message = {"role": "assistant", "content": "手机13800138000", "reasoning": "EA1234567", "tool_calls": [call]}
    answer = {"id": "x", "model": "m", "choices": [{"index": 0, "message": message, "logprobs": {}, "text": "a"}]}
    (choice,) = redacted(answer, RULES)["choices"]
    assert choice["message"]["content"] == "手机[redacted:mobile]"
    assert choice["message"]["reasoning"] == "[redacted:passport]"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"tel": "[redacted:mobile]"}'
    assert "logprobs" not in choice and choice["text"] == "a"


USAGE = {**ENVELOPE, "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}}


@pytest.mark.parametrize("rules", [None, RULES])
@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_read_and_told_only_to_who_asked(rules: Any, asked: bool) -> None:
    budget = Budget(100)
    charge = budget.charge(50, 0.0)
    assert charge
    spent = Spent(budget, charge, prompt_tokens=2)
    # Some engines tell it so far with each piece.
    first = {**chunk(delta={"content": "好"}), "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}}
    out = Stream(rules, spent, usage_asked=asked).feed(sent(first, USAGE))
    assert events_of(out) == ([first, USAGE] if asked else [chunk(delta={"content": "好"})])
    spent.settle(1.0)
    assert budget.used(1.0) == 7
