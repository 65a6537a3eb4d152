"""A deploy that is killed at any of its side effects hurts nobody, and the next one heals what it left.

`make kill-sweep` runs it, more than an hour long: no part of the suite. `KILLS` says at how many of the points to kill;
which ones, and in which order, is drawn by `SEED`, which is printed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.rollout import A, B, Fleet, fleet_of_test_hosts
from benchmarks.steady_load import row
from tests.e2e.deploying import Run, deploy
from tests.rollout import killing

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(7200)]

KILLS = os.environ.get("KILLS", "all")
SEED = int(os.environ.get("SEED") or random.randrange(10**6))
#: What the run changes: files of three roles, two replicas, nginx. Each run goes from one of these to the other.
VALUES = [
    {"engine_extra_args": ["--seed", str(number)], "gateway_max_body": f"{7 + number}m", "docker_log_max_files": number}
    for number in (2, 3)
]


@dataclass
class Swept:
    """The fleet, the inventory of each set of values, and what a whole run leaves on the host."""

    fleet: Fleet
    inventories: list[Path]
    left: list[dict[str, str]]
    effects: tuple[str, ...]

    def deploy(self, to: int) -> Run:
        return deploy(A, inventory=str(self.inventories[to]))

    def dies(self, to: int, point: int) -> killing.Killed:
        """A run that dies at a point."""
        return killing.killed(self.inventories[to], A, point, self.fleet.work)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    with fleet_of_test_hosts(tmp_path_factory.mktemp("swept"), (A, B)) as fleet:
        made = Swept(fleet, [], [{}, {}], ())
        for number, values in enumerate(VALUES):
            fleet.values.update(values)
            made.inventories.append(fleet.inventory(f"values-{number}.py"))
        for number in (0, 1, 0):
            whole = made.dies(number, -1)
            assert whole.status == 0, whole.output[-6000:]
            made.left[number], made.effects = killing.digests(fleet.hosts[A]), whole.effects
        yield made


def points(count: int) -> list[int]:
    """At which points to die: before and under each effect, or as many of these as are asked for."""
    most = 2 * count
    wanted = most if KILLS == "all" else min(int(KILLS), most)
    print(f"{count} side effects, {wanted} of {most} points, SEED={SEED}", flush=True)
    return random.Random(SEED).sample(range(most), wanted)


def test_a_run_killed_at_any_side_effect_hurts_nobody_and_is_healed(swept: Swept) -> None:
    fleet, host, to = swept.fleet, swept.fleet.hosts[A], 1
    key, other = fleet.key_file.read_text(), fleet.hosts[B]
    wrong: list[str] = []
    with fleet.callers((A,), rate=6) as record:
        for point in points(len(swept.effects)):
            old, new, began, beside = swept.left[1 - to], swept.left[to], time.time(), other.succeeds(killing.UNTOUCHED)
            died = swept.dies(to, point)
            effects, output = died.effects, died.output
            where = f"point {point} ({'under' if point % 2 else 'before'} {effects[-1] if effects else 'the first'})"

            def expect(holds: bool, what: str, where: str = where) -> None:
                if not holds:
                    wrong.append(f"{where}: {what}")
                    print(f"  {what}", flush=True)

            expect(died.status == -signal.SIGKILL, f"it ended with {died.status}, not killed: {output[-1500:]}")
            # No torn file: what rests is old or new, what moves is whole for its reader; and the lock frees itself.
            now, harm = killing.left(host)
            expect(not harm, f"a reader refuses what lies there, or the lock is held a minute later: {harm}")
            damaged = killing.torn(old, now, new)
            expect(not damaged, f"neither old nor new: {damaged}")
            # The next run says what happened, and heals; the third has nothing to do.
            healed = swept.deploy(to)
            expect(healed.status == 0, f"the next run failed: {healed.output[-3000:]}")
            expect(not re.search("Traceback|fault of Ingot", output + healed.output), "a traceback")
            expect("was cut off" in healed.output or not effects, "the next run does not say what was cut off")
            after = killing.digests(host)
            left = sorted(path for path in {*after, *new} if killing.rests(path) and after.get(path) != new.get(path))
            expect(not left, f"not healed: {left}")
            expect(host.run("ls -d /run/ingot/stage.*")[0] != 0, "a stage is left behind")
            third = swept.deploy(to)
            expect(third.status == 0 and third.changed(A) == [], f"the third run changed {third.changed(A)}")
            # No secret, and nobody else was touched.
            expect(key not in output + healed.output + third.output, "a key was shown")
            expect(not killing.tells(host, key), "a key lies on the host")
            expect(other.succeeds(killing.UNTOUCHED) == beside, "the other host was changed")
            callers = row(str(point), record, began, time.time(), 0)
            expect(not callers.failed, f"{callers.failed} of {callers.sent} requests failed: {set(callers.wrong)}")
            print(f"{where}: {callers.sent} requests, {time.time() - began:.0f} s, {len(wrong)} wrong", flush=True)
            to = 1 - to
    assert not wrong, "\n".join(wrong)
