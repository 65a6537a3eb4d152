"""A deploy that is killed at any of its side effects hurts nobody, and the next one heals what it left.

`make kill-sweep` runs it, more than an hour long: no part of the suite. `KILLS` says at how many of the points to kill;
which ones, and in which order, is drawn by `SEED`, which is printed.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.rollout import A, B, Fleet, fleet_of_test_hosts
from benchmarks.steady_load import row
from tests.e2e.deploying import INGOT, ROOT, Run, deploy

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(7200)]

KILLS = os.environ.get("KILLS", "all")
SEED = int(os.environ.get("SEED") or random.randrange(10**6))
DYING = Path(__file__).parent / "dying_deploy.py"
#: What the run changes: files of three roles, two replicas, nginx. Each run goes from one of these to the other.
VALUES = [
    {"engine_extra_args": ["--seed", str(number)], "gateway_max_body": f"{7 + number}m", "docker_log_max_files": number}
    for number in (2, 3)
]
MANAGED = "/etc/ingot /etc/nginx /etc/docker /etc/systemd/system /etc/logrotate.d /var/lib/ingot"
#: Files that are neither old nor new while replicas are replaced, or that tell of runs: judged by whoever reads them.
MOVING = (
    "/etc/ingot/engine/compose.yaml",
    "/etc/nginx/ingot/engines.conf",
    "/etc/nginx/ingot/fleet.conf",
    "/var/lib/ingot/upstreams.json",
    "/var/lib/ingot/measured.json",
    "/var/lib/ingot/engine/starts.json",
    "/var/lib/ingot/engine/up.log",
    "/var/lib/ingot/replica-",
    "/var/lib/ingot/good/",
)
READERS = (
    "nginx -t -q && docker compose --file /etc/ingot/engine/compose.yaml config --quiet && "
    # That one is empty where there was no file before.
    "find /var/lib/ingot -name '*.json' ! -name docker-before.json -exec "
    "python3 -c 'import json, sys; [json.load(open(path)) for path in sys.argv[1:]]' {} +"
)


@dataclass
class Swept:
    """The fleet, the inventory of each set of values, and what a whole run leaves on the host."""

    fleet: Fleet
    inventories: list[Path]
    left: list[dict[str, str]]
    effects: list[str]

    def digests(self) -> dict[str, str]:
        """Digest of each managed file."""
        lines = self.fleet.hosts[A].succeeds(f"find {MANAGED} -type f -exec sha256sum {{}} +").splitlines()
        return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}

    def deploy(self, to: int) -> Run:
        return deploy(A, inventory=str(self.inventories[to]))

    def dies(self, to: int, point: int) -> tuple[int, str, list[str]]:
        """Status, output and side effects of a run that dies at a point."""
        file = self.fleet.work / "effects"
        file.write_text("")
        command = [sys.executable, str(DYING), str(point), str(file)]
        command += ["-y", str(self.inventories[to]), "deploy.py", "--limit", A]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        return done.returncode, done.stdout + done.stderr, file.read_text().splitlines()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    with fleet_of_test_hosts(tmp_path_factory.mktemp("swept"), (A, B)) as fleet:
        made = Swept(fleet, [], [{}, {}], [])
        for number, values in enumerate(VALUES):
            fleet.values.update(values)
            made.inventories.append(fleet.inventory(f"values-{number}.py"))
        for number in (0, 1, 0):
            status, output, made.effects = made.dies(number, -1)
            assert status == 0, output[-6000:]
            made.left[number] = made.digests()
        yield made


def still(name: str) -> bool:
    return not name.startswith(MOVING)


def points(count: int) -> list[int]:
    """At which points to die: before and under each effect, or as many of these as are asked for."""
    most = 2 * count
    wanted = most if KILLS == "all" else min(int(KILLS), most)
    print(f"{count} side effects, {wanted} of {most} points, SEED={SEED}", flush=True)
    return random.Random(SEED).sample(range(most), wanted)


def test_a_run_killed_at_any_side_effect_hurts_nobody_and_is_healed(swept: Swept) -> None:
    fleet, host, to = swept.fleet, swept.fleet.hosts[A], 1
    key, other = fleet.key_file.read_text(), fleet.hosts[B]
    untouched = "docker ps --no-trunc --quiet; find /etc/ingot /etc/nginx -type f -exec sha256sum {} +"
    wrong: list[str] = []
    with fleet.callers((A,), rate=6) as record:
        for point in points(len(swept.effects)):
            old, new, began, beside = swept.left[1 - to], swept.left[to], time.time(), other.succeeds(untouched)
            status, output, effects = swept.dies(to, point)
            where = f"point {point} ({'under' if point % 2 else 'before'} {effects[-1] if effects else 'the first'})"

            def expect(holds: bool, what: str, where: str = where) -> None:
                if not holds:
                    wrong.append(f"{where}: {what}")
                    print(f"  {what}", flush=True)

            expect(status == -signal.SIGKILL, f"it ended with {status}, not killed: {output[-1500:]}")
            # No torn file: what rests is old or new, what moves is whole for its reader.
            now = {path: digest for path, digest in swept.digests().items() if "/.ingot-" not in path}
            torn = [path for path in now if still(path) and now[path] not in (old.get(path), new.get(path))]
            lost = [path for path in set(old) & set(new) - set(now) if still(path)]
            expect(not torn and not lost, f"neither old nor new: {torn}; gone: {lost}")
            expect(host.run(READERS)[0] == 0, f"its readers refuse what lies there: {host.run(READERS)[1]}")
            # The lock frees itself.
            shown = [INGOT, "lock", "show", A, "--inventory", str(swept.inventories[to]), "--json"]
            end = time.monotonic() + 60
            while json.loads(subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=False).stdout)[
                "hosts"
            ][0]["held"]:
                if time.monotonic() > end:
                    expect(False, "its lock is held a minute later")
                    break
            # The next run says what happened, and heals; the third has nothing to do.
            healed = swept.deploy(to)
            expect(healed.status == 0, f"the next run failed: {healed.output[-3000:]}")
            expect(not re.search("Traceback|fault of Ingot", output + healed.output), "a traceback")
            expect("was cut off" in healed.output or not effects, "the next run does not say what was cut off")
            after = swept.digests()
            left = sorted(path for path in {*after, *new} if still(path) and after.get(path) != new.get(path))
            expect(not left, f"not healed: {left}")
            expect(host.run("ls -d /run/ingot/stage.*")[0] != 0, "a stage is left behind")
            third = swept.deploy(to)
            expect(third.status == 0 and third.changed(A) == [], f"the third run changed {third.changed(A)}")
            # No secret, and nobody else was touched.
            expect(key not in output + healed.output + third.output, "a key was shown")
            hidden = "{ journalctl --no-pager -o cat; cat /var/log/ingot/*.jsonl; cat /proc/[0-9]*/cmdline; }"
            host.put("/run/key", key, mode="0600")
            expect(host.run(f"{hidden} 2>/dev/null | grep -a -q -F -f /run/key")[0] != 0, "a key lies on the host")
            expect(other.succeeds(untouched) == beside, "the other host was changed")
            callers = row(str(point), record, began, time.time(), 0)
            expect(not callers.failed, f"{callers.failed} of {callers.sent} requests failed: {set(callers.wrong)}")
            print(f"{where}: {callers.sent} requests, {time.time() - began:.0f} s, {len(wrong)} wrong", flush=True)
            to = 1 - to
    assert not wrong, "\n".join(wrong)
