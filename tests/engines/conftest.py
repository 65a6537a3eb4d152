"""A planned replica and the values of a site, as the tests of engines start from."""

import pytest

from ingot.engines import Replica, Values
from ingot.sizing import MemoryBreakdown, ReplicaPlan, Term

GIB = 1024**3


def term(size: int) -> Term:
    return Term(size, "derived", 0, "test", "test")


def plan(**changes: object) -> ReplicaPlan:
    memory = MemoryBreakdown(
        **{name: term(size) for name, size in (
            ("total", 24 * GIB), ("weights", 15 * GIB), ("kv_cache", 5 * GIB), ("activation", GIB), ("graphs", GIB),
            ("non_torch", 0), ("other", 0), ("margin", 0), ("free", 2 * GIB),
        )}
    )  # fmt: skip
    values: dict[str, object] = {
        "model": "qwen2.5-7b-instruct", "variant": "bf16", "repository": "Qwen/Qwen2.5-7B-Instruct",
        "revision": "a09a35458c702b33eeacc393d103063234e8bc28", "gpu_uuids": ("GPU-aaa", "GPU-bbb"),
        "gpu_indices": (0, 1), "tensor_parallel_size": 2, "pipeline_parallel_size": 1, "data_parallel_size": 1,
        "max_model_len": 8192, "max_num_seqs": 16, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.92,
        "kv_cache_dtype": "auto", "quantization": "none", "kv_cache_tokens": 90000, "memory": memory,
    }  # fmt: skip
    return ReplicaPlan(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def replica() -> Replica:
    return Replica(
        plan=plan(),
        name="qwen2-5-7b-instruct-0",
        served_name="qwen2.5-7b-instruct",
        address="172.31.213.10",
        model_directory="/var/lib/ingot/models/qwen2.5-7b-instruct/bf16/a09a",
        cache_directory="/var/lib/ingot/engine/cache/qwen2-5-7b-instruct-0",
        weight_bytes=30 * GIB,
    )


@pytest.fixture
def values() -> Values:
    return Values(
        image="vllm/vllm-openai@sha256:" + "0" * 64,
        build="cuda",
        port=8000,
        shm_bytes=16 * GIB,
        pids=8192,
        stop_grace_s=120,
        cpu_kv_cache_bytes=256 * 1024**2,
        ulimits={"memlock": -1, "nofile": 1048576},
    )
