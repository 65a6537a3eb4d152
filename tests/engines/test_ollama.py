"""Ollama: its container, the store that is laid out for it, how it starts, and what its log says.

The program of the start is run here for real, before a stand-in that reads such a store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines import Mount, Replica, Service, Store, Values, Weights, ollama, ollama_store
from ingot.sandbox.simulated.engines import image
from tests.engines.waiting import until

pytestmark = pytest.mark.engines

DIGEST = "ab" * 32
WEIGHTS = Weights("qwen-q4.gguf", 4_683_074_240, DIGEST)


@pytest.fixture
def place(replica: Replica) -> Replica:
    return replace(replica, store_directory="/srv/store", file="qwen-q4.gguf", aliases=("gpt-4o", "Qwen/Qwen2.5:7b"))


def test_its_container(place: Replica, values: Values) -> None:
    service = ollama.service(place, values)
    assert service.argv == ("/bin/bash", "-c", ollama.SCRIPT, "start", "qwen2.5-7b-instruct", "8000")
    env = dict(service.env)
    assert env["OLLAMA_HOST"] == "0.0.0.0:8000"
    assert (env["OLLAMA_CONTEXT_LENGTH"], env["OLLAMA_NUM_PARALLEL"], env["OLLAMA_MAX_QUEUE"]) == ("8192", "16", "48")
    assert (env["OLLAMA_KEEP_ALIVE"], env["OLLAMA_MAX_LOADED_MODELS"], env["OLLAMA_NOPRUNE"]) == ("-1", "1", "1")
    assert (env["LLAMA_ARG_FIT"], env["LLAMA_ARG_CACHE_RAM"], env["OLLAMA_SCHED_SPREAD"]) == ("off", "0", "1")
    # Else layers would lie by what is free on each GPU.
    assert env["LLAMA_ARG_TENSOR_SPLIT"] == ",".join("1" * len(place.plan.gpu_uuids))
    assert not any("DEBUG" in key for key in env), "it would write prompts into the log"
    model, cache, store = service.mounts
    assert model == Mount(place.model_directory, "/model") and model.is_model
    assert cache == Mount(place.cache_directory, "/cache", read_only=False)
    assert store.target == "/store" and store.read_only
    assert service.ready_by_answer and Service.from_dict(json.loads(json.dumps(service.to_dict()))) == service


@pytest.mark.parametrize("change", [{"aliases": ()}, {"model_directory": "/srv/other"}, {"file": "q8.gguf"}])
def test_what_runs_keeps_its_own_store_while_another_starts(
    change: dict[str, object], place: Replica, values: Values
) -> None:
    first, other = (ollama.service(one, values).mounts[-1].source for one in (place, replace(place, **change)))
    assert first != other and first.startswith(f"/srv/store/{place.name}-")


def test_its_store_names_the_verified_file_by_its_digest(place: Replica, values: Values) -> None:
    service = ollama.service(place, values)
    root = service.mounts[-1].source
    made = ollama.store(service, WEIGHTS)
    assert made.links == {f"{root}/blobs/sha256-{DIGEST}": "/model/qwen-q4.gguf"}
    named = f"{root}/manifests/registry.ollama.ai"
    assert {path for path in made.files if "/manifests/" in path} == {
        f"{named}/library/qwen2.5-7b-instruct/latest",
        f"{named}/library/gpt-4o/latest",
        f"{named}/Qwen/Qwen2.5/7b",
        f"{named}/qwen/qwen2.5/7b",
    }
    manifest = json.loads(made.files[f"{named}/library/gpt-4o/latest"])
    assert manifest["layers"][0] == {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{DIGEST}",
        "size": WEIGHTS.bytes,
    }
    # Every other blob is here under its own digest, and of its size.
    for layer in (manifest["config"], *manifest["layers"][1:]):
        text = made.files[f"{root}/blobs/{layer['digest'].replace(':', '-')}"]
        assert layer["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        assert layer["size"] == len(text)
    given = json.loads(made.files[f"{root}/blobs/{manifest['layers'][1]['digest'].replace(':', '-')}"])
    assert given == {"num_ctx": 8192, "num_batch": 512, "num_gpu": 999, "draft_num_predict": 0}
    assert f"{root}/manifests-v2" in made.directories, "it would make it, in a store that is read-only"
    assert list(made.directories) == sorted(made.directories), "parents come first"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen3:8b", "registry.ollama.ai/library/qwen3/8b"),
        ("Qwen/Qwen3-8B", "registry.ollama.ai/Qwen/Qwen3-8B/latest"),
        ("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M", "hf.co/Qwen/Qwen3-8B-GGUF/Q4_K_M"),
    ],
)
def test_names_lie_where_it_looks_for_them(name: str, path: str) -> None:
    assert ollama_store.unnameable(name) is None
    assert ollama_store.manifest_path(name) == f"manifests/{path}"


@pytest.mark.parametrize(
    "name", ["a@b", "a/b/c/d", "a:b:c", "-a", "a.b/c", "a..b", "x" * 81, "gpt-oss:120b-cloud", "qwen3:cloud"]
)
def test_names_that_it_cannot_have_are_told(name: str) -> None:
    assert ollama_store.unnameable(name)


def test_its_log() -> None:
    lines = [
        'time=2026-08-22 level=INFO msg="Listening on [::]:8000 (version 0.33.1)"',
        'level=INFO msg="starting llama-server" cmd="/usr/lib/ollama/llama-server --model /store/blobs/sha256-ab"',
        "load_tensors: offloaded 37/37 layers to GPU",
        "load_tensors:        CUDA0 model buffer size =  4455.34 MiB",
        "load_tensors:   CPU_Mapped model buffer size =   333.84 MiB",
        "llama_kv_cache: size = 4608.00 MiB (  8192 cells,  36 layers,  4/4 seqs), K (f16): 2304.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =   304.75 MiB",
    ]
    found = ollama.observe(lines, [])
    assert (found.engine_version, found.kv_cache_tokens) == ("0.33.1", 4 * 8192)
    assert found.available_kv_bytes == 4608 * 1024**2
    assert (found.layers, found.layers_on_gpus) == (37, 37)
    # Its llama-server ended and was started again: the older lines are of one that is gone.
    assert ollama.observe([*lines, *lines[1:]], []) == found
    # Of several GPUs the log tells the sum, the plan one of them.
    split = [*lines[:4], lines[3].replace("CUDA0", "CUDA1"), *lines[4:]]
    assert (ollama.observe(split, []).available_kv_bytes, ollama.observe(split, []).kv_cache_tokens) == (None, 4 * 8192)
    assert ollama.observe([lines[1], "load_tensors: offloaded 20/37 layers to GPU"], []).layers_on_gpus == 20
    # A llama-server that finds no usable GPU says nothing of layers on GPUs.
    without = [line.replace("CUDA0", "CPU") for line in lines if "offloaded" not in line]
    assert (ollama.observe(without, []).layers, ollama.observe(without, []).layers_on_gpus) == (36, None)


def laid_out(store: Store, root: str, at: Path, model_at: Path) -> None:
    """A store below a directory of this machine."""
    for directory in store.directories:
        (at / directory.removeprefix(root).lstrip("/")).mkdir(parents=True)
    for path, text in store.files.items():
        (at / path.removeprefix(root).lstrip("/")).write_text(text)
    for path, target in store.links.items():
        (at / path.removeprefix(root).lstrip("/")).symlink_to(target.replace("/model", str(model_at)))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(service: Service, weights: bytes, digest: str, at: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The service's own command line, its store and its variables, before the stand-in in place of Ollama."""
    port = free_port()
    model_at, home = at / "model", at / "home"
    model_at.mkdir()
    home.mkdir()
    (model_at / "m.gguf").write_bytes(weights)
    root = service.mounts[-1].source
    laid_out(ollama.store(service, Weights("m.gguf", len(weights), digest)), root, at / "store", model_at)
    program = at / "ollama"
    shutil.copy(image.SCRIPT, at / "standin.py")
    program.write_text(f"#!{sys.executable}\nimport standin, sys\nstandin.main('ollama', sys.argv[1:])\n")
    program.chmod(0o755)
    env = {**dict(service.env), "OLLAMA_MODELS": str(at / "store"), "HOME": str(home), "PATH": os.environ["PATH"]}
    env |= {"OLLAMA_HOST": f"127.0.0.1:{port}", "PYTHONPATH": str(at)}
    command = [*service.argv[:-1], str(port)]
    command[2] = command[2].replace("/bin/ollama", str(program))
    with (at / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield server, port
        finally:
            server.kill()
            server.wait()


def test_a_start_loads_the_model_before_anybody_asks(place: Replica, values: Values, tmp_path: Path) -> None:
    service, weights = ollama.service(place, values), b"GGUF, as far as this goes"
    with started(service, weights, hashlib.sha256(weights).hexdigest(), tmp_path) as (server, port):

        def loaded() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/ps", timeout=5) as answer:
                    return bool(json.load(answer)["models"])
            except OSError:
                return False

        assert until(loaded, seconds=30)
        # An alias is another manifest of the same blob: nothing is loaded anew.
        body = json.dumps({"model": "gpt-4o", "prompt": "one", "max_tokens": 2}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 2
        found = ollama.observe((tmp_path / "log").read_text().splitlines(), [])
        assert (found.kv_cache_tokens, found.engine_version) == (16 * 8192, "0.33.0")
        assert (tmp_path / "log").read_text().count("starting llama-server") == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0


def test_a_start_that_cannot_load_its_model_ends_and_says_why(place: Replica, values: Values, tmp_path: Path) -> None:
    with started(ollama.service(place, values), b"other bytes", DIGEST, tmp_path) as (server, _):
        server.wait(30)
        said = (tmp_path / "log").read_text()
        assert "the model was not loaded (status 500)" in said and "is damaged" in said
