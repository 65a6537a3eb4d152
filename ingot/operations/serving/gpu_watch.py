"""The timer by which a host keeps replicas on failed GPUs out of its gateway's pool."""

from __future__ import annotations

import json
from importlib.resources import files

from ingot.engines.vllm import HOST_LIBRARY
from ingot.facts.engine import STATE
from ingot.facts.gateway import ENGINES, FLEET
from ingot.facts.gpu_holds import HOLDS_FILE
from ingot.facts.xid import CATALOG, RECOVERY_ACTIONS
from ingot.operations import tree
from ingot.operations.render import template
from ingot.operations.serving.stored import LAST_GOOD
from ingot.operations.units import Unit

SCRIPT = f"{HOST_LIBRARY}/gpu_watch.py"
SETTINGS = "/etc/ingot/engine/gpu-watch.json"
SERVICE = "/etc/systemd/system/ingot-gpu-watch.service"
TIMER = "/etc/systemd/system/ingot-gpu-watch.timer"
#: A GPU that fails serves for at most this long, seconds.
EVERY_S = 30


def entries(fleet_port: int) -> list[tree.Entry]:
    """Script, settings and units; `fleet_port` is the first port that fleet gateways reach."""
    return [
        tree.File(SCRIPT, (files("ingot.engines") / "gpu_watch.py").read_text()),
        tree.File(SETTINGS, json.dumps(settings(fleet_port), indent=1, sort_keys=True) + "\n"),
        tree.File(SERVICE, template("engine/ingot-gpu-watch.service", script=SCRIPT, settings=SETTINGS)),
        tree.File(TIMER, template("engine/ingot-gpu-watch.timer", seconds=EVERY_S)),
    ]


def settings(fleet_port: int) -> dict[str, object]:
    """What the script is told: where things are, and what NVIDIA calls fatal."""
    return {
        "services": f"{STATE}/{LAST_GOOD}",
        "upstreams": f"{STATE}/upstreams.json",
        "engines": ENGINES,
        "fleet": FLEET,
        "fleet_port": fleet_port,
        "holds": HOLDS_FILE,
        "fatal_xids": sorted(number for number, (_, action) in CATALOG.items() if action.is_fatal),
        "fatal_actions": sorted(words for words, action in RECOVERY_ACTIONS.items() if action.is_fatal),
    }


def unit() -> Unit:
    """The timer, running from now and after every boot."""
    return Unit("ingot-gpu-watch.timer", restart_on=(TIMER,))
