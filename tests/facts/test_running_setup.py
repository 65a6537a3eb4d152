"""What serves on a host already: real processes under the names of others' programs, read and left alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.facts.running_setup import RunningProgram, RunningSetup, parse_running
from ingot.migration.on_host import setups_on

pytestmark = pytest.mark.engines

MODEL_LAYER, PARAMETERS_LAYER = "application/vnd.ollama.image.model", "application/vnd.ollama.image.params"


@contextmanager
def running(words: str, **variables: str) -> Iterator[None]:
    """A process with this command line and these variables, until the end of the block."""
    with subprocess.Popen(["bash", "-c", f"exec -a '{words}' sleep 600"], env={**os.environ, **variables}) as process:
        try:
            # Until then it is bash, which has them too.
            wait_for_words(process, rf"^{words}")
            yield
        finally:
            process.kill()


def wait_for_words(process: subprocess.Popen[bytes], words: str) -> None:
    """Wait until a process has its command line: the kernel sets it a moment after the program was put in place."""
    end = time.monotonic() + 180
    while not re.search(words, Path(f"/proc/{process.pid}/cmdline").read_text()):
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.02)


def look(program: str, mark: str) -> RunningProgram:
    """The host's answer, of the process of this test alone."""
    done = subprocess.run(["sh", "-c", RunningSetup().command(program)], capture_output=True, text=True, check=True)
    found = parse_running(done.stdout.splitlines())
    mine = tuple(one for one in found.processes if any(mark in text for text in (*one[0], *one[1].values())))
    return RunningProgram(mine, found.store, found.files)


def store(root: Path, parameters: Mapping[str, object]) -> Path:
    """A store of Ollama with one model."""
    (root / "blobs").mkdir(parents=True)

    def blob(content: bytes) -> str:
        digest = f"sha256-{hashlib.sha256(content).hexdigest()}"
        (root / "blobs" / digest).write_bytes(content)
        return digest.replace("-", ":")

    layers = [
        {"mediaType": MODEL_LAYER, "digest": blob(b"GGUF" + bytes(200_000))},
        {"mediaType": PARAMETERS_LAYER, "digest": blob(json.dumps(parameters).encode())},
    ]
    manifest = root / "manifests/registry.ollama.ai/library/qwen3/8b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers}))
    return root


def test_ollamas_store_is_read_without_its_weights(tmp_path: Path) -> None:
    at = store(tmp_path / "models", {"num_ctx": 16384, "temperature": 0.5})
    with running("ollama serve", OLLAMA_MODELS=str(at), OLLAMA_NUM_PARALLEL="4", OLLAMA_API_KEY="word", HF_TOKEN="no"):
        found = look("ollama", str(at))
    ((_, variables),) = found.processes
    assert variables["OLLAMA_NUM_PARALLEL"] == "4" and not {"HF_TOKEN", "OLLAMA_API_KEY"} & variables.keys()
    assert 0 < len(found.store) < 100_000, "weights stay where they are"
    (setup,) = setups_on("gpu-01", "ollama", found)
    assert (setup.model, setup.context, setup.concurrency) == ("qwen3:8b", 16384, 4)
    assert any("temperature" in one for one in setup.differences)


def test_tgis_flags_and_variables_are_read() -> None:
    told = "text-generation-launcher --model-id Qwen/Qwen3-8B --max-total-tokens 8192"
    found = RunningProgram(((tuple(told.split()), {"QUANTIZE": "awq"}),))
    (setup,) = setups_on("gpu-01", "tgi", found)
    assert (setup.model, setup.context, setup.weights) == ("Qwen/Qwen3-8B", 8192, "awq-int4")
    with running(
        "text-generation-launcher --api-key s3cret --port 80",
        MODEL_ID="Qwen/Qwen3-4B",
        HF_TOKEN="hf_word",
        API_KEY="word",
    ):
        found = look("tgi", "Qwen/Qwen3-4B")
    ((_, variables),) = found.processes
    assert dict(variables) == {"MODEL_ID": "Qwen/Qwen3-4B"}, "no key and no token leaves the host"


def test_lm_studios_files_are_named() -> None:
    found = parse_running(["file ./lmstudio-community/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf", "file ./../../etc/x.gguf"])
    (setup,) = setups_on("gpu-01", "lmstudio", found)
    assert (setup.repository, setup.gguf) == ("lmstudio-community/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf")


@pytest.mark.parametrize("program", ["tgi", "ollama", "lmstudio"])
def test_a_host_on_which_nothing_runs_is_said(program: str) -> None:
    with pytest.raises(IngotError, match=r"gpu-01: no process of .* runs there, expected one"):
        setups_on("gpu-01", program, RunningProgram())


@pytest.mark.parametrize("words", [("--api-key", "s3cret"), ("--api-key=s3cret",)])
def test_a_key_on_the_command_line_stays_there(words: tuple[str, ...]) -> None:
    mark = f"text-generation-launcher-{os.getpid()}-{len(words)}"
    with subprocess.Popen(["python3", "-c", "import time; time.sleep(600)", mark, *words, "--port", "80"]) as process:
        try:
            wait_for_words(process, mark)
            found = look("tgi", mark)
        finally:
            process.kill()
    ((said, _),) = found.processes
    assert "s3cret" not in " ".join(said) and said[-2:] == ("--port", "80") and mark in said


def test_what_was_cut_off_is_left_out() -> None:
    assert parse_running(["process b2xs", "store x", "process ???", ""]) == parse_running(["process b2xs"])
    with pytest.raises(IngotError, match="gpu-01: its store could not be read over SSH"):
        setups_on("gpu-01", "ollama", RunningProgram(((("ollama", "serve"), {}),), b"no archive"))
