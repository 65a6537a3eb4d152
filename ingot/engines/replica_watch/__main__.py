"""One look at every replica of this host."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.engines.replica_watch import calls, files, gpus, marks, pool, replicas
from ingot.engines.replica_watch.holds import wanted_holds
from ingot.engines.replica_watch.replicas import Memory
from ingot.engines.replica_watch.settings import Replica, Settings, proven_replicas

#: For how long the list of engines and nginx' pool must have stood unchanged, seconds.
SETTLED_S = 0.5


def main(file: str) -> int:
    """One look; returns the exit status."""
    settings = Settings(**json.loads(Path(file).read_text()))
    holds_file = Path(settings.holds)
    now = files.stored(holds_file, {})
    upstreams = marks.cleared(settings, files.stored(Path(settings.upstreams), []), time.time())
    replaced = {address for one in upstreams for address in one.get("draining", ())}
    # A rollout looks after what it replaces.
    watched = [one for one in proven_replicas(Path(settings.services)) if one.address not in replaced]
    kept = {address: hold for address, hold in now.items() if address in replaced}
    on_gpus = any(replica.gpus for replica in watched)
    found = gpus.look(settings, watched) if on_gpus else ({}, {})
    if found is None:
        print("<4>nvidia-smi tells nothing: what is in the pool for its GPU stays as it is")
    troubles = look_after(settings, watched, now)
    holds = kept | wanted_holds(watched, found and found[0], found[1] if found else {}, troubles, now)
    for address, hold in holds.items():
        if address not in now:
            print(f"<3>{address} is taken out of the pool: {'GPU ' * bool(hold['gpu'])}{hold['gpu']}: {hold['why']}")
    for address in now:
        if address not in holds:
            print(f"<5>{address} is back in the pool")
    # A hold is written before nginx is told of it, and goes only after: without one, nginx keeps nothing out.
    both = now | holds
    if both != now:
        files.replace(holds_file, json.dumps(both, indent=1, sort_keys=True) + "\n")
    tell(settings, holds)
    if holds != both:
        files.replace(holds_file, json.dumps(holds, indent=1, sort_keys=True) + "\n")
    return 0 if found is not None else 1


def look_after(settings: Settings, watched: Sequence[Replica], now: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with replicas, by address; those that hang are started again, those that only crash are stopped."""
    moment = time.time()
    memory_file = Path(settings.memory)
    stored = files.stored(memory_file, {})
    remembered = {name: Memory.of(one) for name, one in stored.items()} if isinstance(stored, dict) else {}
    seen = replicas.look(watched, settings, remembered, now, moment)
    if seen is None:
        print("<4>Docker tells nothing: what is in the pool for its engine stays as it is")
        return {one.address: now[one.address]["why"] for one in watched if not now.get(one.address, {"gpu": 1})["gpu"]}
    troubles, memories = {}, {}
    for one in watched:
        verdict = replicas.judge(one, seen[one.name], remembered.get(one.name, Memory()), one.address in now, moment)
        memories[one.name] = vars(verdict.memory)
        if verdict.why:
            troubles[one.address] = verdict.why
        if verdict.action:
            print(f"<3>{one.name}: {verdict.why}")
            calls.run("docker", verdict.action, "--time", "10", f"{settings.project}-{one.name}", limit_s=60)
    files.replace(memory_file, json.dumps(memories, sort_keys=True) + "\n")
    return troubles


def tell(settings: Settings, holds: Mapping[str, Any]) -> None:
    """Have nginx' pool be without what is held out.

    The list of engines is read now: a run may have taken one out of the pool since this look began.
    """
    list_file, engines, fleet = Path(settings.upstreams), Path(settings.engines), Path(settings.fleet)
    if not engines.exists():
        return
    upstreams, before = files.stored(list_file, []), engines.read_text()
    if not pool.is_of(before, upstreams):
        # The gateway's role has not come to what the engine's role wrote last.
        return
    text, usable = pool.pool_text(before, upstreams, holds)
    ports = pool.fleet_text(fleet.read_text(), usable, settings.fleet_port) if fleet.exists() else None
    if text == before and (ports is None or ports == fleet.read_text()):
        return
    # A run writes one file after the other: what they say must have stood for a moment. Else the next look sees to it.
    time.sleep(SETTLED_S)
    if engines.read_text() == before and files.stored(list_file, []) == upstreams:
        pool.tell_nginx({engines: text, **({fleet: ports} if ports is not None else {})})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
