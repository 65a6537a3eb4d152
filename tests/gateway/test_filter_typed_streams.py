"""Streams of /v1/responses and /v1/messages: any text, cut anywhere, is redacted as the whole would be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.gateway.filter.answers import Withheld
from ingot.gateway.filter.budget import Budget
from ingot.gateway.filter.json_text import JsonRedactor
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.spent import Spent
from ingot.gateway.filter.stream import Stream
from ingot.gateway.filter.typed_streams import StreamedMessage
from tests.gateway.test_filter_streams import events_of
from tests.gateway.test_redaction import RULES, cut, cuts, in_pieces, texts

pytestmark = pytest.mark.gateway

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
#: Kind of text of a response -> the field that its end tells it whole in.
KINDS = {
    "response.output_text": "text",
    "response.reasoning_text": "text",
    "response.function_call_arguments": "arguments",
    "response.refusal": "refusal",
}
BLOCKS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
PHONE = "13800138000"


def sent(event: Any) -> bytes:
    """One event as an engine sends it."""
    return f"data: {json.dumps(event)}\n\n".encode()


def clean(text: str, *, is_json: bool) -> str:
    return in_pieces(JsonRedactor(RULES) if is_json else Redactor(RULES), [text])


@st.composite
def responses(draw: st.DrawFn) -> tuple[list[Any], dict[tuple[int, str], str]]:
    """Events of one response, texts interleaved, each ended or not; and what the texts are."""
    whole: dict[tuple[int, str], str] = {}
    queues: list[list[Any]] = []
    for index in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        text = draw(texts)
        whole[index, kind] = text
        place = {"item_id": f"item_{index}", "output_index": index, "content_index": 0}
        pieces = [{"type": f"{kind}.delta", **place, "delta": piece} for piece in cut(text, draw(cuts))]
        ends = [{"type": f"{kind}.done", **place, KINDS[kind]: text}] if draw(st.booleans()) else []
        queues.append([*pieces, *ends])
    events = [{"type": "response.created", "response": {"id": "r", "output": []}}]
    while queues := [queue for queue in queues if queue]:
        events.append(draw(st.sampled_from(queues)).pop(0))
    events.append({"type": "response.completed", "response": {"id": "r", "output": []}})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)], whole


def through(path: str, events: Sequence[Any], size: int = 0) -> list[Any]:
    data = b"".join(f"event: {event.get('type', 'x')}\n".encode() + sent(event) for event in events)
    stream = Stream(RULES, path=path)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    return events_of(b"".join(map(stream.feed, pieces)) + stream.end())


@settings(max_examples=150, deadline=None)
@given(responses(), st.integers(0, 40))
def test_every_text_of_a_response_is_redacted_as_its_whole(made: tuple[Any, Any], size: int) -> None:
    events, whole = made
    joined: dict[tuple[int, str], str] = {}
    ends: dict[tuple[int, str], str] = {}
    out = through(RESPONSES, events, size)
    for event in out:
        kind = event["type"]
        if kind.endswith(".delta"):
            place = event["output_index"], kind.removesuffix(".delta")
            assert place not in ends, "a piece after its text's end"
            joined[place] = joined.get(place, "") + event["delta"]
        elif kind.removesuffix(".done") in KINDS:
            ends[event["output_index"], kind.removesuffix(".done")] = event[KINDS[kind.removesuffix(".done")]]
    for place, text in whole.items():
        assert joined[place] == clean(text, is_json="arguments" in place[1])
        assert ends.get(place, joined[place]) == joined[place]
    assert [event["sequence_number"] for event in out] == list(range(len(out)))


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[Any], dict[tuple[int, str], str]]:
    """Events of one message; and what its blocks' texts are."""
    whole: dict[tuple[int, str], str] = {}
    events: list[Any] = [{"type": "message_start", "message": {"id": "m", "content": []}}]
    for index in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(sorted(BLOCKS)))
        whole[index, kind] = text = draw(texts)
        events.append({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
        for piece in cut(text, draw(cuts)):
            delta = {"type": kind, BLOCKS[kind]: piece}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        if draw(st.booleans()):
            events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})
    return [*events, {"type": "message_stop"}], whole


@settings(max_examples=150, deadline=None)
@given(messages(), st.integers(0, 40))
def test_every_block_of_a_message_is_redacted_as_its_whole(made: tuple[Any, Any], size: int) -> None:
    events, whole = made
    joined: dict[tuple[int, str], str] = {}
    stopped: set[int] = set()
    out = through(MESSAGES, events, size)
    for event in out:
        if event["type"] == "content_block_stop":
            stopped.add(event["index"])
        if event["type"] == "content_block_delta":
            assert event["index"] not in stopped
            kind = event["delta"]["type"]
            place = event["index"], kind
            joined[place] = joined.get(place, "") + event["delta"][BLOCKS[kind]]
    assert joined == {place: clean(text, is_json="json" in place[1]) for place, text in whole.items()}
    assert out[-1] == {"type": "message_stop"}


def test_events_keep_their_names() -> None:
    event = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "delta": f"手机{PHONE}。"}
    stream = Stream(RULES, path=RESPONSES)
    out = stream.feed(b"event: response.output_text.delta\n" + sent(event)) + stream.end()
    assert out.count(b"event: response.output_text.delta\n") == out.count(b"data: ")
    assert PHONE.encode() not in out


def test_events_that_nothing_is_redacted_in_keep_their_names_too() -> None:
    sent_on = b'event: message_start\ndata: {"type": "message_start"}\n\n'
    assert Stream(None, path=MESSAGES).feed(sent_on) == sent_on


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_event_that_adds_to_one_block_alone_says_which(kind: str) -> None:
    """So that the form of such events is learned, and each of them read once and not thrice."""
    message = StreamedMessage(RULES)
    event = {"type": "content_block_delta", "index": 3, "delta": {"type": kind, BLOCKS[kind]: "word"}}
    message.event(event, "content_block_delta")
    joined = message.joined(event)
    assert joined and joined.path == ("delta", BLOCKS[kind]) and joined.text is message._texts[3, kind]
    for other in (
        {**event, "index": 4},
        {**event, "type": "ping"},
        {**event, "delta": {"type": "signature_delta"}},
        {**event, "delta": "word"},
        {"type": "message_stop"},
    ):
        assert message.joined(other) is None


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (RESPONSES, [{"no": "type"}]),
        (RESPONSES, [{"type": "response.output_text.delta", "delta": {"text": PHONE}}]),
        (RESPONSES, [{"type": "response.output_text.delta", "output_index": [PHONE], "delta": "x"}]),
        (MESSAGES, [{"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "text": PHONE}}]),
        (MESSAGES, [{"type": "content_block_delta", "index": "0", "delta": {"type": "text_delta", "text": PHONE}}]),
        (
            MESSAGES,
            [
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "0"}},
            ],
        ),
    ],
)
def test_what_cannot_be_redacted_with_certainty_is_withheld(path: str, events: list[Any]) -> None:
    with pytest.raises(Withheld):
        through(path, events)


def test_texts_that_events_tell_whole_are_redacted() -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": f"call {PHONE}"}], "instructions": PHONE}
    out = through(RESPONSES, [{"type": "response.completed", "response": {"output": [item]}}])
    assert PHONE not in json.dumps(out)
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {"tel": PHONE}}}
    assert PHONE not in json.dumps(through(MESSAGES, [start]))


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (RESPONSES, [{"type": "response.completed", "response": {"usage": {"input_tokens": 5, "output_tokens": 4}}}]),
        (
            MESSAGES,
            [
                {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 0}}},
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
            ],
        ),
    ],
)
@pytest.mark.parametrize("rules", [None, RULES])
def test_usage_is_read_from_both(path: str, events: list[Any], rules: Any) -> None:
    budget = Budget(100)
    charge = budget.charge(50, 0.0)
    assert charge
    spent = Spent(budget, charge, prompt_tokens=2)
    Stream(rules, spent, path=path).feed(b"".join(map(sent, events)))
    spent.settle(1.0)
    assert budget.used(1.0) == 9


def test_the_name_of_a_called_function_that_comes_in_pieces_hides_nothing() -> None:
    def call(name: str) -> Any:
        delta = {"tool_calls": [{"index": 0, "function": {"name": name}}]}
        return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    assert PHONE not in json.dumps(through_chat([call(PHONE)]))
    assert through_chat([call("get_"), call("weather")])
    with pytest.raises(Withheld):
        through_chat([call(PHONE[:6]), call(PHONE[6:])])


def through_chat(events: Sequence[Any]) -> list[Any]:
    stream = Stream(RULES)
    return events_of(stream.feed(b"".join(map(sent, events))) + stream.end())
