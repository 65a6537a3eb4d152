"""Ollama from 0.33 on: the container that would serve a planned replica from a store of its own layout.

Read from its source; it never ran here. No deploy starts it, since nothing fills its store here and it cuts long
prompts without a word: llama.cpp serves the same file. See docs/engines.md, and `ingot migrate --from ollama`.
"""

from __future__ import annotations

from ingot.engines import llama_cpp
from ingot.engines.container import WAITING, container
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.minimums import oldest
from ingot.engines.service import Service

STORE, CACHE = "/store", "/cache"
START_BASE_S = 120
#: That the process lives: nothing is loaded before a first completion, which the proof of a replica asks for.
HEALTH = "/"
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HOME": CACHE,
    # The server that it starts inherits these: what does not fit is refused, and no prompts are kept in host memory.
    "LLAMA_ARG_CACHE_RAM": "0",
    "LLAMA_ARG_FIT": "off",
    # Else the model leaves memory after five idle minutes, and a second one may push it out.
    "OLLAMA_KEEP_ALIVE": "-1",
    "OLLAMA_MAX_LOADED_MODELS": "1",
    "OLLAMA_MODELS": STORE,
    # Else a model's name that says cloud is passed on to its maker.
    "OLLAMA_NO_CLOUD": "1",
    "OLLAMA_NOHISTORY": "1",
    # A start would delete what no manifest names, in a store that is read-only.
    "OLLAMA_NOPRUNE": "1",
}


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica; the model's directory is a store with manifests and blobs."""
    plan = replica.plan
    settings = {
        "OLLAMA_CONTEXT_LENGTH": str(plan.max_model_len),
        "OLLAMA_HOST": f"0.0.0.0:{values.port}",
        "OLLAMA_MAX_QUEUE": str(WAITING),
        "OLLAMA_NUM_PARALLEL": str(plan.max_num_seqs),
    }
    return container(
        replica,
        values,
        ("/bin/ollama", "serve"),
        {**ENVIRONMENT, **settings},
        engine=OLLAMA.name,
        model_at=STORE,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
    )


OLLAMA = Engine(
    name="ollama",
    title="Ollama",
    builds=("cuda",),
    model_form="store",
    kinds=frozenset({"generate", "embed"}),
    needs_gpu=True,
    # Its listener closes at once, and the servers that it started end.
    drains=False,
    accounts=False,
    # A name of another model of its store would load that one.
    checks_names=False,
    frees_unstreamed=False,
    warm_up=False,
    minimum=oldest("ollama"),
    # What the server that it starts prints.
    log_lines=llama_cpp.LOG_LINES,
    observe=llama_cpp.observe,
    service=service,
)
