"""The findings that stop a deploy, as sentences: pure, from one look at the host and its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ingot.compat import Machine, Refused, decide, objections, without_gpu
from ingot.engines import ENGINES, LLAMA_CPP
from ingot.errors import IngotError
from ingot.facts import schema
from ingot.facts.engine import EngineState
from ingot.facts.host import HostState
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.inventory.expectation import Expectation
from ingot.operations import gpus_use
from ingot.operations.containers.image import image_source
from ingot.operations.containers.takeover import takeover
from ingot.operations.driver.request import driver_request
from ingot.operations.driver.state import headers_missing, is_running_as_installed
from ingot.operations.gateway import takeover as site_takeover
from ingot.operations.gateway.nginx_packages import WITHOUT_NJS
from ingot.operations.gpus_on_bus import usable
from ingot.operations.preflight.disk_space import (
    DEPLOYED_ROOT_BYTES,
    GIB,
    TMP,
    TMP_BYTES,
    gib,
    image_root,
    needed,
    right_disk,
    room,
)
from ingot.operations.preflight.ordered_hardware import differences
from ingot.operations.serving import planning
from ingot.operations.serving.requests import need_gpu, requests
from ingot.operations.serving.services import no_address
from ingot.settings import Settings
from ingot.settings.driver import Driver
from ingot.settings.kinds import is_host_name
from ingot.sizing import GPU, Hardware, HostPlan, SizingError

#: Certificates are made valid one hour back; long before that, logs and keys of hosts disagree about time.
CLOCK_SKEW_S = 60
#: The module's compiler and the engine's start-up need it whatever the model.
MINIMUM_MEMORY_BYTES = int(3.5 * GIB)
#: What nginx takes on a host that only fronts others, request bodies included.
FRONT_MEMORY_BYTES = GIB // 2
#: What may hold the gateway's ports: the gateway itself.
GATEWAY = "nginx"

#: Faults that the driver role heals by installing, loading or rebooting.
HEALED = frozenset({Fault.NOT_INSTALLED, Fault.NOT_LOADED, Fault.MISMATCH, Fault.LIBRARY})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A host's settings, and what was ordered; `fronts`: it only fronts or watches others, without a GPU."""

    name: str
    values: Settings
    fronts: bool = False
    expect: Expectation = field(default_factory=Expectation)


def findings(look: HostState, wanted: Wanted) -> tuple[str, ...]:
    """Every sentence (without the host's name and the final stop) that keeps a host from being deployed."""
    newer = schema.newer(look.stored.get("schema.json"), wanted.name)
    if newer:
        # What else there is, this version may not understand.
        return (newer.removeprefix(f"{wanted.name}: ").rstrip("."),)
    if wanted.fronts:
        return (
            *_system(look, FRONT_MEMORY_BYTES),
            *room(look, {"/": DEPLOYED_ROOT_BYTES, TMP: TMP_BYTES}),
            *_names(wanted),
            *_sites(look, wanted),
        )
    planned, unplannable = _plan(look, wanted)
    on_gpus = _needs_gpu(look, wanted)
    return (
        *_system(look, MINIMUM_MEMORY_BYTES),
        *(differences(wanted.expect, look.hardware) if look.hardware else ()),
        *(_driver(look, wanted) if on_gpus else map(str, without_gpu(_machine(look, wanted.values)))),
        *(_gpus(look, wanted) if on_gpus else ()),
        *_served_without_gpus(look, wanted.values),
        *(takeover(look.docker, wanted.values).stops if look.docker else ()),
        *right_disk(look, wanted.values),
        *room(
            look,
            needed(
                look,
                wanted.values.cache_root,
                wanted.values.engine_build,
                planned,
                image_root(look.docker, wanted.values),
            ),
        ),
        *unplannable,
        *_image(look, wanted.values),
        *_names(wanted),
        *_nginx(look, wanted),
        *_sites(look, wanted),
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
    if "ro" in look.tmp_options:
        yield "/tmp is mounted read-only, expected room there for apt and sudo; `mount -o remount,rw /tmp` on the host"
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
    for refusal in objections(_machine(look, wanted.values), driver_request(wanted.values)):
        yield str(refusal)
    try:
        decision = decide(_machine(look, wanted.values), driver_request(wanted.values))
    except Refused:
        decision = None
    upgrades = wanted.values.driver_kernel_upgrade
    missing = headers_missing(decision, look.driver) if decision and not upgrades else None
    if missing:
        yield missing
    if look.driver.runfile:
        yield (
            "a driver from NVIDIA's .run installer, expected packages, which it would break; "
            "run `nvidia-uninstall` on the host and reboot it"
        )


def _needs_gpu(look: HostState, wanted: Wanted) -> bool:
    """Whether what is served needs a GPU; a host that serves nothing yet is prepared for one."""
    values = wanted.values
    return not values.serve or need_gpu(requests(values, has_gpu=bool(look.driver.bus.gpus)))


def _served_without_gpus(look: HostState, values: Settings) -> Iterator[str]:
    """Files whose engine is started with GPUs alone, on a host that has none: another one serves them there."""
    if look.driver.bus.gpus or not values.serve:
        return
    for request in requests(values, has_gpu=False):
        engine = ENGINES[request.engine]
        if engine.needs_gpu and engine.reads_gguf:
            yield (
                f"{request.model.name} by {engine.title}, which is started with GPUs alone, expected an engine for the "
                f"processor; set `engine: {LLAMA_CPP.name}`, which serves the same file there"
            )


def _machine(look: HostState, values: Driver) -> Machine:
    return look.driver.machine(values.driver_console, partial=values.gpus_use is not None)


def _gpus(look: HostState, wanted: Wanted) -> Iterator[str]:
    try:
        decision = decide(_machine(look, wanted.values), driver_request(wanted.values))
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
    elif runs and wanted.values.gpus_use is None and len(look.gpus.rows) < len(look.driver.bus.gpus):
        yield (
            f"{len(look.gpus.rows)} GPUs answer of {len(look.driver.bus.gpus)} on the PCI bus, expected all; "
            "read `dmesg | grep -i nvrm` on the host"
        )


def planned_now(look: HostState, wanted: Wanted) -> tuple[planning.Planned | None, str | None]:
    """What the host would serve, by measured GPUs or, before there is a driver, by the catalog's; or why it cannot."""
    try:
        gpus = usable(look.gpus, look.driver.bus, wanted.values.gpus_use)
    except IngotError as error:
        return None, str(error)
    if not wanted.values.serve:
        return None, None
    asked = requests(wanted.values, has_gpu=bool(look.driver.bus.gpus))
    if not gpus and need_gpu(asked):
        return None, None
    # What runs on the GPUs now is the engine itself, or is judged when the engine role measures.
    hardware = Hardware(wanted.name, tuple(replace(gpu, free_bytes=None) for gpu in gpus), look.memory_bytes)
    try:
        planned = planning.plan(hardware, asked, planning.profile(wanted.values), EngineState(files=look.stored))
    except SizingError as error:
        return None, str(error).removeprefix(f"{wanted.name}: ").rstrip(".")
    missing = no_address(planned.plan, wanted.values)
    return planned, missing.rstrip(".") if missing else None


def _plan(look: HostState, wanted: Wanted) -> tuple[HostPlan | None, tuple[str, ...]]:
    planned, why_not = planned_now(look, wanted)
    return planned.plan if planned else None, (why_not,) if why_not else ()


def _image(look: HostState, values: Settings) -> Iterator[str]:
    if not values.serve:
        return
    for engine in dict.fromkeys(one.engine for one in requests(values, has_gpu=bool(look.driver.bus.gpus))):
        try:
            image_source(values, engine)
        except IngotError as error:
            yield str(error).rstrip(".")


def _answering(look: HostState, wanted: Wanted) -> tuple[GPU, ...] | GpuFault:
    """The GPUs that Ingot may use as their driver reports them, or what keeps them from answering."""
    try:
        return gpus_use.answering(look.gpus.fault or look.gpus.gpus, wanted.values.gpus_use)
    except IngotError:
        return ()


def _names(wanted: Wanted) -> Iterator[str]:
    if not is_host_name(wanted.name):
        yield (
            f"{wanted.name!r} cannot stand in a certificate, expected a host name (letters, digits, '-' and '.') or an "
            "IP address; correct the host's name"
        )


def _sites(look: HostState, wanted: Wanted) -> Iterator[str]:
    values = wanted.values
    names = (wanted.name, *values.gateway_names)
    yield from site_takeover.refusals(
        look.nginx, values.gateway_takeover, names, acme=values.gateway_certificate == "acme"
    )


def _nginx(look: HostState, wanted: Wanted) -> Iterator[str]:
    os = look.driver.os
    if (os.id, os.version) not in WITHOUT_NJS:
        return
    if wanted.values.gateway_packages == "distribution":
        yield f'{os.id} {os.version} packages no njs for its nginx; set gateway_packages = "nginx.org", or leave it out'
    elif wanted.values.sources.nginx is None:
        yield (
            f'{os.id} {os.version} packages no njs for its nginx and sources has no "nginx", expected nginx.org\'s '
            "repository; copy it from group_data/all.py"
        )
