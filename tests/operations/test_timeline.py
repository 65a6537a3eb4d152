"""A first deploy takes as long as its longest chain, not as all of its steps: on a simulated clock.

Simulated are the host, its units and the time. The order is that of deploy.py and its roles, and what begins, joins and
waits is `detached` itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.context import ctx_host, ctx_state

from ingot.operations import detached
from ingot.operations.containers import image
from ingot.operations.weights import models

pytestmark = pytest.mark.speed

ROOT = Path(__file__).parents[2]
DRIVER = "ingot-driver"
#: How long the work of each unit takes, seconds.
WORK_S = {DRIVER: 240.0, image.UNIT: 180.0, models.TRANSFERS: 600.0}
REBOOT_S = 60.0


@dataclass
class Simulated:
    """A host on which time goes on only where somebody waits."""

    now: float = 0.0
    #: Work that is left of each unit, and which of them a reboot does not end.
    left: dict[str, float] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    name: str = "gpu-01"
    print_prefix: str = ""
    current_op_global_arguments: dict[str, Any] = field(default_factory=dict)

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.left = {unit: max(0.0, left - seconds) for unit, left in self.left.items()}

    def reboot(self) -> None:
        """Units do nothing meanwhile; those that nothing begins again are gone."""
        self.now += REBOOT_S
        self.left = {unit: left for unit, left in self.left.items() if unit in self.again}

    def run_shell_command(self, command: StringCommand, **_: Any) -> tuple[bool, Any]:
        text = str(command)
        if begins := re.search(r"^unit=(\S+) .* again=(\S*)$", text, re.MULTILINE):
            unit, again = begins.groups()
            self.left[unit] = WORK_S[unit]
            self.again |= {unit} if again else set()
            return True, SimpleNamespace(stdout="")
        asked = re.search(r"ActiveState (\S+)\.service", text)
        assert asked, text
        unit = asked.group(1)
        if unit not in self.left:
            return True, SimpleNamespace(stdout="gone")
        self.wait(min(self.left[unit], detached.SLICE_S))
        return True, SimpleNamespace(stdout="running" if self.left[unit] else "ended 0")

    def run(self, commands: Generator[Any, None, None]) -> None:
        for command in commands:
            if isinstance(command, FunctionCommand):
                state = SimpleNamespace(print_output=False)
                assert command.function(state, self, *command.args, **command.kwargs)
            else:
                self.run_shell_command(command)


def steps(reboots: bool) -> dict[tuple[str, str], Callable[[Simulated], None]]:
    """What operations of roles do with units; of a first deploy the driver's may reboot."""

    def driver(host: Simulated) -> None:
        host.run(detached.commands(DRIVER, "", {}, 3600))
        if reboots:
            host.reboot()

    def weights(host: Simulated) -> None:
        host.run(detached.joined(models.TRANSFERS, models.LIMIT_S))
        # What did not come by itself is fetched now.
        if models.TRANSFERS not in host.left:
            host.wait(WORK_S[models.TRANSFERS])

    return {
        ("transfers", "operations.transfers"): lambda host: host.run(
            detached.begun(models.TRANSFERS, "", {}, again=True)
        ),
        ("driver", "operations.driver"): driver,
        ("cache", "images.begun"): lambda host: host.run(detached.begun(image.UNIT, "", {})),
        ("cache", "models.cached"): weights,
        ("engine", "images.brought"): lambda host: host.run(detached.joined(image.UNIT, image.LIMIT_S)),
    }


def order() -> Iterator[tuple[str, str]]:
    """The operations of a deploy in their order: (role, call)."""
    for role in calls(ROOT / "deploy.py"):
        for call in calls(ROOT / f"roles/{role}.py"):
            yield role, call


def calls(path: Path) -> list[str]:
    found = [
        one.value
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)
    ]
    return [ast.unparse(one.func) for one in sorted(found, key=lambda one: one.lineno)]


@pytest.mark.parametrize(("reboots", "longest_s"), [(False, 600.0), (True, 600.0 + REBOOT_S)])
def test_a_first_deploy_ends_with_its_longest_chain(
    monkeypatch: pytest.MonkeyPatch, reboots: bool, longest_s: float
) -> None:
    host, table = Simulated(), steps(reboots)
    monkeypatch.setattr(detached, "time", host)
    done = [step for step in order() if step in table]
    with ctx_state.use(SimpleNamespace()), ctx_host.use(host):
        for step in done:
            table[step](host)
    assert set(done) == set(table), "every step is one of deploy.py's roles"
    assert longest_s <= host.now <= 1.05 * longest_s
    assert not any(host.left.values())
