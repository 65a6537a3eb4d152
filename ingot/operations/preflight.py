"""Everything that would stop a deploy of a host, found in one look and said before anything changes."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host, state

from ingot.compat import Machine, Refused, Wish, decide, objections, rules, version_key
from ingot.errors import IngotError
from ingot.expectation import Expectation, parse
from ingot.facts.engine import EngineState
from ingot.facts.errors import Unread
from ingot.facts.host import HostLook, HostState
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.operations import fronting, partial, planning
from ingot.operations.driver_state import is_running_as_installed
from ingot.operations.expected import usable
from ingot.operations.gateway_certificate import findings as certificate_findings
from ingot.operations.ordered import differences
from ingot.operations.wished import wished
from ingot.sizing import GPU, HostPlan

GIB = 1 << 30
#: Certificates are made valid one hour back; long before that, logs and keys of hosts disagree about time.
CLOCK_SKEW_S = 60
#: Room below /var/lib/docker for the engine's image, packed and unpacked, by engine_build.
DOCKER_ROOT = "/var/lib/docker"
IMAGE_BYTES = {"cuda": 40 * GIB, "cpu": 4 * GIB}
#: Room for packages and the module's build tree; on a host that is deployed, for logs and updates.
ROOT_BYTES, DEPLOYED_ROOT_BYTES = 5 * GIB, GIB
#: Tokenizer and configuration beside the weights, and the files that are being written.
MODEL_EXTRA_BYTES = 64 << 20
MINIMUM_INODES = 10_000
#: The module's compiler and the engine's start-up need it whatever the model.
MINIMUM_MEMORY_BYTES = int(3.5 * GIB)
#: What nginx takes on a host that only fronts others, request bodies included.
FRONT_MEMORY_BYTES = GIB // 2
HTTPS_PORT = 443
#: Where an ACME server asks.
ACME_PORT = 80
#: What may hold that port: the gateway itself.
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
    driver: Wish = field(default_factory=Wish)
    gpus_use: Any = None
    gateway_packages: str | None = None
    expect: Expectation = field(default_factory=Expectation)


def findings(look: HostState, wanted: Wanted) -> tuple[str, ...]:
    """Every sentence (without the host's name and the final stop) that keeps a host from being deployed."""
    if wanted.fronts:
        return (*_system(look, FRONT_MEMORY_BYTES), *_space(look, wanted, None), *_names(wanted))
    planned, unplannable = _plan(look, wanted)
    return (
        *_system(look, MINIMUM_MEMORY_BYTES),
        *(differences(wanted.expect, look.hardware) if look.hardware else ()),
        *_driver(look, wanted),
        *_gpus(look, wanted),
        *_space(look, wanted, planned),
        *unplannable,
        *_names(wanted),
        *_nginx(look, wanted),
    )


def notes(look: HostState) -> tuple[str, ...]:
    """What is worth knowing and stops nothing."""
    said = []
    if look.apt_holder:
        said.append(f"{look.apt_holder} holds the package manager; the run waits for it")
    running = look.driver.running
    branch = rules.BRANCHES.get(version_key(running)[0]) if running else None
    if running and branch and branch.floor and version_key(running) < version_key(branch.floor):
        said.append(
            f"driver {running} has known vulnerabilities ({rules.VULNERABLE.source}); "
            f"set driver_version to {branch.floor} or newer when the GPUs can be stopped"
        )
    for xid, times in Counter((one.address, one.number, one.meaning) for one in look.driver.xids).items():
        address, number, meaning = xid
        if meaning:
            said.append(f"GPU {address} reported Xid {number} {times} times since boot: {meaning}")
    for row in look.gpus.rows:
        if row.remap_failed:
            said.append(f"GPU {row.index} could not remap a bad memory row; have the card replaced (Xid 64)")
        elif row.remap_pending:
            said.append(f"GPU {row.index} has a memory row to remap; it is done at its next reset or reboot (Xid 63)")
        if row.ecc_uncorrected:
            said.append(f"GPU {row.index} had {row.ecc_uncorrected} uncorrectable memory errors since it was reset")
        if row.recovery_action not in (None, "None"):
            said.append(f"the driver asks to {str(row.recovery_action).lower()} GPU {row.index}")
    return tuple(said)


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
        yield (f"{_gib(look.memory_bytes)} of memory, expected {_gib(memory_bytes)} or more; add memory to the host")
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


def _space(look: HostState, wanted: Wanted, planned: HostPlan | None) -> Iterator[str]:
    """Free room per file system: what two directories on one disk need adds up.

    A deployed host already holds its image and its models; the roles that add to them look again.
    """
    needs = {"/": DEPLOYED_ROOT_BYTES if look.is_deployed or wanted.fronts else ROOT_BYTES}
    if not look.is_deployed and not wanted.fronts:
        needs[DOCKER_ROOT] = IMAGE_BYTES.get(wanted.engine_build, IMAGE_BYTES["cuda"])
        needs[wanted.cache_root] = model_bytes(planned) if planned else MODEL_EXTRA_BYTES
    by_mount: dict[str, list[str]] = {}
    for space in look.spaces:
        if space.path in needs:
            by_mount.setdefault(space.mount, []).append(space.path)
        if space.free_inodes < MINIMUM_INODES:
            yield (
                f"{space.free_inodes} free inodes on {space.mount}, expected {MINIMUM_INODES} or more; "
                "delete small files there"
            )
    for mount, paths in by_mount.items():
        needed = sum(needs[path] for path in paths)
        free = next(space.free_bytes for space in look.spaces if space.mount == mount)
        if free < needed:
            yield (
                f"{_gib(free)} free on {mount}, expected {_gib(needed)} for {' and '.join(paths)}; "
                "free space, or mount a larger disk there"
            )


def model_bytes(planned: HostPlan) -> int:
    """What the weights of a plan take on disk, with a little to spare: each variant once, whatever its replicas."""
    sizes = {(one.model, one.variant): one.memory.weights.bytes * len(one.gpu_uuids) for one in planned.replicas}
    return int(sum(sizes.values()) * 1.1) + MODEL_EXTRA_BYTES


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
    except planning.Refusal as refusal:
        return None, (str(refusal).removeprefix(f"{wanted.name}: ").rstrip("."),)
    return planned.plan, ()


def _answering(look: HostState, wanted: Wanted) -> tuple[GPU, ...] | GpuFault:
    """The GPUs that Ingot may use as their driver reports them, or what keeps them from answering."""
    try:
        return partial.answering(look.gpus.fault or look.gpus.gpus, wanted.gpus_use)
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


def _gib(number: int) -> str:
    return f"{number / GIB:.1f} GiB"


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look at a host says of a deploy: what stops it, what is worth knowing; sentences without its name."""

    stops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def judge(host: Host) -> Judged:
    """Look at a connected host once and judge it by its values; nothing is changed."""
    data = host.data
    try:
        ordered = parse(data.get("expect") or {})
    except ValueError as error:
        return Judged((f"`expect` is not understood: {error}",))
    ports = [HTTPS_PORT, *([ACME_PORT] if data.gateway_certificate == "acme" else [])]
    look = host.get_fact(HostLook, paths=["/", DOCKER_ROOT, data.cache_root], ports=ports, hardware=bool(ordered))
    if isinstance(look, Unread):
        return Judged((look.sentence(host.name).removeprefix(f"{host.name}: ").rstrip("."),))
    try:
        wish = wished(data)
    except IngotError as error:
        return Judged((str(error),))
    stops = findings(
        look,
        Wanted(
            name=host.name,
            cache_root=data.cache_root,
            engine_build=data.engine_build,
            engine_version=data.engine_version,
            serve=data.serve,
            site_models=data.site_models,
            certificate_names=(host.name, *data.gateway_names),
            fronts=fronting.is_front(host),
            console=bool(data.driver_console),
            driver=wish,
            gpus_use=data.gpus_use,
            gateway_packages=data.gateway_packages,
            expect=ordered,
        ),
    )
    return Judged((*stops, *certificate_findings(host)), notes(look))


@operation()
def preflight() -> Generator[PyinfraCommand, None, None]:
    """
    Refuse a host that cannot be deployed, with every reason at once; change nothing.

    **Example:**

    .. code:: python

        preflight.preflight(name="Look before anything changes")
    """
    judged = judge(host)
    if state.is_executing or not judged.stops:
        for note in judged.notes:
            logger.info(f"{host.print_prefix}{host.name}: {note}.")
    if judged.stops:
        if not state.is_executing:
            # A dry run ends before execution: it must say so too.
            for sentence in judged.stops:
                logger.warning(f"{host.print_prefix}{host.name}: {sentence}.")
        yield FunctionCommand(_stop, (judged.stops,), {})
        return
    host.noop("nothing stands in the way of a deploy")


def _stop(state: State, host: Host, stops: Sequence[str]) -> bool:
    for sentence in stops:
        logger.error(f"{host.print_prefix}{host.name}: {sentence}.")
    return False
