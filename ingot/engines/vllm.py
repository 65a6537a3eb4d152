"""vLLM: a planned replica becomes the container that serves it (flags and variables as of vLLM 0.32/0.33)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files

from ingot.engines import observed, starts, vllm_arguments
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.service import Mount, Service

#: The user that vllm/vllm-openai is built for. Any other uid needs an entry in the image's passwd file.
USER = "2000:0"

MODEL = "/model"
CACHE = "/cache"
LIBRARY = "/ingot"
ACCOUNTS = "/accounts"

#: On the host: what every replica loads, and where each writes one file of accounts.
HOST_LIBRARY = "/var/lib/ingot/engine/lib"
HOST_ACCOUNTS = "/var/log/ingot/engine"
#: Chat templates of ours and of the site, as they lie in the library.
HOST_TEMPLATES = f"{HOST_LIBRARY}/templates"
#: The middleware as it lies in the library.
MIDDLEWARE_FILE = "ingot_accounting.py"
MIDDLEWARE = (files(__package__) / "accounting.py").read_bytes()
#: Our own chat templates by file name; a model names one of these or a file of the site.
OUR_TEMPLATES = {
    file.name: file.read_text(encoding="utf-8")
    for file in (files(__package__) / "templates").iterdir()
    if file.name.endswith(".jinja")
}

#: No hub, no usage statistics, no redirects out of the house; everything that is worth keeping over a restart
#: (compiled graphs, kernels) goes below CACHE. USER and LOGNAME spare torch a look into the image's passwd file.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HOME": f"{CACHE}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HOME": CACHE,
    "LOGNAME": "vllm",
    # An engine that a signal ends says which one, and what it was doing, before it goes.
    "PYTHONFAULTHANDLER": "1",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "TRANSFORMERS_OFFLINE": "1",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "USER": "vllm",
    "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_MAX_N_SEQUENCES": "64",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "XDG_CACHE_HOME": CACHE,
}

# A start is imports, weights from disk, compilation and graph capture. The fixed part was 60 to 200 s in published
# logs of 0.2x on GPUs and 35 s on two CPU cores: this is a deadline, not an estimate, and no start is given less.
START_BASE_S = 420

#: Seconds of stop_grace_s that are left for the engine to end after it let running requests finish.
END_S = 20


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica, on GPUs (build *cuda*) or on the processor (build *cpu*, for test hosts)."""
    cpu = values.build == "cpu"
    return Service(
        name=replica.name,
        model=replica.served_name,
        image=values.image,
        argv=(
            *("vllm", "serve", MODEL, *_flags(replica, values)),
            *vllm_arguments.words(replica),
            *values.extra_args,
        ),
        env=tuple(sorted({**ENVIRONMENT, **_accounting(replica), **values.extra_env}.items())),
        mounts=tuple(_mounts(replica)),
        devices=tuple(f"nvidia.com/gpu={uuid}" for uuid in replica.plan.gpu_uuids),
        user=USER,
        tmpfs=("/tmp:rw,nosuid,nodev,noexec,mode=1777,size=1g",),
        # Raising a limit needs a right (CAP_SYS_RESOURCE) that test hosts lack, and a processor pins no memory.
        ulimits=() if cpu else tuple(sorted(values.ulimits.items())),
        shm_bytes=values.shm_bytes,
        pids=values.pids,
        address=replica.address,
        port=values.port,
        health_path="/health",
        stop_grace_s=values.stop_grace_s,
        start_deadline_s=starts.deadline_s(START_BASE_S, replica.weight_bytes, values.disk_bytes_per_s),
        kind=replica.kind,
        width=replica.width,
        calls_tools=replica.arguments.tool_call_parser is not None,
        reasons=replica.arguments.reasoning_parser is not None,
        adapters=tuple(adapter.name for adapter, _ in replica.adapters),
        aliases=replica.aliases,
    )


def _mounts(replica: Replica) -> Iterator[Mount]:
    yield Mount(replica.model_directory, MODEL)
    yield Mount(replica.cache_directory, CACHE, read_only=False)
    yield Mount(HOST_LIBRARY, LIBRARY)
    yield Mount(HOST_ACCOUNTS, ACCOUNTS, read_only=False)
    if replica.draft_directory:
        yield Mount(replica.draft_directory, vllm_arguments.DRAFT)
    for adapter, directory in replica.adapters:
        yield Mount(directory, f"{vllm_arguments.ADAPTERS}/{adapter.name}")


def _accounting(replica: Replica) -> dict[str, str]:
    return {
        "INGOT_ACCOUNT": f"{ACCOUNTS}/{replica.name}.jsonl",
        # A running replica keeps the middleware that it loaded: another one is another service.
        "INGOT_ACCOUNTING": hashlib.sha256(MIDDLEWARE).hexdigest()[:16],
        "INGOT_MODEL": replica.served_name,
        "PYTHONPATH": LIBRARY,
    }


def _flags(replica: Replica, values: Values) -> tuple[str, ...]:
    plan = replica.plan
    flags: dict[str, object] = {
        "--host": "0.0.0.0",
        "--port": values.port,
        "--served-model-name": replica.served_name,
        "--load-format": "safetensors",
        "--max-model-len": plan.max_model_len,
        "--max-num-seqs": plan.max_num_seqs,
        "--max-num-batched-tokens": plan.max_num_batched_tokens,
        "--middleware": f"{MIDDLEWARE_FILE.removesuffix('.py')}.Accounting",
        "--shutdown-timeout": max(values.stop_grace_s - END_S, 0),
    }
    if values.build == "cpu":
        # Without a size it would take a share of the host's memory, whatever else runs there.
        flags["--kv-cache-memory-bytes"] = values.cpu_kv_cache_bytes
        # Every processor has it. Kernels for bfloat16 differ from one to the next, and not all of them live.
        flags["--dtype"] = "float32"
    else:
        flags["--tensor-parallel-size"] = plan.tensor_parallel_size
        flags["--pipeline-parallel-size"] = plan.pipeline_parallel_size
        flags["--data-parallel-size"] = plan.data_parallel_size
        flags["--gpu-memory-utilization"] = plan.gpu_memory_utilization
        # A checkpoint names its own quantization, so --quantization is never needed; "auto" follows it for the cache.
        if plan.dtype != "auto":
            flags["--dtype"] = plan.dtype
        if plan.kv_cache_dtype != "auto":
            flags["--kv-cache-dtype"] = plan.kv_cache_dtype
    if plan.loading:
        flags["--safetensors-load-strategy"] = plan.loading.way
    switches = ["--disable-fastapi-docs", "--disable-uvicorn-access-log", "--no-enable-log-requests"]
    if values.build != "cpu" and plan.expert_parallel:
        switches.append("--enable-expert-parallel")
    if values.build == "cpu":
        switches.append("--enforce-eager")
    words = [part for flag, value in flags.items() for part in (flag, str(value))]
    # The first name is the one that answers carry.
    after = words.index(replica.served_name, words.index("--served-model-name")) + 1
    return (*words[:after], *replica.aliases, *words[after:], *switches)


#: vLLM's OpenAI server.
VLLM = Engine(
    name="vllm",
    title="vLLM",
    builds=("cuda", "cpu"),
    model_form="directory",
    kinds=frozenset({"generate", "embed", "rerank", "transcribe"}),
    needs_gpu=True,
    drains=True,
    accounts=True,
    checks_names=True,
    frees_unstreamed=True,
    warm_up=True,
    minimum=None,
    log_lines=observed.LOG_LINES,
    observe=observed.parse,
    service=service,
)
