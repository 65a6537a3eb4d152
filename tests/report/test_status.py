"""`ingot status` shows what each host serves, from two looks at its engines' metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from rich.console import Console

from ingot.errors import IngotError
from ingot.facts.activity import GENERATED, KV_USED, PROMPT, RUNNING, WAITING, Activity, parse_activity
from ingot.report.status import HostStatus, host_status, table, watch_fleet

pytestmark = pytest.mark.observe

HOLD = {"gpu": "", "why": "it did not answer for 60 s", "since": "2026-11-29T08:00:00Z"}


def metrics(name: str, **values: tuple[float, ...]) -> str:
    """A replica's line of one look, a value for each rank."""
    names = {"running": RUNNING, "waiting": WAITING, "kv": KV_USED, "generated": GENERATED, "prompt": PROMPT}
    return " ".join([name, *(f"{names[key]}={value}" for key, ranks in values.items() for value in ranks)])


def answer(
    containers: str, first: str, second: str, holds: Mapping[str, object] | None = None, docker: int = 0
) -> list[str]:
    sections = {
        "containers": (containers, docker),
        "first": (f"now 100.0\n{first}", 0),
        "between": ("", 0),
        "second": (f"now 102.0\n{second}", 0),
        "holds": (json.dumps(holds) if holds is not None else "", int(holds is None)),
    }
    return [
        line
        for name, (text, status) in sections.items()
        for line in (f"@@ingot-begin {name}", *text.splitlines(), f"@@ingot-end {name} {status}")
    ]


def shown(*hosts: HostStatus) -> list[list[str]]:
    """The table's rows, by words."""
    console = Console(width=200)
    with console.capture() as out:
        console.print(table(hosts))
    return [line.split() for line in out.get().splitlines()[1:]]


TWO = "chat-0 chat running 8000 /health 172.31.213.10\nchat-1 chat running 8001 /health 172.31.213.11"


def test_replicas_and_ranks_are_summed_and_rates_are_per_second() -> None:
    first = metrics("chat-0", generated=(100, 50), prompt=(0,)) + "\n" + metrics("chat-1", generated=(7,), prompt=(5,))
    second = "\n".join(
        [
            metrics("chat-1", running=(2,), waiting=(0,), kv=(0.2,), generated=(27,), prompt=(205,)),
            metrics("chat-0", running=(3, 1), waiting=(5, 0), kv=(0.5, 0.3), generated=(200, 150), prompt=(0,)),
        ]
    )
    status = host_status("gpu-01", parse_activity(answer(TWO, first, second)))
    assert shown(status) == [["gpu-01", "chat", "2/2", "6", "5", "30%", "110", "100", "-"]]
    assert status.is_well


#: What engines write, as the look prints it: of each only the figures that it has.
ENGINES = {
    "llama.cpp": "llamacpp:requests_processing=1 llamacpp:requests_deferred=2 llamacpp:tokens_predicted_total=40",
    "sglang": "sglang:num_running_reqs=1.0 sglang:num_queue_reqs=2.0 sglang:token_usage=0.25",
    "tgi": "tgi_batch_current_size=1 tgi_queue_size=2",
    "tensorrt-llm": "healthy=1",
}


@pytest.mark.engines
@pytest.mark.parametrize(
    ("engine", "row"),
    [
        ("llama.cpp", ["1/1", "1", "2", "-", "0", "-", "-"]),
        ("sglang", ["1/1", "1", "2", "25%", "-", "-", "-"]),
        ("tgi", ["1/1", "1", "2", "-", "-", "-", "-"]),
        ("tensorrt-llm", ["1/1", "-", "-", "-", "-", "-", "-"]),
    ],
)
def test_what_an_engine_does_not_tell_is_unknown(engine: str, row: list[str]) -> None:
    said = f"chat-0 {ENGINES[engine]}"
    status = host_status("gpu-01", parse_activity(answer(TWO.splitlines()[0], said, said)))
    assert shown(status) == [["gpu-01", "chat", *row]]
    assert status.is_well


def test_an_engine_that_was_started_again_has_no_rate() -> None:
    first, second = metrics("chat-0", generated=(100,)), metrics("chat-0", running=(0,), generated=(3,))
    status = host_status("gpu-01", parse_activity(answer(TWO.splitlines()[0], first, second)))
    assert shown(status) == [["gpu-01", "chat", "1/1", "0", "-", "-", "-", "-", "-"]]


def test_what_is_wrong_is_named_replica_by_replica() -> None:
    containers = f"{TWO}\nchat-2 chat exited 8002 /health\nembed-0 embed running 8003 /health 172.31.213.13"
    said = "\n".join(metrics(name, running=(1,)) for name in ("chat-0", "embed-0"))
    found = parse_activity(answer(containers, said, said + "\nchat-1", {"172.31.213.10:8000": HOLD}))
    status = host_status("gpu-01", found)
    assert [(one.model, one.serving, one.replicas, one.wrong) for one in status.models] == [
        (
            "chat",
            0,
            3,
            ("chat-0 gets no requests: it did not answer for 60 s", "chat-1 does not answer", "chat-2 is exited"),
        ),
        ("embed", 1, 1, ()),
    ]
    assert not status.is_well


def test_a_file_that_has_rotted_on_the_disk_is_said_with_its_model() -> None:
    lines = answer(TWO, metrics("chat-0"), metrics("chat-0"))
    mark = "2026-11-29T01:00:00Z\thas sha256 0, expected 1\t/srv/models/chat/bf16/0/model.safetensors"
    status = host_status("gpu-01", parse_activity([*lines, "@@ingot-begin damage", mark, "@@ingot-end damage 0"]))
    (model,) = status.models
    assert "model.safetensors has sha256 0 on the disk; deploy again" in model.wrong and not status.is_well


def test_a_host_without_an_answer_is_a_row_and_a_sentence() -> None:
    gone = host_status("gpu-02", IngotError("gpu-02: no route to host."))
    no_docker = host_status("gpu-03", parse_activity(answer("", "", "", docker=1)))
    empty = host_status("gpu-04", parse_activity(answer("", "", "")))
    assert [row[-2:] for row in shown(gone, no_docker, empty)] == [
        ["no", "answer"],
        ["no", "answer"],
        ["serves", "nothing"],
    ]
    assert str(no_docker.error).startswith("gpu-03: Docker does not answer; ")
    assert empty.is_well and not gone.is_well and not no_docker.is_well


def test_an_answer_that_was_cut_off_is_none() -> None:
    whole = answer(TWO, "", "")
    assert parse_activity(whole[:5]) == Activity() == parse_activity([])


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_shows_each_look_and_ends_with_the_keyboard(terminal: bool) -> None:
    gone = HostStatus("gpu-02", error=IngotError("gpu-02: [/gone]."))
    looks = iter([([HostStatus("gpu-01")], ()), ([gone], ("watch-1: no SSH.",))])
    waits = iter([None, KeyboardInterrupt()])
    console = Console(force_terminal=terminal, width=100, markup=False)

    def wait() -> None:
        if isinstance(end := next(waits), KeyboardInterrupt):
            raise end

    with console.capture() as out:
        watch_fleet(lambda: next(looks), console, wait)
    assert "gpu-01" in out.get() and "ingot: gpu-02: [/gone]." in out.get()
    assert "ingot: watch-1: no SSH." in out.get(), "no alerts are known: that is not the same as none"
