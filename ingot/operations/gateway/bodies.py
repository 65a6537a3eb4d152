"""The place for request bodies: memory with a size of its own, so that no number of callers fills what systemd uses."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.facts.gateway import BODIES
from ingot.operations import changes, render, tree

#: Has nginx mount it whenever it starts.
UNIT = "/etc/systemd/system/nginx.service.d/ingot-bodies.conf"


def entries(room_bytes: int) -> list[tree.Entry]:
    """The drop-in of nginx' unit."""
    text = render.template("gateway/nginx.service.d/ingot-bodies.conf", command=_mount(room_bytes))
    return [tree.Dir(UNIT.rpartition("/")[0]), tree.File(UNIT, text)]


def mount(found_bytes: int | None, room_bytes: int) -> Generator[PyinfraCommand, None, None]:
    """Have the place now, in this size: before nginx looks at a configuration that names it."""
    if found_bytes != room_bytes:
        changes.announce([f"give request bodies a place of {room_bytes} bytes in memory"])
        yield StringCommand(f"sh -c {shlex.quote(_mount(room_bytes))}")


def _mount(room_bytes: int) -> str:
    """A shell command that mounts it, or gives it another size; what lies in it stays."""
    return (
        f"mkdir -p {BODIES} && if mountpoint -q {BODIES}; then mount -o remount,size={room_bytes} {BODIES}; else "
        f"mount -t tmpfs -o size={room_bytes},mode=0700,nosuid,nodev,noexec ingot-request-bodies {BODIES} && "
        f"chown www-data: {BODIES}; fi"
    )
