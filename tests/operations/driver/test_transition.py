"""The way from one driver to another: its steps in order, and one way back wherever it fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host

from ingot.compat import Flavour
from ingot.compat.machine import DriverRequest
from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.facts.errors import Unread
from ingot.facts.nvidia import GpuReport
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.smi_query import QueryRow
from ingot.facts.units import Units
from ingot.operations.driver import transition
from ingot.operations.driver.transition import Transition
from tests.operations.driver.test_driver import GOOD, decision, packages
from tests.settings.values import DEFAULTS, Data

pytestmark = pytest.mark.driver

NEWER = DriverRequest(version="580.173.02")
OLD = replace(
    GOOD,
    running="580.159.03",
    on_disk="580.159.03",
    library="580.159.03",
    packages=packages("580.159.03") | packages("580.159.03", "nvidia-fabricmanager", "libnvidia-nscq"),
)
INSTALLED = replace(GOOD, packages=packages() | packages("580.173.02", "nvidia-fabricmanager", "libnvidia-nscq"))


def look(state: DriverState, fault: Fault | None = None, fabric: str = "Completed") -> DriverLook:
    rows = tuple(
        QueryRow(index=index, uuid=f"GPU-{index}", persistence=True, fabric_state=fabric)
        for index in range(len(state.bus.gpus))
    )
    return DriverLook(state, GpuReport((), rows, GpuFault(fault) if fault else None))


@dataclass
class Steps:
    """What a run does, in words; `looks` are the host's answers one after another, the last one again and again."""

    looks: list[DriverLook | Unread]
    changes: bool = True
    trouble: str | None = None
    dead: tuple[str, ...] = ()
    users_ok: bool = False
    done: list[str] = field(default_factory=list)

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        if fact is Driver:
            return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        assert fact is Units
        return {name: SimpleNamespace(active=name not in self.dead) for name in arguments["watched"]}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def step(words: str, result: Any = None) -> Generator[str, None, Any]:
        yield words
        return result

    def given(begin: DriverLook, steps: Steps, request: DriverRequest = NEWER) -> list[str]:
        def install(*_: Any, mode: str) -> Generator[str, None, bool]:
            return step(f"install {mode}", steps.changes)

        monkeypatch.setattr(transition.installation, "sources", lambda _: ())
        monkeypatch.setattr(transition.installation, "install", install)
        monkeypatch.setattr(transition.activation, "activate", lambda _: step("activate", steps.trouble))
        monkeypatch.setattr(transition.transaction, "undo", lambda why: step(f"undo: {why}"))
        monkeypatch.setattr(
            transition.tree.tree, "_inner", lambda entries: step("write" if entries else "write nothing")
        )
        monkeypatch.setattr(transition.units.units, "_inner", lambda *_: iter(("units",)))
        monkeypatch.setattr(transition, "refuse", lambda sentence: f"refuse: {sentence}")
        host = SimpleNamespace(
            name="gpu-01",
            get_fact=steps.get_fact,
            data=Data(**{**DEFAULTS, "driver_disrupt": steps.users_ok}),
            groups=["gpu"],
            print_prefix="",
            connector_data={},
        )
        with ctx_host.use(host):
            for command in Transition(decision(begin.state, request), begin).take():
                words = str(command)
                steps.done.append("start again" if "start_daemons; true" in words else words.split("\n")[0].strip())
        return steps.done

    yield given


def test_a_driver_as_decided_is_looked_at_and_nothing_else(run: Any) -> None:
    begin = look(INSTALLED)
    assert run(begin, Steps([begin], changes=False)) == ["write", "install begin", "units"]


def test_a_change_goes_through_its_steps_in_order(run: Any) -> None:
    done = run(look(OLD), Steps([look(replace(OLD, on_disk="580.173.02")), look(INSTALLED)]))
    assert done == ["write", "install begin", "write", "install continue", "activate", "( units", "write"]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (Steps([look(replace(INSTALLED, on_disk=None))]), "the NVIDIA module is not built for kernel"),
        (Steps([look(INSTALLED)], trouble="python3 (pid 1) uses the GPUs"), "python3 (pid 1) uses the GPUs"),
        (
            Steps([look(INSTALLED), look(replace(INSTALLED, running="580.159.03"))]),
            "driver 580.173.02 is installed and does not run",
        ),
        (
            Steps([look(INSTALLED), look(replace(INSTALLED, running_flavour=Flavour.PROPRIETARY))]),
            "driver 580.173.02 is installed and does not run",
        ),
        (
            Steps([look(INSTALLED)], dead=("nvidia-fabricmanager.service",)),
            "nvidia-fabricmanager.service does not start with driver 580.173.02",
        ),
        (Steps([look(INSTALLED), look(INSTALLED, Fault.LOST)]), "a GPU is lost"),
        (Steps([look(INSTALLED), look(INSTALLED, fabric="In Progress")]), "the NVLink fabric of GPU 0 is In Progress"),
    ],
    ids=["not built", "held", "not loaded", "another flavour", "a daemon", "a GPU", "the fabric"],
)
def test_whatever_fails_the_driver_that_served_comes_back_and_the_host_fails_once(
    run: Any, steps: Steps, why: str
) -> None:
    done = run(look(OLD), steps)
    assert done[-1].startswith(f"undo: {why}")
    assert sum(one.startswith(("undo", "refuse")) for one in done) == 1


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (look(replace(OLD, running=None, on_disk=None, packages={})), "a GPU is lost"),
        (look(OLD, Fault.LOST), "a GPU is lost"),
        (look(INSTALLED), "a GPU is lost"),
    ],
    ids=["nothing ran before", "it did not serve before", "no package was changed"],
)
def test_without_a_driver_to_go_back_to_the_new_one_stays_and_the_host_fails(
    run: Any, begin: DriverLook, says: str
) -> None:
    done = run(begin, Steps([look(INSTALLED, Fault.LOST)]))
    assert done[-1].startswith(f"refuse: gpu-01: {says}")
    assert not any(one.startswith("undo") for one in done)


def test_a_host_that_does_not_answer_in_the_middle_is_not_undone(run: Any) -> None:
    done = run(look(OLD), Steps([Unread("the host did not answer.")]))
    assert done[-1].startswith("refuse: gpu-01: the host did not answer")
    assert not any(one.startswith("undo") for one in done)


def test_nothing_is_touched_while_a_program_uses_the_gpus(run: Any) -> None:
    used = replace(OLD, users=("python3 (pid 7)",))
    assert run(look(used), Steps([look(INSTALLED)])) == [
        "refuse: gpu-01: the driver would change while python3 (pid 7) use the GPUs, expected nobody; stop them, or "
        "set driver_disrupt to true for this run."
    ]
    assert run(look(used), Steps([look(INSTALLED)], users_ok=True))[0] == "write"
    only_read = replace(OLD, readers=("nv-hostengine (pid 8)",))
    assert run(look(only_read), Steps([look(INSTALLED)]))[0] == "write"


def test_what_was_stopped_runs_again_before_the_gpus_are_judged(run: Any) -> None:
    stopped = replace(INSTALLED, stopped=("unit nvidia-dcgm.service",))
    done = run(look(OLD), Steps([look(INSTALLED), look(stopped)]))
    assert done == ["write", "install begin", "write", "activate", "( units", "start again", "write"]
    # One that a killed run left is started by the next, which changes nothing else.
    again = run(look(stopped), Steps([look(stopped)], changes=False))
    assert again == ["write", "install begin", "units", "start again"]
