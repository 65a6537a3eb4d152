"""The timer by which a host keeps replicas that failed, or whose GPU did, out of its gateway's pool."""

from __future__ import annotations

import json
from importlib.resources import files

from ingot.engines.vllm import HOST_LIBRARY
from ingot.facts.engine import PROJECT, STATE
from ingot.facts.gateway import ENGINES, FLEET
from ingot.facts.probe import KINDS, question
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.facts.xid import CATALOG, RECOVERY_ACTIONS
from ingot.operations import detached, tree
from ingot.operations.render import template
from ingot.operations.serving.stored import LAST_GOOD
from ingot.operations.units import Unit

PACKAGE = "ingot.engines.replica_watch"
SETTINGS = "/etc/ingot/engine/replica-watch.json"
SERVICE = "/etc/systemd/system/ingot-replica-watch.service"
TIMER = "/etc/systemd/system/ingot-replica-watch.timer"
UNITS = (SERVICE, TIMER)
#: Looks again now: a replica that was just proven need not wait for the timer.
LOOK = "systemctl start ingot-replica-watch.service || true"
#: What fails serves for at most this long, and what is well again waits for its requests no longer, seconds.
EVERY_S = 10
#: A run may find its host again for this long, and a little more, seconds: until then its marks are its own.
MARKS_S = detached.RECONNECT_S + 20


def entries(fleet_port: int) -> list[tree.Entry]:
    """Program, settings and units; `fleet_port` is the first port that fleet gateways reach."""
    program = sorted(
        (file for file in files(PACKAGE).iterdir() if file.name.endswith(".py")), key=lambda file: file.name
    )
    parts = PACKAGE.split(".")
    directories = [f"{HOST_LIBRARY}/{'/'.join(parts[: place + 1])}" for place in range(len(parts))]
    return [
        *(tree.Dir(directory) for directory in directories),
        *(tree.File(f"{directories[-1]}/{file.name}", file.read_text()) for file in program),
        tree.File(SETTINGS, json.dumps(settings(fleet_port), indent=1, sort_keys=True) + "\n"),
        tree.File(SERVICE, template("engine/ingot-replica-watch.service", library=HOST_LIBRARY, settings=SETTINGS)),
        tree.File(TIMER, template("engine/ingot-replica-watch.timer", seconds=EVERY_S)),
    ]


def settings(fleet_port: int) -> dict[str, object]:
    """What the watch is told: where things are, what each kind of engine is asked, and what NVIDIA calls fatal."""
    return {
        "services": f"{STATE}/{LAST_GOOD}",
        "upstreams": f"{STATE}/upstreams.json",
        "engines": ENGINES,
        "fleet": FLEET,
        "fleet_port": fleet_port,
        "holds": HOLDS_FILE,
        "memory": f"{STATE}/replica-watch.json",
        "project": PROJECT,
        "questions": {kind: question(kind) for kind in KINDS},
        "fatal_xids": sorted(number for number, (_, action) in CATALOG.items() if action.is_fatal),
        "runs": detached.WORK,
        "audit": f"{detached.LOGS}/changes.jsonl",
        "marks_s": MARKS_S,
        "fatal_actions": sorted(words for words, action in RECOVERY_ACTIONS.items() if action.is_fatal),
    }


def unit() -> Unit:
    """The timer, running from now and after every boot."""
    return Unit("ingot-replica-watch.timer", restart_on=(TIMER,))
