"""Simulated: `ingot-simulated`, the hook by which a test changes the hardware of a running test host.

ingot-simulated set gpus.2.fault '"GPU is lost"'    any value of hardware.json, by its path, as JSON
ingot-simulated get gpus.2.fault
ingot-simulated state                               what the kernel holds now
ingot-simulated boot                                (the boot unit) devices appear, drivers bind
"""

import json
import sys
from typing import Any

from . import kernel, machine


def main(arguments: list[str]) -> int:
    """Run one command of the hook; returns the exit status."""
    match arguments:
        case ["boot"]:
            kernel.boot()
        case ["state"]:
            print(json.dumps(machine.state()))
        case ["get", path]:
            value: Any = machine.hardware()
            for key in path.split("."):
                value = value[int(key) if isinstance(value, list) else key]
            print(json.dumps(value))
        case ["set", path, value]:
            hardware = machine.hardware()
            *parents, last = path.split(".")
            place: Any = hardware
            for key in parents:
                place = place[int(key) if isinstance(place, list) else key]
            place[int(last) if isinstance(place, list) else last] = json.loads(value)
            machine.write_hardware(hardware)
            with machine.changing_state() as state:
                kernel.show(state)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0
