"""llama.cpp's container: what it is told, what stays shut, and what its log says of its memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines import ENGINES, LLAMA_CPP, LLAMA_CPP_CUDA, Mount, Replica, Service, Values
from ingot.engines.capacity import beyond, off_gpus
from ingot.engines.llama_cpp import WAITING
from ingot.engines.observed import Observed
from ingot.gateway.routes import ALWAYS, OPTIONAL, serves
from ingot.operations.serving.services import upstreams
from tests.engines.conftest import plan

pytestmark = pytest.mark.engines


@pytest.fixture
def service(replica: Replica, values: Values) -> Service:
    planned = plan(
        gpu_uuids=(), gpu_indices=(), max_model_len=4096, max_num_seqs=3, kv_cache_dtype="f16", engine="llama.cpp"
    )
    return LLAMA_CPP.service(replace(replica, plan=planned, file="q8/model-q8_0.gguf"), values)


def flag(service: Service, name: str) -> str:
    return service.argv[service.argv.index(name) + 1]


def test_each_slot_has_the_planned_context(service: Service) -> None:
    assert (flag(service, "--ctx-size"), flag(service, "--parallel")) == (str(3 * 4096), "3")
    assert "--no-kv-unified" in service.argv


def test_it_serves_one_file_by_the_planned_name(service: Service) -> None:
    assert flag(service, "--model") == "/model/q8/model-q8_0.gguf"
    assert flag(service, "--alias") == service.model == "qwen2.5-7b-instruct"
    assert service.mounts == (Mount("/var/lib/ingot/models/qwen2.5-7b-instruct/bf16/a09a", "/model"),)


def test_what_does_not_fit_is_never_served_slowly_instead(service: Service) -> None:
    assert (flag(service, "--fit"), flag(service, "--cache-ram")) == ("off", "0")


def test_an_embedder_reads_a_text_in_one_piece(replica: Replica, values: Values) -> None:
    planned = plan(gpu_uuids=(), max_model_len=1024, max_num_seqs=2, max_num_batched_tokens=1024, engine="llama.cpp")
    service = LLAMA_CPP.service(replace(replica, plan=planned, file="e.gguf", kind="embed", width=256), values)
    assert (flag(service, "--batch-size"), flag(service, "--ubatch-size")) == ("1024", "1024")
    assert "--embeddings" in service.argv and service.width == 256


def test_parts_of_a_split_file_add_up() -> None:
    lines = ["load_tensors:   CPU_Mapped model buffer size =     1.50 MiB"] * 2
    assert LLAMA_CPP.observe(lines, []).weights_bytes == 3 * 1024**2


def test_pages_slots_and_downloads_are_off_and_metrics_on(service: Service) -> None:
    assert {"--no-ui", "--no-slots", "--offline", "--metrics"} <= set(service.argv)


def test_it_has_no_gpu_and_may_write_nowhere_but_to_memory(service: Service) -> None:
    assert service.devices == () and all(mount.read_only for mount in service.mounts)
    assert service.user.partition(":")[0] != "0"


def test_the_gateway_does_what_it_does_not(service: Service) -> None:
    assert service.most == 3 + WAITING
    entry = {"model": service.model, "replicas": [service.endpoint], "engine": "llama.cpp", "most": 3 + WAITING}
    assert upstreams([service], {}) == [{**entry, "gathered": True}]


def test_a_service_survives_being_stored(service: Service) -> None:
    assert Service.from_dict(service.to_dict()) == service


def test_services_of_the_default_engine_are_stored_as_before(replica: Replica, values: Values) -> None:
    stored = ENGINES["vllm"].service(replica, values).to_dict()
    assert not {"engine", "most"} & set(stored)
    assert Service.from_dict(stored).engine == "vllm"


def test_its_open_routes_are_few_and_known() -> None:
    assert [one.path for one in ALWAYS["llama.cpp"]] == ["/v1/models", "/v1/chat/completions", "/v1/completions"]
    assert [one.path for group in OPTIONAL["llama.cpp"].values() for one in group] == ["/v1/embeddings"]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/props", "/slots", "/lora-adapters", "/infill", "/completion", "/completions", "/tokenize",
        "/detokenize", "/apply-template", "/models", "/models/load", "/v1/stream", "/v1/streams/lookup",
        "/v1/chat/completions/control", "/tools", "/cors-proxy", "/v1/systemone", "/v1/score",
    ],
)  # fmt: skip
def test_every_other_route_stays_shut(path: str) -> None:
    assert not serves("llama.cpp", path)


def test_its_log_says_what_it_took() -> None:
    # A start of b11669 with the tiny model, four slots of 2,048 tokens.
    seen = LLAMA_CPP.observe(
        [
            "load_tensors:   CPU_Mapped model buffer size =     4.82 MiB",
            "llama_kv_cache: size =   12.00 MiB (  2048 cells,   3 layers,  4/4 seqs), K (f16):    6.00 MiB, "
            "V (f16):    6.00 MiB",
            "sched_reserve:        CPU compute buffer size =     9.02 MiB",
        ],
        (),
    )
    assert seen.available_kv_bytes == 12 * 1024**2
    assert seen.kv_cache_tokens == 4 * 2048
    assert seen.weights_bytes == int(4.82 * 1024**2)
    assert seen.activation_bytes == int(9.02 * 1024**2)


def test_states_are_of_the_cache_as_in_a_plan() -> None:
    lines = [
        "llama_kv_cache: size =   64.00 MiB (  1024 cells,  16 layers,  4/4 seqs), K (f16): 32.00 MiB",
        "llama_memory_recurrent: size =  598.50 MiB (     4 cells,  65 layers,  4 seqs), R (f32):   22.50 MiB",
    ]
    seen = LLAMA_CPP.observe(lines, ())
    assert (seen.available_kv_bytes, seen.kv_cache_tokens) == (int((64 + 598.5) * 1024**2), 4096)


def test_one_pool_for_all_slots_is_counted_once() -> None:
    line = "llama_kv_cache: size = 4352.00 MiB (131072 cells,  16 layers,  4/1 seqs), K (q8_0): 2176.00 MiB, V (…)"
    assert LLAMA_CPP.observe([line], ()).kv_cache_tokens == 131072


@pytest.fixture
def on_gpus(replica: Replica, values: Values) -> Service:
    planned = plan(max_model_len=4096, max_num_seqs=3, kv_cache_dtype="f16", engine="llama.cpp-cuda")
    return LLAMA_CPP_CUDA.service(replace(replica, plan=planned, file="q8/model-q8_0.gguf"), values)


def test_on_gpus_all_layers_are_there_and_split_as_planned(on_gpus: Service, service: Service) -> None:
    assert on_gpus.devices == ("nvidia.com/gpu=GPU-aaa", "nvidia.com/gpu=GPU-bbb")
    assert (flag(on_gpus, "--n-gpu-layers"), flag(on_gpus, "--fit")) == ("all", "off")
    assert (flag(on_gpus, "--split-mode"), flag(on_gpus, "--tensor-split")) == ("layer", "1,1")
    assert flag(on_gpus, "--flash-attn") == "on"
    assert (flag(service, "--n-gpu-layers"), service.devices) == ("0", ())
    # Whatever else it is told is the same.
    assert set(service.argv) - set(on_gpus.argv) == {"0"} - set(on_gpus.argv)


def test_on_one_gpu_nothing_is_split(replica: Replica, values: Values) -> None:
    planned = plan(gpu_uuids=("GPU-aaa",), engine="llama.cpp-cuda")
    service = LLAMA_CPP_CUDA.service(replace(replica, plan=planned, file="m.gguf"), values)
    assert flag(service, "--split-mode") == "none" and "--tensor-split" not in service.argv


def test_compiled_kernels_are_kept(on_gpus: Service) -> None:
    assert ("CUDA_CACHE_PATH", "/cache/cuda") in on_gpus.env
    assert Mount("/var/lib/ingot/engine/cache/qwen2-5-7b-instruct-0", "/cache", read_only=False) in on_gpus.mounts


STARTS = {
    one["id"]: one
    for one in json.loads((Path(__file__).parents[1] / "sizing/data/engine_starts.json").read_text())
    if one["engine"] == "llama.cpp"
}
MIB = 1024**2


def test_a_published_start_on_a_gpu_is_read() -> None:
    start = STARTS["lc-qwen36-27b-mtp-q4kxl-5090"]
    found = LLAMA_CPP_CUDA.observe(start["verbatim"].splitlines(), [])
    seen = start["observed"]
    assert found.weights_bytes == pytest.approx((seen["model_gpu_mib"] + seen["model_host_mib"]) * MIB, abs=MIB)
    assert found.gpu_bytes is not None and found.gpu_bytes >= seen["model_gpu_mib"] * MIB
    assert off_gpus(plan(), found) is None


SPLIT = """load_tensors: offloaded 41/41 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   100.00 MiB
load_tensors:        CUDA0 model buffer size =  5434.50 MiB
load_tensors:        CUDA1 model buffer size = 13989.50 MiB
llama_kv_cache:      CUDA0 KV buffer size =  1536.00 MiB
llama_kv_cache:      CUDA1 KV buffer size =  3584.00 MiB
llama_kv_cache: size = 5120.00 MiB (  4096 cells,  40 layers,  1/1 seqs), K (f16): 2560.00 MiB, V (f16): 2560.00 MiB
llama_memory_recurrent:      CUDA1 RS buffer size =    10.00 MiB
sched_reserve:      CUDA0 compute buffer size =   672.00 MiB
sched_reserve:      CUDA1 compute buffer size =   416.00 MiB""".splitlines()


def test_of_several_gpus_the_fullest_counts() -> None:
    found = LLAMA_CPP_CUDA.observe(SPLIT, [])
    assert found.gpu_bytes == int((13989.5 + 3584 + 10 + 416) * MIB)
    # Of its cache the log tells the sum, a plan that of one GPU.
    assert (found.kv_cache_tokens, found.available_kv_bytes) == (4096, None)
    assert (found.layers, found.layers_on_gpus) == (41, 41)


@pytest.mark.parametrize(
    "log",
    [
        [line.replace("CUDA0", "CPU").replace("CUDA1", "CPU") for line in SPLIT if "offloaded" not in line],
        [line.replace("41/41", "30/41") for line in SPLIT],
    ],
    ids=["without a usable GPU", "in part"],
)
def test_what_it_leaves_to_the_processor_is_seen(log: list[str]) -> None:
    said = off_gpus(plan(), LLAMA_CPP_CUDA.observe(log, []))
    assert said and said.endswith("its plan has all of them there; the processor computes the others, slowly")
    assert off_gpus(plan(gpu_uuids=()), LLAMA_CPP.observe(log, [])) is None


def test_more_of_a_gpu_than_planned_is_said() -> None:
    planned = plan(engine="llama.cpp-cuda")
    memory = planned.memory
    allowed = memory.weights.bytes + memory.kv_cache.bytes + memory.activation.bytes + memory.margin.bytes
    assert beyond(planned, Observed(gpu_bytes=allowed)) is None
    said = beyond(planned, Observed(gpu_bytes=allowed + 1024**3))
    assert said == "took 22.00 GiB of a GPU, its plan allows no more than 21.00"
