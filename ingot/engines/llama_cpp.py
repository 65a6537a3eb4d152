"""llama.cpp: one GGUF file becomes the container that serves it, on a host's processor or on GPUs of its own.

Flags are those of b11669 (0.7.0). Two engines share them, since their images differ: the build for CUDA never ran here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ingot.engines import rates, starts
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.minimums import oldest
from ingot.engines.observed import Observed
from ingot.engines.service import Mount, Service

#: Where the official image has its server; an image of one's own has it there too.
SERVER = "/app/llama-server"
MODEL, CACHE = "/model", "/cache"
#: The image's own user is root; this one owns nothing there.
USER = "2000:0"
#: No variable of an image changes what the plan says: each flag below has one (LLAMA_ARG_…), and a flag wins.
ENVIRONMENT = {"HOME": "/tmp", "LC_ALL": "C.UTF-8"}
#: A start reads the file and little else: 0.2 s for a tiny model, and the disk's pace for a large one.
START_BASE_S = 120
#: Seconds between the signs of life on a stream: a stop is noticed after as many.
PING_S = 1
#: Levels of its log: at 4 it says how large each buffer is; what is asked and answered comes at 5.
LOG_LEVEL = 4
#: Requests that may wait in it beside those that it works on: it bounds none itself.
WAITING = 32

_MIB = 1024**2
_KV = re.compile(r"llama_kv_cache\w*: size = +([\d.]+) MiB \( *(\d+) cells, +(\d+) layers, +(\d+)/(\d+) seqs\)")
_STATE = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")
_WEIGHTS = re.compile(r"load_tensors: +(\S+) model buffer size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"(?:sched_reserve|llama_context): +(\S+) compute buffer size = +([\d.]+) MiB")
_KEPT = re.compile(r"llama_(?:kv_cache|memory)\w*: +(\S+) (?:KV|RS) buffer size = +([\d.]+) MiB")
_OFFLOADED = re.compile(r"load_tensors: offloaded (\d+)/(\d+) layers to GPU")
_GPU = re.compile(r"CUDA\d+")
_BUILD = re.compile(r"build(?:_info)?: +b?(\d+)")
LOG_LINES = (
    "llama_kv_cache.*size =|llama_memory_recurrent: |load_tensors: .*buffer size|layers to GPU|compute buffer size|"
    "build(_info)?:"
)


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica, which computes on the host's processor."""
    return _service(replica, values, LLAMA_CPP.name, ("--n-gpu-layers", "0"))


def service_on_gpus(replica: Replica, values: Values) -> Service:
    """The container of one replica on GPUs of its own: all layers are there, or it does not start."""
    count = len(replica.plan.gpu_uuids)
    split = (
        ("--split-mode", "layer", "--tensor-split", ",".join("1" * count)) if count > 1 else ("--split-mode", "none")
    )
    made = _service(replica, values, LLAMA_CPP_CUDA.name, ("--n-gpu-layers", "all", *split, "--flash-attn", "on"))
    return replace(
        made,
        env=tuple(sorted({**dict(made.env), "CUDA_CACHE_PATH": f"{CACHE}/cuda"}.items())),
        mounts=(*made.mounts, Mount(replica.cache_directory, CACHE, read_only=False)),
        devices=tuple(f"nvidia.com/gpu={uuid}" for uuid in replica.plan.gpu_uuids),
    )


def _service(replica: Replica, values: Values, engine: str, placed: tuple[str, ...]) -> Service:
    return Service(
        name=replica.name,
        model=replica.served_name,
        image=values.image,
        argv=(SERVER, *_flags(replica, values, placed), *values.extra_args),
        env=tuple(sorted({**ENVIRONMENT, **values.extra_env}.items())),
        mounts=(Mount(replica.model_directory, MODEL),),
        devices=(),
        user=USER,
        tmpfs=("/tmp:rw,nosuid,nodev,noexec,mode=1777,size=64m",),
        ulimits=(),
        shm_bytes=values.shm_bytes,
        pids=values.pids,
        address=replica.address,
        port=values.port,
        health_path="/health",
        stop_grace_s=values.stop_grace_s,
        start_deadline_s=starts.deadline_s(START_BASE_S, replica.weight_bytes, values.disk_bytes_per_s),
        kind=replica.kind,
        width=replica.width,
        # It answers for any name: the gateway knows which are its own.
        aliases=replica.aliases,
        engine=engine,
        most=replica.plan.max_num_seqs + WAITING,
    )


def _flags(replica: Replica, values: Values, placed: tuple[str, ...]) -> tuple[str, ...]:
    """Its command line; `placed` says where its layers are."""
    plan = replica.plan
    flags: dict[str, object] = {
        "--model": f"{MODEL}/{replica.file}",
        "--alias": replica.served_name,
        "--host": "0.0.0.0",
        "--port": values.port,
        # Of all slots together; each has its own part, so that one sequence takes no other's.
        "--ctx-size": plan.max_model_len * plan.max_num_seqs,
        "--parallel": plan.max_num_seqs,
        "--batch-size": plan.max_num_batched_tokens,
        # A text becomes numbers in one piece.
        **({"--ubatch-size": plan.max_num_batched_tokens} if replica.kind == "embed" else {}),
    }
    after: dict[str, object] = {
        # What does not fit is refused by the plan, not served slowly or with a shorter context.
        "--fit": "off",
        # A cache of prompts in the host's memory, 8 GiB unless told.
        "--cache-ram": 0,
        "--sse-ping-interval": PING_S,
        "--log-verbosity": LOG_LEVEL,
    }
    switches = ["--no-kv-unified", "--offline", "--no-ui", "--no-slots", "--metrics"]
    if replica.kind == "embed":
        switches.append("--embeddings")
    return (*_words(flags), *placed, *_words(after), *switches)


def _words(flags: dict[str, object]) -> tuple[str, ...]:
    return tuple(part for flag, value in flags.items() for part in (flag, str(value)))


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in its log; its metrics say nothing of memory (a gauge of its cache is asked for upstream)."""
    version, cache, tokens, layers, on_gpus = None, 0, 0, 0, None
    weights, compute, kept = dict[str, int](), dict[str, int](), dict[str, int]()
    for line in log:
        if found := _KV.search(line):
            # A cell is one token of one stream; a slot of its own is a stream.
            cache += _mib(found[1])
            tokens = max(tokens, int(found[2]) * int(found[5]))
            layers = max(layers, int(found[3]))
        elif found := _STATE.search(line):
            # A plan counts states with the cache.
            cache += _mib(found[1])
        elif found := _WEIGHTS.search(line):
            # Each part of a split file has a line of its own.
            weights[found[1]] = weights.get(found[1], 0) + _mib(found[2])
        elif found := _KEPT.search(line):
            # Layers with a window have a line of their own, and those with a state.
            kept[found[1]] = kept.get(found[1], 0) + _mib(found[2])
        elif found := _COMPUTE.search(line):
            compute[found[1]] = _mib(found[2])
        elif found := _OFFLOADED.search(line):
            on_gpus, layers = int(found[1]), int(found[2])
        elif found := _BUILD.search(line):
            version = f"b{found[1]}"
    gpus = {name for one in (weights, kept, compute) for name in one if _GPU.fullmatch(name)}
    return Observed(
        engine_version=version,
        weights_bytes=sum(weights.values()) or None,
        # Of several GPUs together: a plan counts one.
        available_kv_bytes=(cache or None) if len(gpus) < 2 else None,
        activation_bytes=sum(compute.values()) or None,
        kv_cache_tokens=tokens or None,
        gpu_bytes=max((sum(one.get(name, 0) for one in (weights, kept, compute)) for name in gpus), default=None),
        layers=layers or None,
        layers_on_gpus=on_gpus,
    )


def _mib(words: str) -> int:
    return int(float(words) * _MIB)


#: llama.cpp's own server on the host's processor.
LLAMA_CPP = Engine(
    name="llama.cpp",
    title="llama.cpp",
    builds=("cpu",),
    model_form="gguf",
    kinds=frozenset({"generate", "embed"}),
    needs_gpu=False,
    # Told to stop, it cuts every stream off.
    drains=False,
    accounts=False,
    # Any name is answered.
    checks_names=False,
    frees_unstreamed=False,
    warm_up=False,
    minimum=oldest("llama.cpp"),
    log_lines=LOG_LINES,
    observe=observe,
    service=service,
    rates=rates.of_timings,
    gathered=True,
)
#: The same on GPUs, from an image of its own.
LLAMA_CPP_CUDA = replace(
    LLAMA_CPP,
    name="llama.cpp-cuda",
    title="llama.cpp on GPUs",
    builds=("cuda",),
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    minimum=oldest("llama.cpp-cuda"),
    service=service_on_gpus,
)
