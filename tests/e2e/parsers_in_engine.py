"""Runs in the engine's image: feeds outputs to its parser classes, whole and in pieces, and prints what they made."""

import json
import sys

from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager


def tokenizer_with(marks):
    tokenizer = AutoTokenizer.from_pretrained("/model")
    tokenizer.add_tokens(marks, special_tokens=True)
    return tokenizer


def request_of(case):
    tools = [
        {"type": "function", "function": {"name": "weather", "parameters": case.get("schema", {"type": "object"})}}
    ]
    more = {"chat_template_kwargs": case["kwargs"]} if case.get("kwargs") else {}
    return ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "Rain?"}], tools=tools, **more)


def whole(case):
    tokenizer, request = tokenizer_with(case["marks"]), request_of(case)
    if case["kind"] == "tools":
        parser = ToolParserManager.get_tool_parser(case["parser"])(tokenizer, request.tools)
        found = parser.extract_tool_calls(case["output"], request)
        return [[call.function.name, json.loads(call.function.arguments)] for call in found.tool_calls]
    parser = ReasoningParserManager.get_reasoning_parser(case["parser"])(tokenizer, **options(case))
    return list(parser.extract_reasoning(case["output"], request))


def options(case):
    return {"chat_template_kwargs": case["kwargs"]} if case.get("kwargs") else {}


def pieces(tokenizer, output):
    """What a stream shows after each token: text and ids before, now, and new."""
    ids = tokenizer.encode(output, add_special_tokens=False)
    text = ""
    for end in range(1, len(ids) + 1):
        now = tokenizer.decode(ids[:end])
        yield text, now, now[len(text) :], ids[: end - 1], ids[:end], ids[end - 1 : end]
        text = now


def in_pieces(case):
    tokenizer = tokenizer_with(case["marks"])
    return (calls_in_pieces if case["kind"] == "tools" else thoughts_in_pieces)(case, tokenizer)


def thoughts_in_pieces(case, tokenizer):
    parser = ReasoningParserManager.get_reasoning_parser(case["parser"])(tokenizer, **options(case))
    said = {"reasoning": "", "content": ""}
    for piece in pieces(tokenizer, case["output"]):
        delta = parser.extract_reasoning_streaming(*piece)
        if delta is not None:
            said["reasoning"] += delta.reasoning or ""
            said["content"] += delta.content or ""
    return [said["reasoning"] or None, said["content"] or None]


def calls_in_pieces(case, tokenizer):
    request = request_of(case)
    parser = ToolParserManager.get_tool_parser(case["parser"])(tokenizer, request.tools)
    calls = []
    delta = None
    for piece in pieces(tokenizer, case["output"]):
        delta = parser.extract_tool_calls_streaming(*piece, request)
        for part in (delta.tool_calls if delta else None) or []:
            while len(calls) <= part.index:
                calls.append(["", ""])
            calls[part.index][0] += part.function.name or ""
            calls[part.index][1] += part.function.arguments or ""
    if delta and delta.tool_calls:
        # As the engine does at the end of an answer.
        calls[-1][1] += parser.get_remaining_unstreamed_args()
    return [[name, json.loads(arguments)] for name, arguments in calls]


def attempt(work, case):
    try:
        return work(case)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


for one in json.load(sys.stdin):
    print(json.dumps({"whole": attempt(whole, one), "in_pieces": attempt(in_pieces, one)}), flush=True)
