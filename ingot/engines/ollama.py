"""Ollama from 0.33 on: the container that serves a planned replica out of a store that Ingot lays out.

Read from its source; it never ran here: see docs/engines.md, and `ingot migrate --from ollama`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files

from ingot.engines import llama_cpp, ollama_store
from ingot.engines.container import WAITING, container
from ingot.engines.engine import Engine, Replica, Store, Values, Weights
from ingot.engines.minimums import oldest
from ingot.engines.observed import Observed
from ingot.engines.service import MODEL_AT, Mount, Service
from ingot.sizing.engines.ollama import BATCH

STORE, CACHE = "/store", "/cache"
START_BASE_S = 120
#: That the process lives. It says nothing of the model: that is what `ready_by_answer` is for.
HEALTH = "/"
#: Layers on GPUs: more than any model has, so that all of them are there or it does not start.
ALL_LAYERS = 999
#: Loads the model as soon as the server listens, which else its first request would wait for, and ends the server where
#: it cannot be loaded. With bash alone: its image has no curl.
SCRIPT = (files(__package__) / "ollama_start.sh").read_text()
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HOME": CACHE,
    # The server that it starts inherits these: what does not fit is refused, and no prompts are kept in host memory.
    "LLAMA_ARG_CACHE_RAM": "0",
    "LLAMA_ARG_FIT": "off",
    # Else the model leaves memory after five idle minutes, and a second one may push it out.
    "OLLAMA_KEEP_ALIVE": "-1",
    # The deploy's own deadline counts.
    "OLLAMA_LOAD_TIMEOUT": "6h",
    "OLLAMA_MAX_LOADED_MODELS": "1",
    "OLLAMA_MODELS": STORE,
    # Else a model's name that says cloud is passed on to its maker.
    "OLLAMA_NO_CLOUD": "1",
    "OLLAMA_NOHISTORY": "1",
    # A start would delete what no manifest names, in a store that is read-only.
    "OLLAMA_NOPRUNE": "1",
}

_STARTS = "starting llama-server"
_VERSION = re.compile(r"\(version v?([\w.+-]+)\)")
LOG_LINES = rf"{_STARTS}|Listening on .*version|{llama_cpp.LOG_LINES}"


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica: its model's directory, and the store by which Ollama finds it there."""
    plan = replica.plan
    most = plan.max_num_seqs + WAITING
    settings = {
        "OLLAMA_CONTEXT_LENGTH": str(plan.max_model_len),
        "OLLAMA_HOST": f"0.0.0.0:{values.port}",
        # While it loads, all that the gateway gives it waits.
        "OLLAMA_MAX_QUEUE": str(most),
        "OLLAMA_NUM_PARALLEL": str(plan.max_num_seqs),
        **(_split(len(plan.gpu_uuids)) if len(plan.gpu_uuids) > 1 else {}),
    }
    return container(
        replica,
        values,
        ("/bin/bash", "-c", SCRIPT, "start", replica.served_name, str(values.port)),
        {**ENVIRONMENT, **settings},
        engine=OLLAMA.name,
        model_at=MODEL_AT,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
        mounts=(Mount(_directory(replica), STORE),),
        ready_by_answer=True,
    )


def _split(gpus: int) -> dict[str, str]:
    """Layers lie as planned: else it takes as few of its GPUs as it holds for enough, and by what is free on each."""
    return {"OLLAMA_SCHED_SPREAD": "1", "LLAMA_ARG_TENSOR_SPLIT": ",".join("1" * gpus)}


def _directory(replica: Replica) -> str:
    """Where the store lies: by all that it is made from, so that what runs keeps its own while another starts."""
    names = (replica.served_name, *replica.aliases)
    said = json.dumps([names, replica.model_directory, replica.file, _parameters(replica.plan.max_model_len)])
    return f"{replica.store_directory}/{replica.name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def store(service: Service, weights: Weights) -> Store:
    """What a service's store holds: its model by each of its names, at the context that it was planned with."""
    root = next(mount.source for mount in service.mounts if mount.target == STORE)
    context = int(dict(service.env)["OLLAMA_CONTEXT_LENGTH"])
    return ollama_store.store(root, (service.model, *service.aliases), weights, _parameters(context), MODEL_AT)


def _parameters(context: int) -> dict[str, int]:
    # Drafts are on by themselves where a model has blocks for them, and their cache is in no plan.
    return {"num_ctx": context, "num_batch": BATCH, "num_gpu": ALL_LAYERS, "draft_num_predict": 0}


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in the log of its newest llama-server; it has no metrics."""
    lines = list(log)
    version = next((found[1] for line in reversed(lines) if (found := _VERSION.search(line))), None)
    begins = max((index for index, line in enumerate(lines) if _STARTS in line), default=0)
    return replace(llama_cpp.observe(lines[begins:], ()), engine_version=version)


OLLAMA = Engine(
    name="ollama",
    title="Ollama",
    builds=("cuda",),
    model_form="store",
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    # Its listener closes at once, and the servers that it started end.
    drains=False,
    accounts=False,
    # A name of another model of its store would load that one.
    checks_names=False,
    # It asks the server that it started for streams, each under its caller's request (llm/llama_server.go).
    frees_unstreamed=True,
    warm_up=False,
    minimum=oldest("ollama"),
    log_lines=LOG_LINES,
    observe=observe,
    service=service,
    warning="Ollama cuts a prompt that is longer than its context without a word; llama.cpp serves the same file and "
    "refuses such a prompt",
    store=store,
    unnameable=ollama_store.unnameable,
)
