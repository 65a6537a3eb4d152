"""What serves a planned replica in SGLang, TensorRT-LLM, TGI, Ollama and LM Studio: argument by argument.

None of them can run here, so this is what their sources say; lines of published starts are what their logs said.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ingot.engines import ENGINES as STARTED
from ingot.engines import (
    Engine,
    Mount,
    Replica,
    Service,
    Values,
    lm_studio,
    ollama,
    sglang,
    starts,
    tensorrt_llm,
    tgi,
)
from ingot.engines.minimums import MINIMUMS, numbers, wanted
from ingot.engines.observed import Observed
from ingot.gateway import routes

from .conftest import plan

pytestmark = pytest.mark.engines

ENGINES = {"lmstudio": lm_studio, "ollama": ollama, "sglang": sglang, "tensorrt-llm": tensorrt_llm, "tgi": tgi}
DATA = Path(__file__).parent / "data"
LINES = {
    one["id"]: one["verbatim"].splitlines()
    for one in json.loads((DATA.parent.parent / "sizing" / "data" / "engine_starts.json").read_text(encoding="utf-8"))
}
GIB = 1024**3


def pairs(service: Service) -> dict[str, str]:
    """Flags that take a value."""
    argv = service.argv
    return {flag: value for flag, value in pairwise(argv) if flag.startswith("--")}


def test_sglang(replica: Replica, values: Values) -> None:
    service = sglang.service(replica, values)
    assert service.argv == (
        *("python3", "-m", "sglang.launch_server", "--model-path", "/model", "--host", "0.0.0.0", "--port", "8000"),
        *("--served-model-name", "qwen2.5-7b-instruct", "--load-format", "safetensors", "--context-length", "8192"),
        *("--max-running-requests", "16", "--max-queued-requests", "32", "--chunked-prefill-size", "2048"),
        *("--mem-fraction-static", "0.92", "--tp-size", "2", "--pp-size", "1", "--dp-size", "1"),
        *("--enable-metrics", "--enable-cache-report"),
    )
    assert service.health_path == "/ready"
    assert service.devices == ("nvidia.com/gpu=GPU-aaa", "nvidia.com/gpu=GPU-bbb")
    assert service.shm_bytes == 16 * GIB


def test_sglang_formats(replica: Replica, values: Values) -> None:
    other = replace(replica, plan=plan(kv_cache_dtype="fp8", dtype="bfloat16"))
    service = sglang.service(other, replace(values, extra_args=("--page-size", "16")))
    assert pairs(service)["--kv-cache-dtype"] == "fp8_e4m3"
    assert pairs(service)["--dtype"] == "bfloat16"
    assert service.argv[-2:] == ("--page-size", "16")


def test_sglang_knows_every_flag(replica: Replica, values: Values) -> None:
    known = (DATA / "sglang-0.5.23-flags.txt").read_text(encoding="utf-8").splitlines()
    other = replace(replica, plan=plan(kv_cache_dtype="fp8", dtype="bfloat16"))
    used = {word for word in sglang.service(other, values).argv if word.startswith("--")}
    assert used and used <= set(known)
    # Older guides use it; this version has it no more.
    assert "--cuda-graph-max-bs" not in known


def test_tensorrt_llm(replica: Replica, values: Values) -> None:
    service = tensorrt_llm.service(replace(replica, served_name="Qwen/Qwen2.5-7B"), values)
    assert service.argv == (
        *("trtllm-serve", "/model/Qwen2.5-7B", "--backend", "pytorch", "--host", "0.0.0.0", "--port", "8000"),
        *("--tp_size", "2", "--pp_size", "1", "--max_batch_size", "16", "--max_num_tokens", "2048"),
        *("--max_seq_len", "8192", "--kv_cache_free_gpu_memory_fraction", "0.9"),
    )
    assert service.mounts[0] == Mount(replica.model_directory, "/model/Qwen2.5-7B")
    assert service.ulimits == (("memlock", -1), ("nofile", 1048576))
    experts = tensorrt_llm.service(replace(replica, plan=plan(expert_parallel=True)), values)
    assert pairs(experts)["--ep_size"] == "2"


def test_lm_studio(replica: Replica, values: Values) -> None:
    service = lm_studio.service(replace(replica, file="q4.gguf"), values)
    assert service.argv[:2] == ("/bin/bash", "-c")
    assert service.argv[3:] == ("start", "qwen2.5-7b-instruct", "/model/q4.gguf", str(16 * 8192), "16", "8000")
    assert (service.health_path, service.ready_by_answer) == ("/v1/models", False)
    # It says nothing of its memory, so that nothing is compared.
    assert lm_studio.observe(["llama_kv_cache: size = 1.00 MiB ( 256 cells, 1 layers, 1/1 seqs)"], []) == Observed()


def test_tgi(replica: Replica, values: Values) -> None:
    assert tgi.service(replica, values).argv == (
        *("text-generation-launcher", "--model-id", "/model", "--hostname", "0.0.0.0", "--port", "8000"),
        *("--num-shard", "2", "--max-concurrent-requests", "48", "--max-input-tokens", "8191"),
        *("--max-total-tokens", "8192", "--max-batch-prefill-tokens", "8191"),
        *("--graceful-termination-timeout", "100", "--usage-stats", "off"),
    )


@pytest.mark.parametrize(
    ("engine", "closed"),
    [
        ("sglang", {"DISABLE_OPENAPI_DOC": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}),
        ("tensorrt-llm", {"TRTLLM_NO_USAGE_STATS": "1", "TELEMETRY_DISABLED": "true", "DO_NOT_TRACK": "1"}),
        ("tgi", {"HF_HUB_OFFLINE": "1"}),
        ("ollama", {"OLLAMA_NO_CLOUD": "1"}),
    ],
)
def test_nothing_calls_home_and_no_code_of_a_model_runs(
    engine: str, closed: dict[str, str], replica: Replica, values: Values
) -> None:
    service = ENGINES[engine].service(replica, values)
    assert closed.items() <= dict(service.env).items()
    words = " ".join(service.argv)
    assert "trust" not in words and "api-key" not in words and "log-requests" not in words


@pytest.mark.parametrize("engine", ENGINES)
def test_every_service_is_closed_in(engine: str, replica: Replica, values: Values) -> None:
    service = ENGINES[engine].service(replica, replace(values, extra_env={"X": "y"}))
    assert service.user == "2000:0"
    assert service.mounts[0].read_only and [one.target for one in service.mounts if not one.read_only] == ["/cache"]
    assert ("X", "y") in service.env and list(service.env) == sorted(service.env)
    assert Service.from_dict(json.loads(json.dumps(service.to_dict()))) == service
    assert service.start_deadline_s > replica.weight_bytes // starts.BYTES_PER_S


@pytest.mark.parametrize(("measured", "seconds"), [(None, 100 + 200), (2 * 10**9, 100 + 30), (1, 100 + 1500)])
def test_a_start_may_take_as_long_as_its_disk_needs(measured: int | None, seconds: int) -> None:
    assert starts.deadline_s(100, 30 * 10**9, measured) == seconds


def test_sglangs_log() -> None:
    found = sglang.observe(LINES["sg-qwq32b-4xl4"], [])
    assert found.weights_bytes == int(15.54 * GIB)
    assert found.available_kv_bytes == 2 * int(1.42 * GIB)
    assert found.graphs_bytes == int(0.93 * GIB)
    assert found.free_at_start_bytes == int(21.63 * GIB)
    assert found.kv_cache_tokens == 46_611
    # An older wording names no tokens there, a newer one the format.
    assert sglang.observe(LINES["sg-llama31-8b-80g"], []).available_kv_bytes == 2 * int(27.13 * GIB)
    assert sglang.observe(LINES["sg-qwen3-30b-a3b-amd"], []).kv_cache_tokens == 1_669_816
    assert sglang.observe(["nothing"], []).kv_cache_tokens is None


def test_tensorrt_llms_log() -> None:
    found = tensorrt_llm.observe(LINES["trt-llama31-8b-5090"], [])
    assert (found.available_kv_bytes, found.kv_cache_tokens) == (int(16.05 * GIB), 263_008)
    assert (found.num_blocks, found.block_size) == (8219, 32)
    # AutoDeploy announces a cache of 0.00 GiB.
    auto = tensorrt_llm.observe(LINES["trt-nemotron-spark-autodeploy"], [])
    assert (auto.available_kv_bytes, auto.kv_cache_tokens) == (None, 3_958_272)
    assert (auto.num_blocks, auto.block_size) == (61_848, 64)


def test_tgis_log() -> None:
    found = tgi.observe(["INFO text_generation_launcher: KV-cache blocks: 46083, size: 1"], [])
    assert (found.kv_cache_tokens, found.block_size) == (46_083, 1)
    assert tgi.observe([], []).num_blocks is None


@pytest.mark.parametrize(
    ("engine", "old", "new"),
    [
        ("llama.cpp", "b8145", "b8146"),
        ("ollama", "0.32.1", "0.33.0"),
        ("ollama", "0.33.0-rc2", "v0.34.1"),
        ("sglang", "0.5.22", "0.5.23"),
        ("tensorrt-llm", "0.18.1", "1.2.1"),
        ("tgi", "3.3.6", "3.3.7"),
    ],
)
def test_versions_below_the_minimum_are_refused(engine: str, old: str, new: str) -> None:
    minimum = MINIMUMS[engine]
    assert wanted(engine, old) == f"{minimum.version} or newer, which closes {minimum.closed[-1]}"
    assert wanted(engine, new) is None


def test_a_version_that_is_none_is_refused() -> None:
    assert wanted("ollama", "latest") == "a version such as 0.33.0"
    assert wanted("vllm", "0.1") is None
    assert numbers("1.2.0rc3") < numbers("1.2.0") < numbers("1.2.0.1")


#: Paths that stay shut, of each engine's own: what reads other requests, loads, unloads, or runs code.
SHUT = {
    "llama.cpp": (
        "/metrics",
        "/props",
        "/slots",
        "/completion",
        "/v1/stream",
        "/v1/streams/lookup",
        "/tools",
        "/cors-proxy",
    ),
    "lmstudio": ("/api/v1/chat", "/api/v1/models/load", "/api/v1/models/download", "/api/v0/models", "/v1/responses"),
    "ollama": ("/api/pull", "/api/delete", "/api/create", "/api/generate", "/api/chat", "/api/tags", "/debug/pprof"),
    "sglang": ("/generate", "/flush_cache", "/update_weights_from_disk", "/server_info", "/abort_request", "/metrics"),
    "tensorrt-llm": ("/metrics", "/update_weights", "/release_memory", "/server_info", "/kv_cache_events"),
    "tgi": ("/", "/generate", "/generate_stream", "/invocations", "/info", "/tokenize", "/metrics"),
}


@pytest.mark.parametrize("engine", SHUT)
def test_only_what_every_engine_answers_is_open(engine: str) -> None:
    groups = tuple(routes.OPTIONAL[engine])
    opened = {(one.method, one.path) for one in routes.endpoints(groups, engine=engine)}
    more = {("POST", "/v1/embeddings")} if engine == "llama.cpp" else set()
    assert opened == {("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), *more}
    assert not any(routes.serves(engine, path) for path in SHUT[engine])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gateway_knows_what_is_its_own(engine: str, replica: Replica, values: Values) -> None:
    service = ENGINES[engine].service(replace(replica, aliases=("gpt-4o",)), values)
    assert (service.engine, service.most, service.aliases) == (engine, 16 + 32, ("gpt-4o",))


@pytest.mark.parametrize("engine", ENGINES)
def test_limits_of_a_real_host_are_not_asked_of_a_simulated_one(engine: str, replica: Replica, values: Values) -> None:
    assert ENGINES[engine].service(replica, replace(values, build="cpu")).ulimits == ()
    assert ENGINES[engine].service(replica, values).ulimits == (("memlock", -1), ("nofile", 1048576))


def test_each_deploy_says_what_is_amiss_with_an_engine() -> None:
    assert {name for name, one in STARTED.items() if one.warning} == {"lmstudio", "ollama", "tgi"}


def test_every_engine_that_a_deploy_starts_has_its_routes() -> None:
    assert {*routes.ALWAYS} == {*STARTED}


@pytest.mark.parametrize(
    "engine", [one for name, one in STARTED.items() if name != "vllm"], ids=lambda engine: engine.name
)
def test_what_engines_say_of_themselves_is_what_they_are(engine: Engine, replica: Replica, values: Values) -> None:
    known = MINIMUMS.get(engine.name)
    assert engine.minimum == ((known.version, known.closed[-1]) if known else None)
    # None of them checks names or writes accounts: the gateway does both.
    assert not engine.checks_names and not engine.accounts
    assert engine.observe([], []).kv_cache_tokens is None
    if engine.name != "llama.cpp":
        assert bool(engine.service(replica, values).devices) == engine.needs_gpu
