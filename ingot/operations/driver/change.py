"""The driver's packages changed as one transaction: as decided, or as they were before."""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from dataclasses import replace
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.compat import Decision
from ingot.compat import Source as Origin
from ingot.facts.packages import Apt, AptLook
from ingot.facts.pool import Pool, PoolState
from ingot.operations import changes, detached, packages
from ingot.operations.gateway import drain as pool_drain
from ingot.operations.packages import Extension, PackagesPlan, Pin, Source

RUN = (files(__package__) / "change.sh").read_text()
#: What the host was before the transaction that is open; there only while the new driver is not proven.
BEFORE = "/var/lib/ingot/driver-before"
#: The unit is that of every package operation: one that lost its connection is waited for, not met half-way.
UNIT = "ingot-packages"
LOCK_TIMEOUT_S = 300


def plan(
    look: AptLook,
    pin: str | None,
    names: Sequence[str],
    sources: Sequence[Source | Extension],
    pins: Sequence[Pin],
    holds: Sequence[str],
    rivals: Sequence[str],
    along: Sequence[str] = (),
    yields: Sequence[str] = (),
) -> PackagesPlan:
    """The steps in their order: the branch's pin first, or apt would resolve dependencies to the newest branch.

    `along` and `yields` are those of `packages.compare`.
    """
    old_pins = tuple(name for name in rivals if "-pinning-" in name)
    others = tuple(name for name in rivals if name not in old_pins)
    lines: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    if pin and pin not in look.installed:
        first = packages.compare(look, (pin,), sources, pins, absent=old_pins)
        lines, sentences = first.lines, first.sentences
        look, sources, pins = replace(look, broken=()), (), ()
    else:
        others = tuple(rivals)
    rest = packages.compare(look, names, sources, pins, holds, others, along=along, yields=yields)
    return PackagesPlan((*lines, *rest.lines), (*sentences, *rest.sentences))


def remedy(decision: Decision, kernel: str) -> str:
    """What to do when the module of a decision does not build."""
    if decision.source is Origin.UBUNTU:
        return "see whether Ubuntu's archive carries these packages for the host's kernel (`apt-cache policy`)"
    if decision.source is Origin.DEBIAN:
        return (
            "set driver_source to nvidia and driver_branch to one of NVIDIA's, which follow new kernels, "
            "or boot an older kernel and remove this one"
        )
    now = f"another than {decision.version}" if decision.version else "one whose release notes name this kernel"
    return (
        f"set driver_version to {now}, or driver_branch to a newer branch, or boot an older kernel and remove this one "
        f"({kernel} runs now)"
    )


def commands(
    change: PackagesPlan, *, mode: str, drain: bool = False, remedy: str = ""
) -> Generator[PyinfraCommand, None, None]:
    """The plan's steps, undone as a whole when one fails: `yield from driver_change.commands(…)`.

    `mode` is `begin` for a new transaction, `go-on` for one that may be open, `undo` to end it as it began.
    `drain` takes the engine's replicas out of the gateway's pool and stops them first; an undo starts them and puts
    them back, else the engine role does.
    """
    members = packages.members(change, host.name, LOCK_TIMEOUT_S)
    members |= {"packages.sh": packages.RUN, "mode": mode, "remedy": remedy}
    if drain:
        members |= {"drain": "", "pool": _pool_as_it_is()}
        yield from pool_drain.drain(None, host.data.engine_stop_grace_s)
    yield from detached.commands(UNIT, RUN, members, packages.LIMIT_S)


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


def apt_look(names: Sequence[str], sources: Sequence[Source | Extension], pins: Sequence[Pin]) -> AptLook:
    """What apt and dpkg say now of these packages, sources and pins."""
    look: AptLook = host.get_fact(
        Apt,
        names=list(dict.fromkeys(name.partition("=")[0] for name in names)),
        files=[source.path for source in sources] + [pin.path for pin in pins],
        keyrings=[source.keyring for source in sources if isinstance(source, Source)],
    )
    return look


def announce(change: PackagesPlan, drain: bool, build: Sequence[str]) -> None:
    """Say what will happen, in its order."""
    changes.announce(["stop the engine's replicas until the engine role starts them again"] if drain else ())
    changes.announce(change.sentences)
    changes.announce(f"build the NVIDIA module for kernel {kernel}" for kernel in build)
