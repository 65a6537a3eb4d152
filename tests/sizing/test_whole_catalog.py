"""A model of each design in the catalog: what is read of it and what the arithmetic says, number by number.

The figures are judged elsewhere, on starts of real engines (test_accuracy.py, test_start.py). Here they are written
down, so that a change shows what else it changes: a term of another model, a formula's words, a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby

import pytest

from ingot.catalog import hardware_from_name, load, load_models
from ingot.catalog.load import peaks
from ingot.sizing import DoesNotFit, EngineProfile, Model, ModelRequest, Variant, Workload, plan_host, vllm
from ingot.sizing.option import Kind, attempt, choices, splits
from tests.sizing.conftest import as_written, titles

pytestmark = pytest.mark.sizing

H100 = Kind("NVIDIA H100 80GB HBM3", 85_520_809_984, 0, (9, 0), unified=False, switched=True)
#: Hosts on which models of each size are planned.
HOSTS = ("rtx4090x1", "a10gx4", "h100x8")


@pytest.fixture
def models() -> dict[str, Model]:
    """The catalog, read anew."""
    load._own_models.cache_clear()
    return load_models()


@pytest.fixture
def engine() -> EngineProfile:
    return vllm("0.32.0")


def read(variant: Variant) -> Iterator[str]:
    """What was read of a model's config: its layers, those that are alike together, and its weights."""
    shape = variant.architecture
    yield (
        f"  {shape.model_type}: hidden {shape.hidden_size}, vocab {shape.vocab_size}, heads {shape.attention_heads}, "
        f"feed forward {shape.feed_forward}, up to {shape.max_model_len}, {shape.dtype}, "
        f"{shape.experts} experts of which {shape.experts_per_token}, {shape.quantization}, {shape.kv_cache_dtype}"
    )
    if shape.encoder:
        yield f"  {shape.encoder}"
    for layer, same in groupby(shape.layers):
        groups = [
            f"{one.name} {one.parameters} {one.split.name}{'' if one.quantizable else ' native'}"
            for one in layer.weights
        ]
        yield f"  {len(list(same))} layers: {layer.attention}; {', '.join(groups)}"
    ends = [f"{one.name} {one.parameters} {one.split.name}" for one in (*shape.embedding, *shape.head)]
    yield f"  ends: {', '.join(ends)}"


def tried(model: Model, engine: EngineProfile) -> Iterator[str]:
    """The model's first choices on one to four H100, term by term."""
    request = ModelRequest(
        model, Workload(context=min(8192, model.variants[0].architecture.max_model_len or 8192), concurrency=8)
    )
    for choice in choices(request)[:2]:
        for split in splits(choice.variant, 4)[:3]:
            option = attempt(request, choice, split, H100, int(H100.total * 0.99), engine, ())
            need, found = option.need, option.prediction
            terms = [
                f"{name} {term.bytes} ± {term.band_bytes} {term.basis}"
                for name in ("weights", "activation", "graphs", "non_torch")
                for term in (getattr(need, name),)
            ]
            groups = [f"{one.layers}x{type(one.attention).__name__}/{one.block_size}" for one in need.geometry.groups]
            length = option.arguments.max_model_len, option.arguments.max_num_batched_tokens
            yield (
                f"  {choice.variant.name} {choice.kv_cache_dtype} {split.tensor}x{split.pipeline}x{split.data}: "
                f"{', '.join(terms)}; spare {need.spare}; blocks of {need.geometry.block_bytes} ({', '.join(groups)}), "
                f"{need.request_blocks} a request; {found.available} ± {found.band} of {found.requested}, "
                f"{need.geometry.tokens(found.available, *length)} tokens, "
                f"{need.geometry.concurrency(found.available, *length):.3f} at once, "
                f"longest {need.geometry.longest(found.available, *length)}; needs {option.needed}; "
                f"utilization {option.utilization:.4f}; {option.reason}"
            )


def planned(model: Model, engine: EngineProfile) -> Iterator[str]:
    """The plan of a host of each size, or why there is none."""
    request = ModelRequest(
        model, Workload(context=min(4096, model.variants[0].architecture.max_model_len or 4096), concurrency=4)
    )
    for name in HOSTS:
        try:
            plan = plan_host(hardware_from_name(name), [request], engine=engine, peaks=peaks())
        except DoesNotFit as why:
            yield f"  {name}: {why}"
        else:
            yield f"  {name}: {json.dumps(plan.to_dict(), sort_keys=True)}"


def test_each_model_is_read_and_sized_as_written(models: dict[str, Model], engine: EngineProfile) -> None:
    designs = {model.variants[0].architecture.model_type: name for name, model in reversed(list(models.items()))}
    assert titles("models.txt") == [name for name in models if name in designs.values()]
    for name in titles("models.txt"):
        as_written("models.txt", name, [*read(models[name].variants[0]), *tried(models[name], engine)])


def test_each_plan_is_as_written(models: dict[str, Model], engine: EngineProfile) -> None:
    # One of each design and size: their plans are long.
    for name in titles("plans.txt"):
        as_written("plans.txt", name, planned(models[name], engine))
