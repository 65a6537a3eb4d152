"""LM Studio's headless daemon, in an image that the operator has made of its installer.

There is no official image, and its installer fetches what there is on the day: an image that was made of it once, and
is pinned by its id, is what can be proven. The container takes the steps of the unit that its documentation gives. It
never ran here: see docs/engines.md, and `ingot migrate --from lmstudio`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from ingot.engines.container import container
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.minimums import oldest
from ingot.engines.observed import Observed
from ingot.engines.service import MODEL_AT, Service

CACHE = "/cache"
START_BASE_S = 300
#: Its server begins to listen once the model is loaded.
HEALTH = "/v1/models"
SCRIPT = (files(__package__) / "lm_studio_start.sh").read_text()
ENVIRONMENT = {"DO_NOT_TRACK": "1", "HOME": CACHE}


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica."""
    plan = replica.plan
    return container(
        replica,
        values,
        (
            *("/bin/bash", "-c", SCRIPT, "start", replica.served_name, f"{MODEL_AT}/{replica.file}"),
            *(str(plan.max_model_len * plan.max_num_seqs), str(plan.max_num_seqs), str(values.port)),
        ),
        ENVIRONMENT,
        engine=LM_STUDIO.name,
        model_at=MODEL_AT,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
    )


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """Nothing: what it says of its memory is in no log that a container shows, and it has no metrics."""
    return Observed()


LM_STUDIO = Engine(
    name="lmstudio",
    title="LM Studio",
    builds=("cuda",),
    model_form="gguf",
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    drains=False,
    accounts=False,
    # One that is not loaded would be, if it were there.
    checks_names=False,
    frees_unstreamed=False,
    warm_up=False,
    minimum=oldest("lmstudio"),
    log_lines="no line of it is read",
    observe=observe,
    service=service,
    warning="LM Studio is closed, and says nothing of its memory; llama.cpp serves the same file",
)
