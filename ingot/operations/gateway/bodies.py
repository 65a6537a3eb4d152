"""The place for request bodies: memory with a size of its own, so that no number of callers fills what systemd uses.

And the timer by which a host ends bodies that trickle in: nginx waits for them as long as a byte comes now and then.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.facts.gateway import BODIES
from ingot.operations import changes, render, tree
from ingot.operations.units import Unit

#: Has nginx mount it whenever it starts.
UNIT = "/etc/systemd/system/nginx.service.d/ingot-bodies.conf"

SCRIPT = "/etc/ingot/gateway/slow_bodies.sh"
SERVICE = "/etc/systemd/system/ingot-slow-bodies.service"
TIMER = "/etc/systemd/system/ingot-slow-bodies.timer"
#: A body that comes more slowly than this ends within three looks.
LEAST_BYTES_PER_S = 1024
EVERY_S = 30


def entries(room_bytes: int, ports: Sequence[int]) -> list[tree.Entry]:
    """The drop-in of nginx' unit, and the timer that looks at connections to these ports of the gateway."""
    text = render.template("gateway/nginx.service.d/ingot-bodies.conf", command=_mount(room_bytes), place=BODIES)
    least = LEAST_BYTES_PER_S * EVERY_S
    looks = render.template("gateway/slow_bodies.sh", least_bytes=least, ports=[f"sport = :{port}" for port in ports])
    return [
        tree.Dir(UNIT.rpartition("/")[0]),
        tree.File(UNIT, text),
        tree.Dir(SCRIPT.rpartition("/")[0]),
        tree.File(SCRIPT, looks),
        tree.File(SERVICE, render.template("gateway/ingot-slow-bodies.service", script=SCRIPT)),
        tree.File(TIMER, render.template("gateway/ingot-slow-bodies.timer", seconds=EVERY_S)),
    ]


def timer() -> Unit:
    """The timer, running from now and after every boot."""
    return Unit("ingot-slow-bodies.timer", restart_on=(TIMER,))


def mount(found_bytes: int | None, room_bytes: int) -> Generator[PyinfraCommand, None, None]:
    """Mount the place in this size now: nginx' new configuration names it."""
    if found_bytes != room_bytes:
        changes.announce([f"give request bodies a place of {room_bytes} bytes in memory"])
        yield StringCommand(f"sh -c {shlex.quote(_mount(room_bytes))}")


def _mount(room_bytes: int) -> str:
    """A shell command that mounts the place, or changes its size and keeps what lies in it."""
    return (
        f"mkdir -p {BODIES} && if mountpoint -q {BODIES}; then mount -o remount,size={room_bytes} {BODIES}; else "
        f"mount -t tmpfs -o size={room_bytes},mode=0700,nosuid,nodev,noexec ingot-request-bodies {BODIES} && "
        f"chown www-data: {BODIES}; fi"
    )
