"""Records: kept per model, engine, GPUs and plan, read again, and compared with what was before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.bench.load import Load
from ingot.bench.measured import Measured, Spread
from ingot.bench.measured_plan import benchmarked
from ingot.bench.record import (
    Level,
    Record,
    beside_estimate,
    compared,
    difference,
    estimated_tokens_per_s,
    last,
    newest_of,
    read_key,
    records,
    write,
)
from ingot.bench.served import Subject, subject
from ingot.catalog import hardware_from_name, peaks
from ingot.errors import IngotError
from ingot.sizing import HostPlan, ModelRequest, Workload, plan_host, vllm
from tests.sizing.conftest import model

pytestmark = pytest.mark.observe

CHAT = Subject("chat", "ab12cd34", "vllm 0.33.0", "bf16", "org/chat", "NVIDIA A10G", 2, 2)


def measured(rate: float = 100.0, ttft_s: float = 0.2) -> Measured:
    spread = Spread(ttft_s, ttft_s, None, None)
    return Measured(40, 0, 10.0, spread, Spread(0.02, 0.02, 0.03, None), spread, 4.0, rate, 500.0, 5120, 1280)


def record(at: str = "2026-11-29T10:00:00+00:00", rate: float = 100.0, **values: object) -> Record:
    level = Level(Load(40, 4), 12.0, measured(rate))
    return replace(
        Record("gpu-01", at, "ops@desk", "gpu-01", "https://gpu-01", CHAT, (level,), {"ttft": 1.0}),
        **values,  # type: ignore[arg-type]
    )


def test_a_record_is_read_as_it_was_written_and_belongs_to_its_owner(tmp_path: Path) -> None:
    stopped = record(levels=(Level(Load(9, 1, per_s=2.0), 3.0, why="6 of 9 requests failed"),), why="6 of 9 failed")
    path = write(tmp_path, stopped)
    assert path.relative_to(tmp_path).parts[:2] == ("chat", "vllm-0.33.0_2x-NVIDIA-A10G_ab12cd34")
    assert path.stat().st_mode & 0o777 == 0o600
    later = record("2026-11-29T11:00:00+00:00")
    write(tmp_path, later)
    assert records(tmp_path) == (stopped, later)


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, record())
    stored = json.loads(path.read_text())
    for number, text in enumerate(("{", "[]", json.dumps({**stored, "schema": 99}), json.dumps({"schema": 1}))):
        path.with_name(f"{number}.json").write_text(text)
    assert records(tmp_path) == (record(),)
    assert records(tmp_path / "none") == ()


def test_only_records_of_the_same_are_compared() -> None:
    other = record("2026-11-29T12:00:00+00:00", subject=replace(CHAT, plan="ffffffff"))
    failed = record("2026-11-29T13:00:00+00:00", levels=(), why="it died")
    assert last((record(), other, failed), CHAT) == record()
    assert last((other,), CHAT) is None
    assert newest_of((record(), record("2026-11-29T14:00:00+00:00", why="interrupted")), CHAT) == record()


def test_what_changed_is_said_and_what_did_not_is_not() -> None:
    assert list(compared(record(rate=80), record(rate=100))) == [
        "4 at once: tokens/s 20% lower than at 2026-11-29T10:00:00+00:00"
    ]
    assert not list(compared(record(rate=97), record(rate=100)))
    assert not list(compared(record(), None))
    assert not list(compared(record(levels=(Level(Load(40, 8), 1.0, measured(1.0)),)), record()))


def test_a_level_stands_beside_what_the_plan_estimated_of_it() -> None:
    # Each of two replicas: 2 sequences, 128 steps of 10 ms, two prompts of 512 tokens at 10,240 a second.
    estimate = {"token_s": 0.01, "prefill_tokens_per_s": 10_240.0}
    own = estimated_tokens_per_s(estimate, Load(40, 4), 2)
    assert own == pytest.approx(2 * 2 * 128 / (1.28 + 0.1))
    shared = estimated_tokens_per_s(estimate, Load(40, 4, shared_prefix=0.5), 2)
    assert shared == pytest.approx(2 * 2 * 128 / (1.28 + 0.05))
    assert list(beside_estimate(record(rate=185.5, estimate=estimate))) == [
        "4 at once: 186 tokens/s, the plan estimated 371 (50% of it)"
    ]
    assert estimated_tokens_per_s(estimate, Load(40, 4, per_s=1.0), 2) is None
    assert not list(beside_estimate(record(estimate=None)))


def test_counters_of_an_engine_that_started_again_say_nothing() -> None:
    assert difference({"a": 5.0, "b": 7.0, "c": 1.0}, {"a": 6.5, "b": 2.0}) == {"a": 1.5}


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb"])
def test_a_file_that_holds_no_key_is_refused(text: str) -> None:
    with pytest.raises(IngotError, match=r"^k: holds no API key, expected one key and nothing else; correct it"):
        read_key(Path("k"), text)


def planned(gpus: str = "a10gx2", context: int = 8192) -> HostPlan:
    request = ModelRequest(model(), Workload(context, 8), replicas=2)
    return plan_host(hardware_from_name(gpus), [request], engine=vllm("0.32.0"), peaks=peaks())


def test_hosts_with_equal_plans_have_equal_subjects_and_other_arguments_are_another() -> None:
    one, other = planned(), planned()
    name = one.replicas[0].model
    moved = replace(other, replicas=tuple(replace(replica, gpu_uuids=("x", "y")) for replica in other.replicas))
    assert subject(name, one.engine, one.replicas, 2).plan == subject(name, moved.engine, moved.replicas, 1).plan
    longer = planned(context=4096)
    assert subject(name, one.engine, one.replicas, 2) != subject(name, longer.engine, longer.replicas, 2)


def test_a_plan_has_the_speed_that_was_measured_of_it() -> None:
    plan = planned()
    name = plan.replicas[0].model
    own = subject(name, plan.engine, plan.replicas, 2)
    levels = (Level(Load(10, 1), 1.0, measured(20.0)), Level(Load(40, 4), 1.0, measured(100.0)))
    found = benchmarked(plan, [record(subject=own, levels=levels), record(subject=replace(own, gpu="other"))])
    assert found == {
        name: "100 tokens/s with 4 at once (prompts of 512 tokens, answers of 128), first token after 200 ms, then one "
        "every 20 ms; measured on gpu-01 at 2026-11-29T10:00:00+00:00"
    }
    assert benchmarked(planned(context=4096), [record(subject=own)]) == {}
