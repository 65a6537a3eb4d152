"""A hundred random mixes of kinds of model on recorded hosts: no plan takes more memory than there is."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from ingot.catalog import load_models, peaks
from ingot.errors import IngotError
from ingot.operations.preflight.forecast import recorded
from ingot.sizing import (
    GOALS,
    Adapter,
    EngineArguments,
    Hardware,
    HostPlan,
    ModelRequest,
    SizingError,
    Workload,
    plan_host,
    vllm,
)
from tests.facts.captures import DIRECTORY, names

pytestmark = [pytest.mark.sizing, pytest.mark.models]

MIXES = 100


@cache
def hosts() -> tuple[Hardware, ...]:
    """Every recorded host whose GPUs say how much memory they have."""
    found = []
    for name in (*names("*query*csv*"), *names("*.xml.txt"), *names("*sizing.csv*")):
        try:
            _, gpus = recorded([Path(DIRECTORY / name)])
        except IngotError:
            continue
        if gpus:
            found.append(Hardware(Path(name).stem, gpus))
    return tuple(found)


def mix(seed: int) -> tuple[Hardware, list[ModelRequest]]:
    """One host and one to four models of any kinds, none of which is hopeless there."""
    chance = random.Random(seed)
    hardware = chance.choice(hosts())
    memory = sum(gpu.vram_bytes for gpu in hardware.gpus)
    models = sorted(load_models().values(), key=lambda model: model.name)
    models = [model for model in models if model.variants[-1].architecture.parameters < memory / 2]
    requests = []
    for model in chance.sample(models, min(chance.randint(1, 4), len(models))):
        longest = model.longest(model.variants[0]) or 8192
        adapters = tuple(Adapter(f"a{one}", "example/a", None, 16) for one in range(chance.choice([0, 0, 0, 2])))
        requests.append(
            ModelRequest(
                model,
                Workload(min(chance.choice([512, 2048, 8192, 32768]), longest), chance.choice([1, 2, 4, 16, 64])),
                share=chance.random() < 0.6,
                replicas=chance.choice([None, None, 1, 2]),
                goal=chance.choice(GOALS),
                adapters=adapters if model.kind == "generate" else (),
                arguments=EngineArguments(language_model_only=chance.random() < 0.3),
            )
        )
    return hardware, requests


def exceeds(hardware: Hardware, plan: HostPlan) -> list[str]:
    """What of a plan is more than there is."""
    by_uuid = {gpu.uuid: gpu for gpu in hardware.gpus}
    taken: Counter[str] = Counter()
    found = []
    for replica in plan.replicas:
        memory = replica.memory
        if memory.kv_cache.bytes < replica.kv_bytes_needed or any(term.bytes < 0 for _, term in memory.items()):
            found.append(f"{replica.model}: its cache is smaller than its sequences need")
        if sum(term.bytes for _, term in memory.items()) != memory.total.bytes:
            found.append(f"{replica.model}: its terms do not add up")
        for uuid in replica.gpu_uuids:
            taken[uuid] += int(memory.total.bytes * replica.gpu_memory_utilization)
    found += [f"{uuid}: overcommitted" for uuid, used in taken.items() if used > by_uuid[uuid].cuda_free_bytes]
    return found


def test_the_recorded_hosts_are_many_and_differ() -> None:
    assert len(hosts()) >= 8
    assert len({hardware.gpus[0].name for hardware in hosts()}) >= 5


@pytest.mark.parametrize("version", ["0.19.0", "0.28.0", "0.32.0"])
def test_no_mix_of_kinds_takes_more_than_there_is(version: str) -> None:
    made = 0
    for seed in range(MIXES):
        hardware, requests = mix(seed)
        try:
            plan = plan_host(hardware, requests, engine=vllm(version), peaks=peaks())
        except SizingError as refused:
            assert len(str(refused)) > 20
            continue
        made += 1
        assert exceeds(hardware, plan) == [], (seed, hardware.host)
        assert {replica.model for replica in plan.replicas} == {request.model.name for request in requests}
    assert made >= 30
