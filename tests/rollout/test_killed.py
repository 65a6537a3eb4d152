"""A deploy that is killed again and again, each time further on, hurts nobody; the last one heals what they all left.

`make kill-sweep` kills at every side effect and lets each next run come to its end. Here the next run is killed too,
before or under the next few side effects, so that a kill costs little more than the start of a run. `KILLS` says how
often, `SEED` (which is printed) draws where.
"""

from __future__ import annotations

import os
import random
import re
import signal

import pytest

from tests.e2e.deploying import deploy
from tests.rollout import killing
from tests.rollout.conftest import Fleet

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED") or random.randrange(10**6))
#: Before and under each of this many of the side effects that are left: some runs get nowhere, some a little further.
STEPS = 2


def test_a_run_that_is_killed_again_and_again_hurts_nobody_and_is_healed(fleet: Fleet) -> None:
    draw, name = random.Random(SEED), "roll-1"
    (host, other), key = fleet.hosts, fleet.key.read_text()
    changed = {"gateway_max_body": "11m", "docker_log_max_files": 3, "engine_extra_args": ["--seed", "9"]}
    values = [fleet.values, {**fleet.values, **changed}]
    beside, to, told, kills = other.succeeds(killing.UNTOUCHED), 1, "", 0
    with fleet.called_without_a_failure(in_all=10_000):
        while kills < KILLS:
            inventory, old, seen = fleet.inventory(**values[to]), killing.digests(host), []
            while kills < KILLS:
                died = killing.killed(inventory, name, draw.randrange(2 * STEPS + 1), fleet.directory)
                assert "was cut off" in died.output or not seen, died.output[-3000:]
                told += died.output
                if died.status == 0:  # Nothing was left to die at.
                    break
                kills += 1
                where = f"kill {kills} of SEED={SEED}, at {died.effects[-1:]}"
                print(f"{where}, {len(died.effects)} side effects", flush=True)
                assert died.status == -signal.SIGKILL, f"{where}: ended with {died.status}: {died.output[-3000:]}"
                now, harm = killing.left(host)
                assert not harm, f"{where}: {harm}"
                seen.append((where, now))
            healed = deploy(name, inventory=str(inventory))
            assert healed.status == 0, healed.output[-6000:]
            new = killing.digests(host)
            damaged = [f"{where}: {names}" for where, now in seen if (names := killing.torn(old, now, new))]
            assert not damaged, damaged
            again = deploy(name, inventory=str(inventory))
            assert again.status == 0 and again.changed(name) == [], again.output[-3000:]
            told, to = told + healed.output + again.output, 1 - to
    assert not re.search("Traceback|fault of Ingot", told) and key not in told
    assert not killing.tells(host, key) and host.run("ls -d /run/ingot/stage.*")[0] != 0
    assert other.succeeds(killing.UNTOUCHED) == beside
