"""The NVIDIA driver: installed as decided, running as installed, and every GPU answering."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import replace

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ingot.compat import Decision, Fabric, Refused, decide
from ingot.compat import Source as Origin
from ingot.errors import IngotError
from ingot.facts.apt_sources import AptSources
from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.facts.errors import Unread
from ingot.facts.units import Units
from ingot.operations import packages, tree, units
from ingot.operations.driver import activation, debian_archive
from ingot.operations.driver import change as driver_change
from ingot.operations.driver.files import PERSISTENCE, evidence, guards, settings
from ingot.operations.driver.request import owners_request
from ingot.operations.driver.state import (
    PREBUILT,
    as_decided,
    fabric_matches,
    is_running_as_installed,
    next_kernel,
    older_modules,
    problem,
    rivals,
    unbuilt,
)
from ingot.operations.package_source import upstream
from ingot.operations.refuse import refuse
from ingot.settings import of_host

#: A fabric manager routes eight GPUs in a few seconds; a node that needs longer has a fault.
FABRIC_TIMEOUT_S = 120
PERSISTENCE_TIMEOUT_S = 10

Sources = tuple[packages.Source | packages.Extension, ...]


@operation()
def driver() -> Generator[PyinfraCommand, None, None]:
    """
    Have the NVIDIA driver that suits the GPUs installed and running, with as few interruptions as it can be.

    Values read from the host: driver_branch, driver_version, driver_flavour, driver_source, driver_console,
    driver_disrupt and sources["nvidia_driver"].

    **Example:**

    .. code:: python

        driver.driver(name="Have the NVIDIA driver run")
    """
    look = host.get_fact(Driver)
    if isinstance(look, Unread):
        yield refuse(look.sentence(host.name))
        return
    try:
        values = of_host(host)
        machine = look.state.machine(values.driver_console, partial=values.gpus_use is not None)
        decision = decide(machine, owners_request(values))
    except (Refused, IngotError) as refusal:
        yield refuse(f"{host.name}: {refusal}.")
        return
    installed = as_decided(decision, look.state)
    if not installed and look.state.users and not host.data.driver_disrupt:
        yield refuse(
            f"{host.name}: the driver would change while {', '.join(look.state.users[:3])} use the GPUs, expected "
            "nobody; stop them, or set driver_disrupt to true for this run."
        )
        return
    settled = installed and is_running_as_installed(look.state) and fabric_matches(decision, look.state)
    sources = _sources(decision)
    # Of a change that fails nothing stays, not even nouveau's absence at the next boot.
    before = (*guards(decision.packages, sources), *(settings() if installed else ()))
    yield from tree.tree._inner(entries=(*before, *evidence(decision, look.state)))
    changed = yield from _install(decision, look.state, sources, begin=True)
    settled = settled and not changed
    if not installed:
        yield from tree.tree._inner(entries=settings())
    use = host.data.gpus_use
    served = None if installed or problem(look, decision, use) else look.state.running
    if not settled:
        yield from _run_installed(decision, sources)
        look = host.get_fact(Driver)
        if served and isinstance(look, DriverLook) and not is_running_as_installed(look.state):
            yield from _go_back(f"driver {look.state.on_disk} is installed and does not run")
            return
    for command in units.units._inner(*_units(decision)):
        # What does not start with a new driver must not end the run here: the old driver comes back first.
        yield StringCommand("(", command, "\n) || true") if served else command
    if served and (dead := _not_running(decision)):
        yield from _go_back(f"{dead} does not start with driver {decision.version or decision.branch}")
        return
    if isinstance(look, DriverLook) and (
        problem(look, decision, use) or not all(row.persistence for row in look.gpus.rows)
    ):
        yield StringCommand(_settle(decision))
        look = host.get_fact(Driver)
    if isinstance(look, Unread):
        yield refuse(look.sentence(host.name))
    elif wrong := problem(look, decision, use):
        yield from _go_back(wrong) if served else (refuse(f"{host.name}: {wrong}."),)
    elif not settled:
        yield from tree.tree._inner(entries=evidence(decision, look.state))


def _not_running(decision: Decision) -> str | None:
    """The first of the driver's daemons that is not active."""
    names = [unit.full_name for unit in _units(decision)]
    found = host.get_fact(Units, watched={name: [[], []] for name in names})
    return next((name for name in names if not ((now := found.get(name)) and now.active)), None)


def _go_back(why: str) -> Generator[PyinfraCommand, None, None]:
    """To the driver that served before this run; fails the host with `why` and what is now."""
    yield from driver_change.commands(packages.PackagesPlan((), ()), mode="undo", remedy=why)


def _sources(decision: Decision) -> Sources:
    """Where the decision's packages come from, as far as the host does not know it."""
    repository = decision.packages.repository
    if repository:
        return (upstream("nvidia", host.data.sources["nvidia_driver"], repository),)
    described = host.get_fact(AptSources) if decision.source is Origin.DEBIAN else ()
    more = None if isinstance(described, Unread) else debian_archive.extension(described)
    return (more,) if more else ()


def _run_installed(decision: Decision, sources: Sources) -> Generator[PyinfraCommand, None, None]:
    """What changed on disk comes to run; looks for itself, since packages were just installed."""
    look = host.get_fact(Driver)
    if isinstance(look, Unread):
        yield refuse(look.sentence(host.name))
        return
    failed = unbuilt(look.state) if decision.packages.headers else ()
    if not next_kernel(look.state) and (look.state.on_disk is None or failed):
        yield refuse(_not_built(look.state, failed))
        return
    if not fabric_matches(decision, look.state):
        yield from _install(decision, look.state, sources, begin=False)
    yield from activation.activate(look.state)


def _install(
    decision: Decision, state: DriverState, sources: Sources, *, begin: bool
) -> Generator[PyinfraCommand, None, bool]:
    """Packages as decided and the module for every kernel, or all as before. Returns: whether it changed any."""
    chosen = decision.packages
    decided = as_decided(decision, state)
    # Known only afterwards where the branch's newest is taken.
    version = decision.version or (state.on_disk if decided else None)
    names = (*chosen.headers, *versioned(decision, chosen.driver))
    names += _companion_names(decision, version) if version else ()
    holds = (*chosen.driver, *chosen.kernels, *(chosen.companions if version else ()))
    gone = rivals(decision, state)
    asked = (*names, *((chosen.pin,) if chosen.pin else ()), *holds, *gone)
    look = driver_change.apt_look(asked, sources, pins(decision))
    prebuilt = tuple(name for name in chosen.driver if name.startswith(PREBUILT)) if chosen.kernels else ()
    if prebuilt and state.on_disk is None and not next_kernel(state):
        # They are there, and for no kernel that could run them: another kernel came by itself.
        look = replace(look, installed={name: now for name, now in look.installed.items() if name not in prebuilt})
    change = driver_change.plan(
        look,
        chosen.pin,
        names,
        sources,
        pins(decision),
        holds,
        gone,
        (*chosen.kernels, *prebuilt),
        older_modules(decision, state),
    )
    # Where DKMS builds them: prebuilt ones are there or not.
    missing = unbuilt(state) if chosen.headers else ()
    if not change.lines and not missing:
        host.noop("the driver's packages are installed as decided")
        return False
    drain = bool(host.data.driver_disrupt) and not decided
    driver_change.announce(change, drain and bool(state.users), missing)
    yield from driver_change.commands(
        change, mode="begin" if begin else "go-on", drain=drain, remedy=driver_change.remedy(decision, state.kernel)
    )
    return True


def versioned(decision: Decision, names: tuple[str, ...]) -> tuple[str, ...]:
    """Packages at the decision's version, or at any version of its branch; prebuilt modules have their kernel's."""
    glob = f"{decision.version}-*" if decision.version else f"{decision.branch}.*"
    return tuple(name if name.startswith(PREBUILT) else f"{name}={glob}" for name in names)


def _companion_names(decision: Decision, version: str) -> tuple[str, ...]:
    """What must equal the driver's upstream version; Debian revisions differ between the two."""
    return (*(f"{name}={version}-*" for name in decision.packages.companions), *decision.packages.tools)


def pins(decision: Decision) -> tuple[packages.Pin, ...]:
    """Keep the driver's packages of another origin out: a module of one with a library of the other does not run."""
    origin = decision.packages.rival_origin
    if origin is None:
        return ()
    return (packages.Pin("nvidia-origin", ("*nvidia*", "libcuda*", "cuda-drivers*"), f"release o={origin}", -1),)


def _not_built(state: DriverState, failed: tuple[str, ...]) -> str:
    kernels = ", ".join(failed) or state.kernel
    said = f" (dkms: {'; '.join(state.dkms_failed)})" if state.dkms_failed else ""
    return (
        f"{host.name}: the NVIDIA module is not built for kernel {kernels}{said}, expected it for every kernel that "
        "can boot; read /var/lib/dkms/nvidia/*/build/make.log there, or remove that kernel."
    )


def _units(decision: Decision) -> tuple[units.Unit, ...]:
    wanted = [units.Unit("nvidia-persistenced", restart_on=(PERSISTENCE,))]
    if decision.fabric in (Fabric.FABRIC_MANAGER, Fabric.FABRIC_MANAGER_NVLINK5):
        wanted.append(units.Unit("nvidia-fabricmanager"))
    return tuple(wanted)


def _settle(decision: Decision) -> str:
    """Wait until daemons that were just started have done their work; judged by the look that follows."""
    if decision.fabric is Fabric.NONE:
        field, waiting, limit_s = "persistence_mode", "Disabled", PERSISTENCE_TIMEOUT_S
    else:
        field, waiting, limit_s = "fabric.state", "Progress|Not Started", FABRIC_TIMEOUT_S
    check = f"nvidia-smi --query-gpu={field} --format=csv,noheader | grep -qE {shlex.quote(waiting)}"
    return f"i=0; while {check} && [ $i -lt {limit_s} ]; do sleep 1; i=$((i + 1)); done; true"
