"""The names that an engine accepts come from its own files, and a wrong one is refused with the nearest."""

from __future__ import annotations

import io
import json
import runpy
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines import reading
from ingot.engines.registry import Registry, dump, nearest, parse, registry
from ingot.engines.validity import problems
from ingot.sizing import EngineArguments, Speculation

pytestmark = pytest.mark.models

#: Cut from vLLM's files to what the reader looks at.
FILES = {
    reading.TOOLS: '_TOOL_PARSERS_TO_REGISTER = {"hermes": ("h", "H"), "qwen3_xml": ("q", "Q")}',
    reading.REASONING: '_REASONING_PARSERS_TO_REGISTER = {"qwen3": ("q", "Q")}',
    reading.QUANTIZATION: 'QuantizationMethods = Literal["awq", "fp8"]',
    reading.MODELS: "\n".join(
        f'{table} = {{"{table.strip("_")}Class": ("m", "C"), **OTHER}}'
        for tables in reading.ARCHITECTURES.values()
        for table in tables
    ),
    reading.MODEL_CONFIG: 'TokenizerMode = Literal["auto", "mistral"]',
    reading.CACHE_CONFIG: 'CacheDType = Literal["auto", "fp8"]',
    reading.SPECULATIVE: 'MTP = Literal["mtp"]\nSpeculativeMethod = Literal["ngram", MTP]',
    reading.ARGUMENTS: 'def add(parser):\n    parser.add_argument("--block-size", "-b", **kwargs["x"])',
    reading.FRONTENDS[1]: "class BaseFrontendArgs:\n    tool_call_parser: str = ''\n    def f(self): pass",
    reading.VERSION: "__version__ = version = '9.1.0+cpu'",
}


@pytest.fixture
def known() -> Registry:
    return registry("0.32.0")


def test_names_are_read_without_running_anything() -> None:
    read = reading.read(FILES, "test")
    assert read.version == "9.1.0"
    assert read.tool_parsers == ("hermes", "qwen3_xml")
    assert read.speculative_methods == ("mtp", "ngram")
    assert read.arguments == ("block-size", "tool-call-parser")
    assert read.architectures["embed"] == ("EMBEDDING_MODELSClass", "LATE_INTERACTION_MODELSClass")
    assert parse(dump(read)) == read


def test_a_wheel_a_saved_image_and_a_directory_hold_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "engine.whl", "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text)
            (tmp_path / "site" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "site" / path).write_text(text)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        files.add(tmp_path / "site", "usr/lib/python3/dist-packages")
    with tarfile.open(tmp_path / "image.tar", "w") as image:
        for name, content in (
            ("manifest.json", json.dumps([{"Layers": ["layer.tar"]}]).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            image.addfile(member, io.BytesIO(content))
    for place in ("engine.whl", "image.tar", "site"):
        assert reading.sources_of(tmp_path / place) == FILES, place
    assert reading.named(tmp_path / "engine.whl").startswith("engine.whl sha256:")


def test_files_that_keep_names_elsewhere_are_said() -> None:
    with pytest.raises(reading.ReadingError, match="_TOOL_PARSERS_TO_REGISTER is assigned nowhere"):
        reading.read({**FILES, reading.TOOLS: "x = 1"}, "test")
    with pytest.raises(reading.ReadingError, match="this version keeps them elsewhere"):
        reading.read({}, "test")


def test_the_servers_own_arguments_are_found_where_either_version_keeps_them() -> None:
    old, new = reading.FRONTENDS[1], reading.FRONTENDS[0]
    moved = {new if path == old else path: text for path, text in FILES.items()}
    assert reading.read(moved, "test") == reading.read(FILES, "test")
    without = {path: text for path, text in FILES.items() if path != old}
    with pytest.raises(reading.ReadingError, match=r"cli_args\.py, expected names in it"):
        reading.read(without, "test")


def test_a_version_that_nobody_read_takes_the_newest_older_one() -> None:
    assert registry("0.33.1").version == registry("0.33.0").version == "0.33.0"
    assert registry("0.32.9").version == registry("0.32.0").version == "0.32.0"
    assert registry("0.1").version == "0.32.0"


def test_the_version_that_ingot_deploys_by_default_was_read() -> None:
    pinned = str(runpy.run_path(str(Path(__file__).parents[2] / "group_data" / "all.py"))["engine_version"])
    assert registry(pinned).version == pinned


def test_the_registry_holds_what_the_engine_of_test_hosts_has(known: Registry) -> None:
    assert (len(known.tool_parsers), len(known.reasoning_parsers)) == (54, 38)
    assert {"hermes", "llama3_json", "mistral", "openai"} <= set(known.tool_parsers)
    assert {"tool-call-parser", "limit-mm-per-prompt", "speculative-config", "kv-offloading-size"} <= set(
        known.arguments
    )
    assert "WhisperForConditionalGeneration" in known.architectures["multimodal"]


@pytest.mark.parametrize(
    ("arguments", "speculation", "words"),
    [
        (EngineArguments(tool_call_parser="hermess"), None, "'hermess' is not one of vllm 0.32.0, nearest: hermes"),
        (EngineArguments(reasoning_parser="qwen-3"), None, "nearest: qwen3"),
        (EngineArguments(tokenizer_mode="mistrall"), None, "nearest: mistral"),
        (EngineArguments(), Speculation("eagle4", 2), "nearest: eagle"),
        (EngineArguments(engine_args={"blocksize": 16}), None, "nearest: block-size"),
        (EngineArguments(engine_args={"max-model-len": 5}), None, "which Ingot decides"),
        (EngineArguments(engine_args={"trust-remote-code": True}), None, "stays shut"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    known: Registry, arguments: EngineArguments, speculation: Speculation | None, words: str
) -> None:
    (found,) = problems(arguments, speculation, (), "generate", known)
    assert words in found


def test_names_that_the_engine_knows_pass(known: Registry) -> None:
    good = EngineArguments("hermes", "qwen3", tokenizer_mode="mistral", engine_args={"no-enable-chunked-prefill": True})
    assert not list(problems(good, Speculation("mtp", 1), (), "generate", known))
    assert len(list(problems(replace(good), Speculation("mtp", 1), (), "embed", known))) == 3


def test_where_nothing_is_like_it_every_name_is_offered() -> None:
    assert nearest("zzz", ["b", "a"]) == "a, b"
