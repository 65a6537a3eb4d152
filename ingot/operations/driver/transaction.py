"""The driver's packages changed as one transaction: as decided, or as they were before."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Generator
from importlib.resources import files
from typing import Literal

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.facts.driver import READERS
from ingot.facts.pool import Pool, PoolState
from ingot.operations import detached, packages
from ingot.operations.gateway import drain as pool_drain
from ingot.operations.packages import PackagesPlan
from ingot.settings import of_host

#: What runs on the host, and what it reads beside itself: one step of the transaction per file.
RUN = (files(__package__) / "transaction.sh").read_text()
_FILES = ("shared.sh", "daemons.sh", "remember.sh", "drain.sh", "build.sh", "restore.sh", "undo.sh")
STEPS = {name: (files(__package__) / name).read_text() for name in _FILES}
#: What the host was before the transaction that is open; there only while the new driver is not proven.
BEFORE = "/var/lib/ingot/driver-before"
#: The unit is that of every package operation: one that lost its connection is waited for, not met half-way.
UNIT = "ingot-packages"
LOCK_TIMEOUT_S = 300
_NOTHING = PackagesPlan((), ())


def commands(
    change: PackagesPlan, *, mode: Literal["begin", "continue", "undo"], drain: bool = False, remedy: str = ""
) -> Generator[PyinfraCommand, None, None]:
    """The plan's steps, undone as a whole when one fails: `yield from transaction.commands(…)`.

    `mode` begins a transaction, continues the one that may be open, or ends it with the host as it was before.
    `drain` takes the engine's replicas out of the gateway's pool and stops them first; an undo starts them and puts
    them back, else the engine role does.
    """
    members: dict[str, str | bytes] = {**packages.members(change, host.name, LOCK_TIMEOUT_S), **STEPS}
    members |= {"packages.sh": packages.RUN, "mode": mode, "remedy": remedy, "readers": "\n".join(READERS) + "\n"}
    if drain:
        members |= {"drain": "", "pool": _pool_as_it_is()}
        yield from pool_drain.drain(None, of_host(host).engine_stop_grace_s)
    yield from detached.commands(UNIT, RUN, members, packages.LIMIT_S)


def drain() -> Generator[PyinfraCommand, None, None]:
    """Take the engine's replicas out of the pool and stop them, as a part of the open transaction."""
    yield from commands(_NOTHING, mode="continue", drain=True)


def undo(why: str) -> Generator[PyinfraCommand, None, None]:
    """Bring the driver back that served before; fails the host with `why` and with what is now."""
    yield from commands(_NOTHING, mode="undo", remedy=why)


def with_daemons(script: str) -> str:
    """A shell command that may call `remember_daemons`, `stop_daemons` and `start_daemons`."""
    return f"readers={shlex.quote(chr(10).join(READERS))}\n{STEPS['daemons.sh']}\n{script}"


def _pool_as_it_is() -> str:
    """A script that gives the gateway back the pool of now; empty where there is no gateway."""
    found: PoolState = host.get_fact(Pool)
    if not found.has_gateway or not found.upstreams:
        return ""
    lines = [
        f"base64 -d >{file.path}.new <<'END' && mv -fT {file.path}.new {file.path}\n"
        f"{base64.encodebytes(file.bytes).decode()}END\n"
        for file in pool_drain.pool_files(found, found.upstreams)
    ]
    return "".join(lines) + pool_drain.RELOAD + "\n"
