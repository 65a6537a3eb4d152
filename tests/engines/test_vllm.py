"""A planned replica becomes exactly this container."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines import ENGINES, VLLM, Mount, Replica, Service, Values, accounting, starts
from ingot.engines.registry import registry
from ingot.engines.vllm import START_BASE_S
from ingot.operations.serving.services import upstreams
from ingot.sizing import Adapter, EngineArguments, Loading, Speculation, Yarn

from .conftest import plan

ENVIRONMENT = (
    ("DO_NOT_TRACK", "1"),
    ("HF_HOME", "/cache/huggingface"),
    ("HF_HUB_OFFLINE", "1"),
    ("HOME", "/cache"),
    ("INGOT_ACCOUNT", "/accounts/qwen2-5-7b-instruct-0.jsonl"),
    ("INGOT_ACCOUNTING", hashlib.sha256(Path(accounting.__file__).read_bytes()).hexdigest()[:16]),
    ("INGOT_MODEL", "qwen2.5-7b-instruct"),
    ("LOGNAME", "vllm"),
    ("PYTHONFAULTHANDLER", "1"),
    ("PYTHONPATH", "/ingot"),
    ("TORCHINDUCTOR_CACHE_DIR", "/cache/inductor"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("TRITON_CACHE_DIR", "/cache/triton"),
    ("USER", "vllm"),
    ("VLLM_CACHE_ROOT", "/cache/vllm"),
    ("VLLM_HOST_IP", "127.0.0.1"),
    ("VLLM_MAX_N_SEQUENCES", "64"),
    ("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0"),
    ("VLLM_NO_USAGE_STATS", "1"),
    ("XDG_CACHE_HOME", "/cache"),
)


def test_a_replica_on_two_gpus(replica: Replica, values: Values) -> None:
    assert VLLM.service(replica, values) == Service(
        name="qwen2-5-7b-instruct-0",
        model="qwen2.5-7b-instruct",
        image="vllm/vllm-openai@sha256:" + "0" * 64,
        argv=(
            *("vllm", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"),
            *("--served-model-name", "qwen2.5-7b-instruct", "--load-format", "safetensors"),
            *("--max-model-len", "8192", "--max-num-seqs", "16", "--max-num-batched-tokens", "2048"),
            *("--middleware", "ingot_accounting.Accounting", "--shutdown-timeout", "100"),
            *("--tensor-parallel-size", "2", "--pipeline-parallel-size", "1"),
            *("--data-parallel-size", "1", "--gpu-memory-utilization", "0.92"),
            *("--disable-fastapi-docs", "--disable-uvicorn-access-log", "--no-enable-log-requests"),
        ),
        env=ENVIRONMENT,
        mounts=(
            Mount("/var/lib/ingot/models/qwen2.5-7b-instruct/bf16/a09a", "/model"),
            Mount("/var/lib/ingot/engine/cache/qwen2-5-7b-instruct-0", "/cache", read_only=False),
            Mount("/var/lib/ingot/engine/lib", "/ingot"),
            Mount("/var/log/ingot/engine", "/accounts", read_only=False),
        ),
        devices=("nvidia.com/gpu=GPU-aaa", "nvidia.com/gpu=GPU-bbb"),
        user="2000:0",
        tmpfs=("/tmp:rw,nosuid,nodev,noexec,mode=1777,size=1g",),
        ulimits=(("memlock", -1), ("nofile", 1048576)),
        shm_bytes=16 * 1024**3,
        pids=8192,
        address="172.31.213.10",
        port=8000,
        health_path="/health",
        stop_grace_s=120,
        start_deadline_s=420 + 30 * 1024**3 // 150_000_000,
    )


@pytest.mark.cache
@pytest.mark.parametrize("way", ["prefetch", "lazy"])
def test_weights_are_read_in_the_way_of_the_plan(way: str, replica: Replica, values: Values) -> None:
    chosen = replace(replica, plan=replace(replica.plan, loading=Loading(way, 1, 2)))  # type: ignore[arg-type]
    assert f"--safetensors-load-strategy {way}" in " ".join(VLLM.service(chosen, values).argv)
    assert "safetensors-load-strategy" in registry("0.32.0").arguments


def test_the_processor_build_gets_a_fixed_cache_numbers_of_32_bits_and_no_gpu_flags(
    replica: Replica, values: Values
) -> None:
    service = VLLM.service(replica, replace(values, build="cpu"))
    assert service.argv[-8:] == (
        *("--kv-cache-memory-bytes", "268435456"),
        *("--dtype", "float32"),
        *("--disable-fastapi-docs", "--disable-uvicorn-access-log", "--no-enable-log-requests", "--enforce-eager"),
    )
    assert not {"--tensor-parallel-size", "--gpu-memory-utilization"} & set(service.argv)
    assert service.devices == ("nvidia.com/gpu=GPU-aaa", "nvidia.com/gpu=GPU-bbb")
    assert service.ulimits == ()


def test_ranks_that_share_experts_say_so(replica: Replica, values: Values) -> None:
    shared = replace(replica, plan=replace(replica.plan, data_parallel_size=2, expert_parallel=True))
    assert "--enable-expert-parallel" in VLLM.service(shared, values).argv
    assert "--enable-expert-parallel" not in VLLM.service(replica, values).argv


def test_planned_number_formats_are_passed_on(replica: Replica, values: Values) -> None:
    argv = VLLM.service(replace(replica, plan=plan(kv_cache_dtype="fp8", dtype="float16")), values).argv
    assert argv[argv.index("--dtype") + 1] == "float16"
    assert argv[argv.index("--kv-cache-dtype") + 1] == "fp8"


def test_a_sites_own_words_come_last_and_its_variables_win(replica: Replica, values: Values) -> None:
    service = VLLM.service(
        replica, replace(values, extra_args=("--max-logprobs", "5"), extra_env={"VLLM_MAX_N_SEQUENCES": "128"})
    )
    assert service.argv[-2:] == ("--max-logprobs", "5")
    assert dict(service.env)["VLLM_MAX_N_SEQUENCES"] == "128"


def test_engines_are_known_by_name() -> None:
    assert ENGINES["vllm"] is VLLM


def argv_of(replica: Replica, values: Values, **changes: object) -> list[str]:
    return list(VLLM.service(replace(replica, **changes), values).argv)  # type: ignore[arg-type]


def test_a_models_own_arguments_reach_its_engine_alone(replica: Replica, values: Values) -> None:
    said = EngineArguments(
        tool_call_parser="hermes",
        reasoning_parser="qwen3",
        chat_template_kwargs={"enable_thinking": False},
        tokenizer_mode="mistral",
        limit_mm_per_prompt={"video": 0, "image": 4},
        engine_args={"mm-encoder-tp-mode": "data", "async-scheduling": True, "enable-chunked-prefill": False},
    )
    argv = argv_of(replica, values, arguments=said, template="{{ bos_token }}")
    assert argv[argv.index("--enable-auto-tool-choice") :] == [
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
        *("--chat-template", "/ingot/templates/38924663eb3df1cd.jinja"),
        *("--default-chat-template-kwargs", '{"enable_thinking": false}', "--tokenizer-mode", "mistral"),
        *("--limit-mm-per-prompt", '{"image": 4, "video": 0}', "--mm-encoder-tp-mode", "data"),
        *("--async-scheduling", "--no-enable-chunked-prefill"),
    ]


@pytest.mark.parametrize("kind", ["embed", "rerank"])
def test_models_that_write_no_text_are_pooled(replica: Replica, values: Values, kind: str) -> None:
    argv = argv_of(replica, values, kind=kind)
    assert argv[argv.index("--runner") + 1] == "pooling"
    assert "--runner" not in argv_of(replica, values, kind="transcribe")


def test_a_longer_context_than_the_configs_is_asked_for_by_yarn(replica: Replica, values: Values) -> None:
    yarn = Yarn(4.0, 32768, 1000000.0)
    long = replace(replica.plan, max_model_len=131072)
    argv = argv_of(replica, values, plan=long, yarn=yarn, native_context=40960)
    assert argv[argv.index("--hf-overrides") + 1] == (
        '{"max_position_embeddings": 131072, "rope_parameters": {"factor": 4.0, '
        '"original_max_position_embeddings": 32768, "rope_theta": 1000000.0, "rope_type": "yarn"}}'
    )
    # Never where the config's own context is enough: short prompts suffer.
    assert "--hf-overrides" not in argv_of(replica, values, yarn=yarn, native_context=40960)


def test_drafts_and_adapters_are_loaded_at_start_from_their_directories(replica: Replica, values: Values) -> None:
    adapters = (
        (Adapter("sales", "org/sales", "a" * 40, 24), "/srv/models/sales/adapter/aaa"),
        (Adapter("support", "org/support", "b" * 40, 8), "/srv/models/support/adapter/bbb"),
    )
    with_both = replace(
        replica,
        speculation=Speculation("eagle3", 3, "org/draft", "c" * 40),
        draft_directory="/srv/models/m/draft-eagle3/ccc",
        adapters=adapters,
    )
    service = VLLM.service(with_both, values)
    argv = list(service.argv)
    assert argv[argv.index("--speculative-config") + 1] == (
        '{"method": "eagle3", "model": "/draft", "num_speculative_tokens": 3}'
    )
    assert argv[argv.index("--enable-lora") :] == [
        *("--enable-lora", "--max-loras", "2", "--max-lora-rank", "32"),
        *("--lora-modules", "sales=/adapters/sales", "support=/adapters/support"),
    ]
    assert Mount("/srv/models/m/draft-eagle3/ccc", "/draft") in service.mounts
    assert Mount("/srv/models/sales/adapter/aaa", "/adapters/sales") in service.mounts
    assert service.adapters == ("sales", "support")
    ngram = argv_of(replica, values, speculation=Speculation("ngram", 4, lookup=3))
    assert ngram[ngram.index("--speculative-config") + 1] == (
        '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3}'
    )


def test_a_cache_in_the_hosts_memory_is_told_in_gib(replica: Replica, values: Values) -> None:
    assert "--kv-offloading-size" not in argv_of(replica, values)
    argv = argv_of(replica, values, plan=replace(replica.plan, kv_offload_gib=32.0))
    assert argv[argv.index("--kv-offloading-size") + 1] == "32.0"


@pytest.mark.parametrize(
    ("rate", "load_s"),
    [(None, 200), (2 * 10**9, 30), (300 * 10**6, 200), (10**6, 1500)],
    ids=["not measured", "NVMe", "SATA", "no less than a slow network file system"],
)
def test_a_deadline_follows_the_checkpoint_and_the_disk(rate: int | None, load_s: int) -> None:
    assert starts.deadline_s(START_BASE_S, 30 * 10**9, rate) == 420 + load_s


def test_a_model_answers_for_its_aliases_too(replica: Replica, values: Values) -> None:
    service = VLLM.service(replace(replica, aliases=("gpt-4o", "o3")), values)
    at = service.argv.index("--served-model-name")
    assert service.argv[at + 1 : at + 5] == ("qwen2.5-7b-instruct", "gpt-4o", "o3", "--load-format")
    assert service.aliases == ("gpt-4o", "o3")
    assert Service.from_dict(service.to_dict()) == service
    plain = VLLM.service(replica, values)
    assert "aliases" not in plain.to_dict(), "another digest would restart it"
    assert [one["model"] for one in upstreams([service], {})] == ["gpt-4o", "o3", "qwen2.5-7b-instruct"]
    assert len({tuple(one["replicas"]) for one in upstreams([service], {})}) == 1
