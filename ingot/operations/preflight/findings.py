"""Every sentence that keeps a host from being deployed: pure, from one look at it and its values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingot.compat import DriverRequest, Machine, Refused, decide, objections
from ingot.errors import IngotError
from ingot.facts.engine import EngineState
from ingot.facts.host import HostState
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.inventory.expectation import Expectation
from ingot.operations import gpus_use
from ingot.operations.driver.state import headers_missing, is_running_as_installed
from ingot.operations.gpus_on_bus import usable
from ingot.operations.preflight.disk_space import DEPLOYED_ROOT_BYTES, GIB, gib, needed, room
from ingot.operations.preflight.ordered_hardware import differences
from ingot.operations.refuse import Refusal
from ingot.operations.serving import planning
from ingot.sizing import GPU, HostPlan

#: Certificates are made valid one hour back; long before that, logs and keys of hosts disagree about time.
CLOCK_SKEW_S = 60
#: The module's compiler and the engine's start-up need it whatever the model.
MINIMUM_MEMORY_BYTES = int(3.5 * GIB)
#: What nginx takes on a host that only fronts others, request bodies included.
FRONT_MEMORY_BYTES = GIB // 2
#: What may hold the gateway's ports: the gateway itself.
GATEWAY = "nginx"

#: Releases whose own nginx cannot be the gateway's.
WITHOUT_NJS = frozenset({("ubuntu", "22.04")})

#: Faults that the driver role heals by installing, loading or rebooting.
HEALED = frozenset({Fault.NOT_INSTALLED, Fault.NOT_LOADED, Fault.MISMATCH, Fault.LIBRARY})

_DNS_NAME = re.compile(
    r"^(?=.{1,253}$)(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The host's values that decide whether it can be deployed; `fronts`: it only fronts others, without a GPU."""

    name: str
    cache_root: str
    engine_build: str = "cuda"
    engine_version: str = ""
    serve: Sequence[Mapping[str, Any]] = ()
    site_models: Mapping[str, Any] = field(default_factory=dict)
    certificate_names: Sequence[str] = ()
    fronts: bool = False
    console: bool = False
    driver: DriverRequest = field(default_factory=DriverRequest)
    kernel_upgrade: bool = False
    gpus_use: Any = None
    gateway_packages: str | None = None
    expect: Expectation = field(default_factory=Expectation)


def findings(look: HostState, wanted: Wanted) -> tuple[str, ...]:
    """Every sentence (without the host's name and the final stop) that keeps a host from being deployed."""
    if wanted.fronts:
        return (*_system(look, FRONT_MEMORY_BYTES), *room(look, {"/": DEPLOYED_ROOT_BYTES}), *_names(wanted))
    planned, unplannable = _plan(look, wanted)
    return (
        *_system(look, MINIMUM_MEMORY_BYTES),
        *(differences(wanted.expect, look.hardware) if look.hardware else ()),
        *_driver(look, wanted),
        *_gpus(look, wanted),
        *room(look, needed(look, wanted.cache_root, wanted.engine_build, planned)),
        *unplannable,
        *_names(wanted),
        *_nginx(look, wanted),
    )


def _system(look: HostState, memory_bytes: int) -> Iterator[str]:
    if look.uid != 0:
        yield f"commands run as uid {look.uid}, expected root; allow sudo for the inventory's user"
    if not look.has_apt:
        yield "no apt on the host, expected Ubuntu or Debian; reinstall the host with one of these"
    if look.broken_packages:
        yield (
            f"dpkg wants {', '.join(look.broken_packages[:5])} reinstalled, expected a whole package database; "
            f"run `apt-get install --reinstall {look.broken_packages[0]}` on the host"
        )
    if look.memory_bytes < memory_bytes:
        yield (f"{gib(look.memory_bytes)} of memory, expected {gib(memory_bytes)} or more; add memory to the host")
    if abs(look.clock_skew_s) > CLOCK_SKEW_S:
        direction = "ahead of" if look.clock_skew_s > 0 else "behind"
        yield (
            f"the clock is {abs(look.clock_skew_s):.0f} s {direction} the control machine's, expected at most "
            f"{CLOCK_SKEW_S} s; set the time (`timedatectl set-ntp true`) on whichever is wrong"
        )
    strangers = {(one.address.rpartition(":")[2], one.process) for one in look.listeners if one.process != GATEWAY}
    for port, process in sorted(strangers):
        yield f"port {port} is held by {process}, expected it free for the gateway; stop or move that service"


def _driver(look: HostState, wanted: Wanted) -> Iterator[str]:
    for refusal in objections(_machine(look, wanted), wanted.driver):
        yield str(refusal)
    try:
        decision = decide(_machine(look, wanted), wanted.driver)
    except Refused:
        decision = None
    missing = headers_missing(decision, look.driver) if decision and not wanted.kernel_upgrade else None
    if missing:
        yield missing
    if look.driver.runfile:
        yield (
            "a driver from NVIDIA's .run installer, expected packages, which it would break; "
            "run `nvidia-uninstall` on the host and reboot it"
        )


def _machine(look: HostState, wanted: Wanted) -> Machine:
    return look.driver.machine(wanted.console, partial=wanted.gpus_use is not None)


def _gpus(look: HostState, wanted: Wanted) -> Iterator[str]:
    try:
        decision = decide(_machine(look, wanted), wanted.driver)
    except Refused:
        return
    runs = is_running_as_installed(look.driver)
    fault = look.gpus.fault
    if fault and fault.kind in HEALED:
        return
    # The wrong flavour of a running module finds no device; the driver role replaces it.
    if fault and fault.kind is Fault.NO_DEVICES and look.driver.running_flavour is not decision.flavour:
        return
    if fault and not isinstance(_answering(look, wanted), GpuFault):
        # It is on a GPU that Ingot is to leave alone.
        return
    if fault:
        yield f"{fault.found}; {fault.remedy}"
    elif runs and wanted.gpus_use is None and len(look.gpus.rows) < len(look.driver.bus.gpus):
        yield (
            f"{len(look.gpus.rows)} GPUs answer of {len(look.driver.bus.gpus)} on the PCI bus, expected all; "
            "read `dmesg | grep -i nvrm` on the host"
        )


def _plan(look: HostState, wanted: Wanted) -> tuple[HostPlan | None, tuple[str, ...]]:
    """What the host would serve, by measured GPUs or, before there is a driver, by the catalog's; or why it cannot."""
    try:
        gpus = usable(look.gpus, look.driver.bus, wanted.gpus_use)
    except IngotError as error:
        return None, (str(error),)
    if not gpus or not wanted.serve:
        return None, ()
    try:
        planned = planning.plan(
            wanted.name,
            # What runs on the GPUs now is the engine itself, or is judged when the engine role measures.
            [replace(gpu, free_bytes=None) for gpu in gpus],
            serve=wanted.serve,
            site_models=wanted.site_models,
            version=wanted.engine_version,
            build=wanted.engine_build,
            state=EngineState(),
        )
    except Refusal as refusal:
        return None, (str(refusal).removeprefix(f"{wanted.name}: ").rstrip("."),)
    return planned.plan, ()


def _answering(look: HostState, wanted: Wanted) -> tuple[GPU, ...] | GpuFault:
    """The GPUs that Ingot may use as their driver reports them, or what keeps them from answering."""
    try:
        return gpus_use.answering(look.gpus.fault or look.gpus.gpus, wanted.gpus_use)
    except IngotError:
        return ()


def _names(wanted: Wanted) -> Iterator[str]:
    for name in wanted.certificate_names:
        if not _DNS_NAME.match(name.lower()) and not _is_address(name):
            yield (
                f"{name!r} cannot stand in a certificate, expected a host name (letters, digits, '-' and '.') or an "
                "IP address; correct the host's name or gateway_names"
            )


def _nginx(look: HostState, wanted: Wanted) -> Iterator[str]:
    os = look.driver.os
    if wanted.gateway_packages == "distribution" and (os.id, os.version) in WITHOUT_NJS:
        yield f'{os.id} {os.version} packages no njs for its nginx; set gateway_packages = "nginx.org", or leave it out'


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
