"""The catalog of models: wide enough to choose from, known to the pinned engine, honest about what nobody checked."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2.ext
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ingot.catalog import hardware_from_name, load_models
from ingot.catalog.described import request_for
from ingot.engines.registry import registry
from ingot.engines.validity import problems
from ingot.hub.showing import lines, rows
from ingot.sizing import KINDS, CatalogError, EngineArguments, plan_host, vllm

pytestmark = pytest.mark.models

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "ingot" / "engines" / "templates"
#: What group_data pins for production, and what the test hosts' image holds.
PINNED = (str(runpy.run_path(str(ROOT / "group_data" / "all.py"))["engine_version"]), "0.32.0")

TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}},
    }
]
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Rain?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call-123456789", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}],
    },
    {"role": "tool", "tool_call_id": "call-123456789", "content": "It rains."},
    {"role": "user", "content": "And now?"},
]


def test_there_is_much_to_choose_from_in_every_kind() -> None:
    models = load_models()
    assert len(models) >= 60
    assert sum(len(model.variants) for model in models.values()) >= 100
    kinds = Counter(model.kind for model in models.values())
    assert all(kinds[kind] for kind in KINDS)


@pytest.mark.parametrize("version", PINNED)
def test_the_pinned_engine_knows_every_argument_and_architecture_of_the_catalog(version: str) -> None:
    known = registry(version)
    found = {
        name: list(
            problems(model.arguments, model.speculation, [v.architecture for v in model.variants], model.kind, known)
        )
        for name, model in load_models().items()
    }
    assert not {name: said for name, said in found.items() if said}


def test_a_model_that_writes_text_says_how_its_tools_are_read_unless_nobody_documents_it() -> None:
    without = {
        name
        for name, model in load_models().items()
        if model.kind == "generate" and not model.arguments.tool_call_parser
    }
    distilled = {name for name in without if "distill" in name}
    vision = {name for name in without if "vl" in name}
    assert without - distilled - vision == {"gemma-2-9b-it", "gemma-2-27b-it", "phi-4", "phi-4-mini-instruct"}


def test_every_template_is_there_and_is_used() -> None:
    named = {model.arguments.chat_template for model in load_models().values()} - {None}
    assert named == {file.name for file in TEMPLATES.iterdir()}


def test_four_bits_for_small_cards_are_offered_where_the_model_would_not_fit_otherwise() -> None:
    models = load_models()
    for name in ("qwen3-14b", "qwen3-32b", "qwen3-30b-a3b-instruct", "qwen3-coder-30b-a3b-instruct", "gemma-3-27b-it"):
        formats = {variant.quantization for variant in models[name].variants}
        assert formats & {"awq-int4", "gptq-int4", "int4", "mxfp4"}, name


def test_what_nobody_could_check_is_marked() -> None:
    variants = [variant for model in load_models().values() for variant in model.variants]
    assert any(not variant.verified for variant in variants)
    assert all(variant.verified for variant in variants if variant.revision)


def test_a_model_whose_shapes_nothing_confirms_says_so_wherever_it_is_shown(tmp_path: Path) -> None:
    models = load_models()
    unsure = {name for name, model in models.items() if model.shapes is None}
    assert 0 < len(unsure) < len(models) / 2
    sources = "logged start|to the byte|Transformers|published (tables|training)|MaxText|Megatron-Bridge"
    assert all(re.search(sources, str(models[name].shapes)) for name in set(models) - unsure)
    shown = {row["name"]: list(lines(row)) for row in rows(tmp_path / "none.yaml", None)}
    for name, said in shown.items():
        assert ("written from memory" in said[2]) == (name in unsure), name
    for name in ("bge-m3", "qwen3-8b"):
        plan = plan_host(hardware_from_name("h100x1"), [request_for(models[name])], engine=vllm())
        noted = any("written from memory" in note for note in plan.replicas[0].notes)
        assert noted == (name in unsure)


def test_a_context_extension_reaches_beyond_what_the_config_states() -> None:
    for model in load_models().values():
        if model.yarn:
            assert model.yarn.context > (model.variants[0].architecture.max_model_len or 0), model.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tool_call_parser": 5}, "'tool_call_parser' = 5"),
        ({"toolcall": "hermes"}, "arguments, has the unknown key 'toolcall', expected one of .*tool_call_parser"),
        ({"limit_mm_per_prompt": {"image": -1}}, "'image' = -1"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], words: str) -> None:
    entry = {
        "config": {"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 1, "vocab_size": 9,
                   "num_hidden_layers": 1, "intermediate_size": 9},
        "variants": [{"name": "a", "repository": "a/b"}],
        "arguments": arguments,
    }  # fmt: skip
    with pytest.raises(CatalogError, match=words):
        load_models({"mine": entry})


def rendered(name: str, **values: Any) -> str:
    """A template as Transformers renders it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string((TEMPLATES / name).read_text(encoding="utf-8"))
    return template.render(bos_token="<s>", eos_token="</s>", add_generation_prompt=True, **values)


@pytest.mark.parametrize(
    ("name", "call", "end"),
    [
        (
            "llama3_json.jinja",
            '{"name": "weather", "parameters": {"city": "Ulm"}}<|eot_id|>',
            "And now?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "gemma3_pythonic.jinja",
            '<start_of_turn>model\n[weather(city="Ulm")]<end_of_turn>\n',
            "And now?<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "deepseek_v3.jinja",
            '<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{"city": "Ulm"}\n```<｜tool▁call▁end｜>',
            "<｜User｜>And now?<｜Assistant｜>",
        ),
        (
            "mistral_tools.jinja",
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Ulm"}, "id": "123456789"}]</s>',
            "And now?[/INST]",
        ),
    ],
)
def test_our_templates_speak_the_format_that_the_parser_reads(name: str, call: str, end: str) -> None:
    said = rendered(name, messages=TALK, tools=TOOLS)
    assert said.startswith("<s>")
    assert call in said
    assert said.endswith(end)
    for words in ("Be brief.", "It rains.", '"name": "weather"'):
        assert said.count(words) >= 1
    plain = rendered(name, messages=TALK[1:2], tools=None)
    assert "weather" not in plain
    assert "unction" not in plain


def test_thoughts_that_the_template_opens_are_asked_for() -> None:
    assert rendered("deepseek_v3.jinja", messages=TALK[1:2], thinking_opened=True).endswith("<｜Assistant｜><think>\n")


def test_the_reranker_is_asked_as_its_makers_do() -> None:
    said = rendered("qwen3_reranker.jinja", messages=[
        {"role": "query", "content": "rain"}, {"role": "document", "content": "It rains."},
    ])  # fmt: skip
    assert "<Query>: rain\n<Document>: It rains.<|im_end|>\n" in said
    assert said.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_hosts_arguments_stand_over_the_models() -> None:
    from ingot.catalog import entry

    under = EngineArguments("hermes", "qwen3", engine_args={"block-size": 32})
    over = entry.arguments("serve", {"reasoning_parser": "deepseek_r1", "engine_args": {"stream-interval": 2}}, under)
    assert over == EngineArguments("hermes", "deepseek_r1", engine_args={"block-size": 32, "stream-interval": 2})
