"""The NVIDIA driver: installed as decided, running as installed, and every GPU answering."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ingot.compat import Decision, Fabric, Flavour, Refused, Wish, decide, version_key
from ingot.compat import Source as Origin
from ingot.errors import IngotError
from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.facts.engine import STATE
from ingot.facts.errors import Unread
from ingot.facts.smi_fault import GpuFault
from ingot.facts.units import Units
from ingot.operations import changes, driver_change, packages, partial, reboot, tree, units
from ingot.operations.packages import Source
from ingot.operations.refuse import refuse
from ingot.operations.render import template

T = TypeVar("T")

PERSISTENCE = "/etc/systemd/system/nvidia-persistenced.service.d/ingot.conf"
#: A fabric manager routes eight GPUs in a few seconds; a node that needs longer has a fault.
FABRIC_TIMEOUT_S = 120
PERSISTENCE_TIMEOUT_S = 10


def guards(repository: str | None) -> tuple[tree.Entry, ...]:
    """What must be there before packages are installed: no unattended driver upgrades, one source each.

    apt refuses a repository that is described twice under two keys, as hosts have it that were set up by hand or by
    a cloud image: those descriptions give way.
    """
    replaced = ["libnvidia-container", "nvidia-container-toolkit", "nvidia-container-runtime", "nvidia-docker"]
    if repository:
        replaced.append(f"cuda-{repository.replace('/', '-')}")
    return (
        *(tree.Absent(f"/etc/apt/sources.list.d/{name}.list") for name in replaced),
        tree.File("/etc/apt/apt.conf.d/51ingot-nvidia", template("driver/51ingot-nvidia")),
    )


def settings() -> tuple[tree.Entry, ...]:
    """What an installed driver runs with: nouveau off, persistence mode on."""
    return (
        tree.File("/etc/modprobe.d/ingot-nvidia.conf", template("driver/ingot-nvidia.conf")),
        tree.Dir(PERSISTENCE.rpartition("/")[0]),
        tree.File(PERSISTENCE, template("driver/persistence.conf")),
    )


def wish(data: Any) -> Wish:
    """The owner's values of a host.

    Raises: IngotError, one sentence, for a value that is none of its choices.
    """
    return Wish(
        branch=_choice("driver_branch", data.driver_branch, int),
        version=data.driver_version,
        flavour=_choice("driver_flavour", data.driver_flavour, Flavour) if data.driver_flavour else None,
        source=_choice("driver_source", data.driver_source, Origin) if data.driver_source else None,
    )


def _choice(name: str, value: Any, choices: Callable[[Any], T]) -> T:
    try:
        return choices(value)
    except (TypeError, ValueError):
        raise IngotError(
            f"{name} is {value!r}, which is none of its choices; correct it in the host's values"
        ) from None


def upstream(name: str, value: Mapping[str, Any], repository: str) -> Source:
    """A package source from its value; `repository` is `distro/arch` and fills `{repository}`.

    A key that differs between distributions is a mapping by distribution.
    """
    distro = repository.partition("/")[0]

    def of(key: str) -> str:
        entry = value[key]
        text = entry.get(distro, entry["default"]) if isinstance(entry, Mapping) else entry
        return str(text).replace("{repository}", repository)

    return Source(name, of("uri"), of("suite"), of("component"), of("key_url"), of("key_fingerprint"))


def versioned(decision: Decision, names: tuple[str, ...]) -> tuple[str, ...]:
    """Packages at the decision's version, or at any version of its branch."""
    glob = f"{decision.version}-*" if decision.version else f"{decision.branch}.*"
    return tuple(f"{name}={glob}" for name in names)


def pins(decision: Decision) -> tuple[packages.Pin, ...]:
    """Keep the driver's packages of another origin out: a module of one with a library of the other does not run."""
    origin = decision.packages.rival_origin
    if origin is None:
        return ()
    return (packages.Pin("nvidia-origin", ("*nvidia*", "libcuda*", "cuda-drivers*"), f"release o={origin}", -1),)


def rivals(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Installed packages that the decision's own replace: other pins, the other flavour of the module."""
    chosen = {decision.packages.pin, *decision.packages.driver}
    prefixes = (
        "nvidia-driver-pinning-",
        "nvidia-kernel-dkms",
        "nvidia-kernel-open-dkms",
        "nvidia-open-kernel-dkms",
        "nvidia-dkms",
    )
    return tuple(sorted(name for name in state.installed if name.startswith(prefixes) and name not in chosen))


def as_decided(decision: Decision, state: DriverState) -> bool:
    """Whether the driver's packages are those of the decision, so that installing changes no running version."""
    installed = state.installed
    wanted = decision.version
    return not rivals(decision, state) and all(
        name in installed
        and (
            installed[name].upstream == wanted if wanted else version_key(installed[name].version)[0] == decision.branch
        )
        for name in decision.packages.driver
        if not name.startswith("linux-modules-")
    )


def unbuilt(state: DriverState) -> tuple[str, ...]:
    """Kernels that can boot here without the module that is on disk for the running one."""
    return tuple(kernel.release for kernel in state.kernels if kernel.headers and kernel.module != state.on_disk)


def needs_reboot(state: DriverState) -> str | None:
    """Why only a reboot makes the installed driver run; None when loading it is enough."""
    if state.nouveau:
        return "nouveau holds the GPUs"
    if state.on_disk and state.running and not _module_is_current(state):
        return (
            f"driver {_called(state.running, state.running_flavour)} runs, "
            f"{_called(state.on_disk, state.on_disk_flavour)} is installed and the old one could not be unloaded"
        )
    return None


def is_running_as_installed(state: DriverState) -> bool:
    """Whether the loaded module is the one on disk, and user space is of its version."""
    return _module_is_current(state) and state.library in (None, state.running)


def _module_is_current(state: DriverState) -> bool:
    """Both flavours of a version call themselves by the same number."""
    return state.running is not None and (state.running, state.running_flavour) == (
        state.on_disk,
        state.on_disk_flavour,
    )


def _called(version: str, flavour: Flavour | None) -> str:
    return f"{version} ({flavour})" if flavour else version


def problem(look: DriverLook, decision: Decision, use: Any = None) -> str | None:
    """What keeps the GPUs that Ingot may use (`use` is gpus_use) from it, without the host's name; None: all answer."""
    try:
        fault = partial.answering(look.gpus.fault or look.gpus.gpus, use)
    except IngotError as error:
        return str(error)
    if isinstance(fault, GpuFault):
        return f"{fault.found}; {fault.remedy}"
    on_bus, answering = len(look.state.bus.gpus), len(look.gpus.rows)
    if answering < on_bus and use is None:
        return (
            f"{answering} GPUs answer of {on_bus} on the PCI bus, expected all; read `dmesg | grep -i nvrm` on the host"
        )
    if decision.fabric is not Fabric.NONE:
        waiting = [row for row in look.gpus.rows if row.fabric_state and row.fabric_state != "Completed"]
        if waiting:
            return (
                f"the NVLink fabric of GPU {waiting[0].index} is {waiting[0].fabric_state}, expected Completed; "
                "read `journalctl -u nvidia-fabricmanager` on the host"
            )
    return None


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
        decision = decide(
            look.state.machine(bool(host.data.driver_console), partial=host.data.gpus_use is not None), wish(host.data)
        )
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
    settled = installed and is_running_as_installed(look.state) and _fabric_matches(decision, look.state)
    # Of a change that fails nothing stays, not even nouveau's absence at the next boot.
    before = (*guards(decision.packages.repository), *(settings() if installed else ()))
    yield from tree.tree._inner(entries=(*before, *_evidence(decision, look.state)))
    changed = yield from _install(decision, look.state, begin=True)
    settled = settled and not changed
    if not installed:
        yield from tree.tree._inner(entries=settings())
    use = host.data.gpus_use
    served = None if installed or problem(look, decision, use) else look.state.running
    if not settled:
        yield from _run_installed(decision)
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
        yield from tree.tree._inner(entries=_evidence(decision, look.state))


def _not_running(decision: Decision) -> str | None:
    """The first of the driver's daemons that is not active."""
    names = [unit.full_name for unit in _units(decision)]
    found = host.get_fact(Units, watched={name: [[], []] for name in names})
    return next((name for name in names if not ((now := found.get(name)) and now.active)), None)


def _go_back(why: str) -> Generator[PyinfraCommand, None, None]:
    """To the driver that served before this run; fails the host with `why` and what is now."""
    yield from driver_change.commands(packages.PackagesPlan((), ()), mode="undo", remedy=why)


def _evidence(decision: Decision, state: DriverState) -> tuple[tree.Entry, ...]:
    """What was decided and what runs, kept on the host; nothing while the two still differ."""
    if not (as_decided(decision, state) and is_running_as_installed(state)):
        return ()
    return (
        tree.Dir(STATE),
        tree.File(f"{STATE}/driver.json", record(decision, state)),
        # The transaction that brought this driver is over: nothing goes back any more.
        tree.Absent(driver_change.BEFORE),
    )


def record(decision: Decision, state: DriverState) -> str:
    """The evidence as JSON; the same for every run that finds the same driver running."""
    chosen = decision.packages
    versions = {name: package.version for name, package in state.installed.items()}
    known = (*chosen.driver, *chosen.companions, *chosen.tools)
    values = {
        "driver": {"version": state.running, "flavour": state.running_flavour, "kernel": state.kernel},
        "decided": {
            "branch": decision.branch,
            "version": decision.version,
            "flavour": decision.flavour,
            "source": decision.source,
            "fabric": decision.fabric,
        },
        "packages": {name: versions[name] for name in known if name in versions},
        # The last reason says how the module came to run, which is history by now.
        "reasons": [{"text": one.text, "source": one.rule.source} for one in decision.reasons[:-1]],
        "warnings": [{"text": one.text, "source": one.rule.source} for one in decision.warnings],
    }
    return json.dumps(values, indent=2) + "\n"


def _run_installed(decision: Decision) -> Generator[PyinfraCommand, None, None]:
    """What changed on disk comes to run; looks for itself, since packages were just installed."""
    look = host.get_fact(Driver)
    if isinstance(look, Unread):
        yield refuse(look.sentence(host.name))
        return
    failed = unbuilt(look.state)
    if look.state.on_disk is None or failed:
        yield refuse(_not_built(look.state, failed))
        return
    if not _fabric_matches(decision, look.state):
        yield from _install(decision, look.state, begin=False)
    yield from _activate(look.state)


def _install(decision: Decision, state: DriverState, *, begin: bool) -> Generator[PyinfraCommand, None, bool]:
    """Packages as decided and the module for every kernel, or all as before. Returns: whether it changed any."""
    chosen = decision.packages
    sources = (upstream("nvidia", host.data.sources["nvidia_driver"], chosen.repository),) if chosen.repository else ()
    decided = as_decided(decision, state)
    # Known only afterwards where the branch's newest is taken.
    version = decision.version or (state.on_disk if decided else None)
    names = (*chosen.headers, *versioned(decision, chosen.driver))
    names += _companion_names(decision, version) if version else ()
    holds = (*chosen.driver, *(chosen.companions if version else ()))
    gone = rivals(decision, state)
    asked = (*names, *((chosen.pin,) if chosen.pin else ()), *holds, *gone)
    look = driver_change.apt_look(asked, sources, pins(decision))
    change = driver_change.plan(look, chosen.pin, names, sources, pins(decision), holds, gone)
    missing = unbuilt(state)
    if not change.lines and not missing:
        host.noop("the driver's packages are installed as decided")
        return False
    drain = bool(host.data.driver_disrupt) and not decided
    driver_change.announce(change, drain and bool(state.users), missing)
    yield from driver_change.commands(
        change, mode="begin" if begin else "go-on", drain=drain, remedy=driver_change.remedy(decision, state.kernel)
    )
    return True


def _companion_names(decision: Decision, version: str) -> tuple[str, ...]:
    """What must equal the driver's upstream version; Debian revisions differ between the two."""
    return (*(f"{name}={version}-*" for name in decision.packages.companions), *decision.packages.tools)


def _fabric_matches(decision: Decision, state: DriverState) -> bool:
    return all(
        name in state.installed and state.installed[name].upstream == state.on_disk
        for name in decision.packages.companions
    )


def _not_built(state: DriverState, failed: tuple[str, ...]) -> str:
    kernels = ", ".join(failed) or state.kernel
    said = f" (dkms: {'; '.join(state.dkms_failed)})" if state.dkms_failed else ""
    return (
        f"{host.name}: the NVIDIA module is not built for kernel {kernels}{said}, expected it for every kernel that "
        "can boot; read /var/lib/dkms/nvidia/*/build/make.log there, or remove that kernel."
    )


def _activate(state: DriverState) -> Generator[PyinfraCommand, None, None]:
    """Make what is on disk run: load it, or swap it, or reboot; each only where the state asks for it."""
    if state.nouveau:
        # What blacklists nouveau must be in the initramfs too, or it is loaded again before the root file system.
        yield StringCommand("command -v update-initramfs >/dev/null && update-initramfs -u -k all; true")
    elif state.running is None:
        changes.announce([f"load driver {state.on_disk}"])
        sentence = shlex.quote(f"{host.name}: {_REFUSED_MODULE}")
        yield StringCommand(f"{_LOAD} || {{ echo {sentence} >&2; exit 1; }}")
    elif not _module_is_current(state):
        if state.users and not host.data.driver_disrupt:
            yield refuse(
                f"{host.name}: driver {state.running} runs, {state.on_disk} is installed, and "
                f"{', '.join(state.users[:3])} use the GPUs; stop them, or set driver_disrupt to true for this run."
            )
            return
        if host.data.driver_disrupt:
            yield from driver_change.commands(packages.PackagesPlan((), ()), mode="go-on", drain=True)
        changes.announce([f"replace the running driver {state.running} by {state.on_disk}"])
        # Held modules stay: the reboot below then does what unloading could not.
        yield StringCommand(f"{_UNLOAD} && {_LOAD}; true")
    yield from reboot.reboot._inner(needed=_reboot_reason)


def _reboot_reason() -> str | None:
    look = host.get_fact(Driver)
    return needs_reboot(look.state) if isinstance(look, DriverLook) else None


_LOAD = "modprobe nvidia && modprobe nvidia-uvm"
_UNLOAD = (
    "systemctl stop nvidia-persistenced nvidia-fabricmanager nvidia-dcgm 2>/dev/null; "
    "modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem 2>/dev/null; modprobe -r nvidia"
)
_REFUSED_MODULE = (
    "the kernel refuses the NVIDIA module; read dmesg on the host "
    "(Key was rejected: Secure Boot; not supported by open nvidia.ko: wrong flavour)"
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
