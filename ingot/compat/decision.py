"""The driver of a machine: one pure decision with its reasons, or a refusal that names its rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ingot.compat import rules
from ingot.compat.devices import Architecture, Device, lookup
from ingot.compat.machine import DriverRequest, Fabric, Flavour, Machine, Source, version_key
from ingot.compat.packages import PackageSet, packages
from ingot.compat.rules import Rule


class Activation(StrEnum):
    """How the module of the decision comes to run."""

    LOAD = "load"
    RELOAD = "reload"
    REBOOT = "reboot"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one part of the decision is as it is, and the rule behind it."""

    text: str
    rule: Rule


class Refused(Exception):
    """No driver suits the machine: `str()` is "found, expected; what to do" without host and full stop."""

    def __init__(self, found: str, remedy: str, rule: Rule) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found = found
        self.remedy = remedy
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything the driver role installs and does. `version` is None where the branch's newest is taken."""

    branch: int
    version: str | None
    flavour: Flavour
    source: Source
    packages: PackageSet
    fabric: Fabric
    activation: Activation
    minimum_toolkit: str
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...] = ()

    def explain(self) -> tuple[str, ...]:
        """One line per reason, for `ingot plan` and for the log."""
        return tuple(f"{reason.text} ({reason.rule.source})" for reason in (*self.reasons, *self.warnings))


def decide(machine: Machine, request: DriverRequest | None = None) -> Decision:
    """The driver for a machine.

    Raises: Refused, for the first rule that no choice can satisfy.
    """
    request = request or DriverRequest()
    repository = _platform(machine)
    devices = _devices(machine)
    flavour, flavour_reason = _flavour(machine, devices, request)
    _kernel(machine, request)
    branch, branch_reasons, warnings = _branch(devices, flavour, request)
    source, source_reason = _source(machine, request, flavour, branch)
    _image(devices, branch, request)
    fabric, fabric_reasons = _fabric(machine, devices, request)
    activation, activation_reason = _activation(machine, request, branch, source)
    chosen = packages(
        source,
        os_id=machine.os_id,
        repository=repository,
        branch=branch,
        version=request.version,
        flavour=flavour,
        kernels=(machine.kernel, *((machine.newer_kernel,) if machine.newer_kernel else ())),
        kernel_metas=machine.kernel_metas,
    )
    if fabric is not Fabric.NONE:
        chosen = chosen.with_fabric(fabric.value, source, branch)
    return Decision(
        branch=branch,
        version=request.version,
        flavour=flavour,
        source=source,
        packages=chosen,
        fabric=fabric,
        activation=activation,
        minimum_toolkit=rules.TOOLKIT_MINIMUM,
        reasons=(flavour_reason, *branch_reasons, source_reason, *fabric_reasons, activation_reason),
        warnings=warnings,
    )


def without_gpu(machine: Machine) -> tuple[Refused, ...]:
    """The refusals of a machine that serves without a GPU: its system and its processor, and nothing of a driver."""
    try:
        _platform(machine)
    except Refused as refusal:
        return (refusal,)
    return ()


def objections(machine: Machine, request: DriverRequest | None = None) -> tuple[Refused, ...]:
    """Every refusal that a machine meets, where `decide` stops at the first: a preflight reports all of them."""
    request = request or DriverRequest()
    found: list[Refused] = []
    try:
        _platform(machine)
    except Refused as refusal:
        found.append(refusal)
    try:
        devices = _devices(machine)
        flavour, _ = _flavour(machine, devices, request)
        _kernel(machine, request)
        branch, _, _ = _branch(devices, flavour, request)
        _image(devices, branch, request)
        # A platform that is not supported has no sources to judge.
        if not found:
            _source(machine, request, flavour, branch)
    except Refused as refusal:
        found.append(refusal)
    return tuple(found)


def _platform(machine: Machine) -> str:
    if machine.jetson:
        raise Refused(
            "a Jetson module, expected a server with its GPU on PCI",
            "Ingot does not support Jetson: use NVIDIA's JetPack images there",
            rules.JETSON,
        )
    platform = rules.PLATFORMS.get((machine.os_id, machine.os_version))
    if platform is None:
        raise Refused(
            f"{machine.os_id} {machine.os_version}, expected Ubuntu 22.04, 24.04 or 26.04 or Debian 12 or 13",
            "reinstall the host with one of these",
            rules.PLATFORM,
        )
    if machine.arch not in rules.MACHINES:
        raise Refused(
            f"a {machine.arch} processor, expected x86_64 or aarch64",
            "take the host out of the inventory",
            rules.ARCHITECTURE,
        )
    return f"{platform}/{rules.MACHINES[machine.arch]}"


def _devices(machine: Machine) -> tuple[Device, ...]:
    if not machine.gpus:
        raise Refused(
            "no NVIDIA GPU on the PCI bus, expected at least one",
            "check that the card is seated and powered and that the BIOS lists it, "
            "or take the host out of the inventory",
            rules.NO_GPU,
        )
    held = [card for card in machine.gpus if card.driver == "vfio-pci"]
    free = tuple(card for card in machine.gpus if card not in held)
    if held and not (free and machine.partial):
        raise Refused(
            f"{len(held)} of {len(machine.gpus)} GPUs bound to vfio-pci for a virtual machine, "
            "expected them free for the NVIDIA driver",
            ("name the others in gpus_use to leave these alone, or " if free else "")
            + "remove the vfio-pci binding (kernel command line or /etc/modprobe.d) and reboot, "
            "or deploy to the virtual machine instead",
            rules.PASSTHROUGH,
        )
    if any(card.virtual for card in free):
        raise Refused(
            "a vGPU, expected a whole GPU or one passed through",
            "pass the GPU through to this virtual machine, or install NVIDIA's licensed guest driver yourself",
            rules.VGPU,
        )
    devices = tuple(lookup(card.device_id) for card in free)
    dead = [device for device in devices if device.architecture < Architecture.MAXWELL]
    if dead:
        raise Refused(
            f"{dead[0].label}, a {dead[0].architecture} card, expected Maxwell or newer",
            "remove the card: no driver with security support drives it",
            rules.TOO_OLD,
        )
    return devices


def flavours(device: Device) -> tuple[Flavour, ...]:
    """The flavours of the module that drive a device, the better one first; none where no supported driver does."""
    if device.architecture < Architecture.MAXWELL:
        return ()
    if device.architecture < Architecture.TURING:
        return (Flavour.PROPRIETARY,)
    return (Flavour.OPEN,) if _is_open_only(device) else (Flavour.OPEN, Flavour.PROPRIETARY)


def _is_open_only(device: Device) -> bool:
    return device.architecture >= Architecture.BLACKWELL or device.device_id in rules.GRACE_HOPPER


def _flavour(machine: Machine, devices: tuple[Device, ...], request: DriverRequest) -> tuple[Flavour, Reason]:
    old = [device for device in devices if device.architecture < Architecture.TURING]
    new = [device for device in devices if _is_open_only(device)]
    if old and new:
        raise Refused(
            f"{old[0].label} ({old[0].architecture}) beside {new[0].label} ({new[0].architecture}), "
            "expected GPUs that one driver serves",
            "move one of them to another host: the first needs the proprietary modules, the second the open ones",
            rules.MIXED,
        )
    if old:
        if request.flavour is Flavour.OPEN:
            raise Refused(
                f"driver_flavour 'open' with {old[0].label} ({old[0].architecture}), which has no GSP, "
                "expected 'proprietary'",
                "remove driver_flavour from the host's values",
                rules.OPEN_NEEDS_GSP,
            )
        return Flavour.PROPRIETARY, Reason(
            f"proprietary modules: {old[0].label} is {old[0].architecture}, older than Turing", rules.OPEN_NEEDS_GSP
        )
    if request.flavour is Flavour.PROPRIETARY:
        if new:
            raise Refused(
                f"driver_flavour 'proprietary' with {new[0].label} ({new[0].architecture}), expected 'open'",
                "remove driver_flavour from the host's values",
                rules.OPEN_ONLY,
            )
        return Flavour.PROPRIETARY, Reason("proprietary modules: set by driver_flavour", rules.SOURCE)
    if request.source is Source.DEBIAN and (machine.os_id, machine.os_version) == ("debian", "12"):
        if new or request.flavour is Flavour.OPEN:
            raise Refused(
                "the open modules from Debian 12's archive, which are older than its libraries, expected one version",
                "remove driver_source from the host's values to use NVIDIA's repository",
                rules.DEBIAN_OPEN,
            )
        return Flavour.PROPRIETARY, Reason(
            "proprietary modules: Debian 12's open ones are older than its libraries", rules.DEBIAN_OPEN
        )
    if new:
        return Flavour.OPEN, Reason(
            f"open modules: {new[0].label} ({new[0].architecture}) runs with no other", rules.OPEN_ONLY
        )
    return Flavour.OPEN, Reason("open modules: every GPU is Turing or newer", rules.OPEN_NEEDS_GSP)


def _kernel(machine: Machine, request: DriverRequest) -> None:
    """A module that DKMS builds must know the kernel; those of Ubuntu's archive are built for theirs."""
    if request.version is None or request.source is Source.UBUNTU:
        return
    for kernel in (machine.kernel, machine.newer_kernel or ""):
        numbers = version_key(kernel)[:2]
        for known in rules.UNBUILDABLE:
            wished = version_key(request.version)
            if wished[0] == known.branch and wished <= version_key(known.last) and numbers >= known.kernel:
                raise Refused(
                    f"driver_version {request.version} with kernel {kernel}, for which it does not build, "
                    f"expected a version newer than {known.last}",
                    "raise driver_version, or remove it to take the newest of the branch",
                    rules.KERNEL_TOO_NEW,
                )


def _branch(
    devices: tuple[Device, ...], flavour: Flavour, request: DriverRequest
) -> tuple[int, tuple[Reason, ...], tuple[Reason, ...]]:
    number = version_key(request.version)[0] if request.version else request.branch
    branch = rules.BRANCHES.get(number)
    if branch is None:
        known = ", ".join(str(known) for known, entry in sorted(rules.BRANCHES.items()) if not entry.ended)
        raise Refused(f"driver branch {number}, expected one of {known}", "correct driver_branch", rules.BRANCH_UNKNOWN)
    if request.version and request.branch != number:
        raise Refused(
            f"driver_version {request.version} with driver_branch {request.branch}, expected a version of that branch",
            "correct one of the two values",
            rules.BRANCH_UNKNOWN,
        )
    oldest = min(devices, key=lambda device: device.architecture)
    if oldest.architecture < branch.oldest:
        raise Refused(
            f"driver branch {number} with {oldest.label} ({oldest.architecture}), expected branch 580 or older",
            "set driver_branch to 580",
            rules.LAST_FOR_OLD,
        )
    if flavour is Flavour.PROPRIETARY and not branch.proprietary:
        raise Refused(
            f"the proprietary modules of branch {number}, expected a branch before 615",
            "set driver_branch to 580, or remove driver_flavour",
            rules.NO_PROPRIETARY,
        )
    for device in devices:
        first = rules.first_driver(device)
        if number < version_key(first)[0]:
            oldest_known = min(known for known in rules.BRANCHES if known >= version_key(first)[0])
            raise Refused(
                f"driver branch {number} with {device.label}, expected branch {oldest_known} or newer",
                f"set driver_branch to {rules.DEFAULT_BRANCH}",
                rules.MIN_BRANCH,
            )
        if request.version and version_key(request.version) < version_key(first):
            raise Refused(
                f"driver_version {request.version} with {device.label}, expected {first} or newer",
                "raise driver_version, or remove it to take the newest of the branch",
                rules.MIN_BRANCH,
            )
    if request.version and branch.floor and version_key(request.version) < version_key(branch.floor):
        raise Refused(
            f"driver_version {request.version}, which has known vulnerabilities, expected {branch.floor} or newer",
            "raise driver_version, or remove it to take the newest of the branch",
            rules.VULNERABLE,
        )
    warnings = [
        Reason(
            f"{device.label} is newer than Ingot's device table: treated like the newest generation", rules.MIN_BRANCH
        )
        for device in devices
        if device.architecture is Architecture.UNKNOWN
    ]
    if branch.ended:
        # Only the owner can choose an ended branch (Debian's archive has no other): it is allowed, with a warning.
        warnings.append(
            Reason(
                f"branch {number} ended in {branch.ended} and gets no security fixes: {rules.DEFAULT_BRANCH} does",
                rules.BRANCH_ENDED,
            )
        )
    chosen = f"driver {request.version}" if request.version else f"the newest driver of branch {number}"
    reasons = [Reason(f"{chosen}: {branch.kind} branch, CUDA {branch.cuda_major}", rules.BRANCH_ENDED)]
    if oldest.architecture < Architecture.TURING:
        reasons.append(Reason(f"{oldest.label} has no newer branch than 580", rules.LAST_FOR_OLD))
    return number, tuple(reasons), tuple(warnings)


def _source(machine: Machine, request: DriverRequest, flavour: Flavour, branch: int) -> tuple[Source, Reason]:
    if request.source is Source.UBUNTU and machine.os_id != "ubuntu":
        raise Refused(
            f"driver_source 'ubuntu' on {machine.os_id} {machine.os_version}, expected Ubuntu",
            "remove driver_source from the host's values",
            rules.SOURCE,
        )
    if request.source is Source.DEBIAN:
        _debian_archive(machine, branch)
    if machine.secure_boot:
        return _source_under_secure_boot(machine, request, flavour)
    if request.source:
        return request.source, Reason(f"packages from {request.source}: set by driver_source", rules.SOURCE)
    return Source.NVIDIA, Reason("packages from NVIDIA's repository, pinned to the branch", rules.SOURCE)


def _debian_archive(machine: Machine, branch: int) -> None:
    if machine.os_id != "debian":
        raise Refused(
            f"driver_source 'debian' on {machine.os_id} {machine.os_version}, expected Debian",
            "remove driver_source from the host's values",
            rules.SOURCE,
        )
    archived = rules.DEBIAN_ARCHIVE[machine.os_version]
    if archived != branch:
        raise Refused(
            f"driver_source 'debian', which carries branch {archived} on Debian {machine.os_version}, "
            f"expected branch {branch}",
            "remove driver_source from the host's values to use NVIDIA's repository",
            rules.DEBIAN_BRANCH,
        )


def _source_under_secure_boot(machine: Machine, request: DriverRequest, flavour: Flavour) -> tuple[Source, Reason]:
    if machine.os_id == "ubuntu" and request.source in (None, Source.UBUNTU):
        return Source.UBUNTU, Reason(
            "Ubuntu's own modules: Secure Boot is on and Canonical signs them", rules.SECURE_BOOT
        )
    if machine.running_driver and machine.os_id == "debian":
        return Source.NVIDIA, Reason(
            f"packages from NVIDIA's repository: the firmware accepts the key of driver {machine.running_driver}",
            rules.SECURE_BOOT,
        )
    if not machine.console:
        raise Refused(
            "Secure Boot on and modules that DKMS builds here unsigned by a known key, expected one it accepts",
            "turn Secure Boot off in the firmware, or set driver_console to true and enrol the key at the console "
            "when the host reboots"
            + (", or remove driver_source" if machine.os_id == "ubuntu" else ", or use Ubuntu's signed modules"),
            rules.SECURE_BOOT,
        )
    source = request.source or Source.NVIDIA
    return source, Reason(
        f"packages from {source}: the owner enrols the module's key at the console ({flavour} modules)",
        rules.SECURE_BOOT,
    )


def _image(devices: tuple[Device, ...], branch: int, request: DriverRequest) -> None:
    image = request.image
    if image is None or image.cuda is None:
        return
    driver_cuda = rules.BRANCHES[branch].cuda_major
    if image.cuda[0] > driver_cuda and not (
        image.compat_libraries and all(device.is_data_center for device in devices)
    ):
        raise Refused(
            f"image {image.name} with CUDA {image.cuda[0]}.{image.cuda[1]} on driver branch {branch} "
            f"(CUDA {driver_cuda}), expected an image the driver can run",
            f"set driver_branch to {rules.DEFAULT_BRANCH}, or use an image with CUDA {driver_cuda}",
            rules.IMAGE_CUDA,
        )
    for device in devices:
        oldest = CAPABILITY.get(device.architecture)
        needed = max(image.minimum_capability, (7, 5) if image.cuda[0] >= 13 else (0, 0))
        if oldest is not None and oldest < needed:
            raise Refused(
                f"image {image.name} with {device.label} ({device.architecture}, compute capability "
                f"{oldest[0]}.{oldest[1]}), expected {needed[0]}.{needed[1]} or newer",
                "use an engine whose image still has code for this GPU (llama.cpp), or another GPU",
                rules.IMAGE_ARCH,
            )


#: Highest compute capability within each generation: where it is below a floor, no GPU of it reaches that floor.
CAPABILITY = {
    Architecture.MAXWELL: (5, 2),
    Architecture.PASCAL: (6, 1),
    Architecture.VOLTA: (7, 0),
    Architecture.TURING: (7, 5),
    Architecture.AMPERE: (8, 6),
    Architecture.ADA: (8, 9),
    Architecture.HOPPER: (9, 0),
    Architecture.BLACKWELL: (12, 1),
}


def _fabric(machine: Machine, devices: tuple[Device, ...], request: DriverRequest) -> tuple[Fabric, tuple[Reason, ...]]:
    if request.fabric is not None:
        return request.fabric, (Reason(f"fabric {request.fabric}: set by driver_fabric", rules.FABRIC_VALUE),)
    if any(device.device_id in rules.RACK_SCALE for device in devices):
        return Fabric.IMEX, (Reason("IMEX: the NVLink switches sit in their own trays", rules.IMEX),)
    if machine.nvswitches:
        switch = lookup(machine.nvswitches[0].device_id)
        return Fabric.FABRIC_MANAGER, (
            Reason(f"fabric manager: {len(machine.nvswitches)} {switch.label} on the bus", rules.FABRIC),
        )
    boards = [device for device in devices if device.device_id in rules.NVLINK5_BOARDS]
    if machine.nvlink5_bridge or (machine.nvlink5_bridge is None and len(boards) > 1):
        return Fabric.FABRIC_MANAGER_NVLINK5, (
            Reason("fabric manager with nvlsm: an NVLink 5 board, whose switches are not on the bus", rules.NVLINK5),
        )
    if boards and machine.nvlink5_bridge is False:
        return Fabric.NONE, (
            Reason(
                "no fabric manager: no bridge of this host manages NVLink 5 switches (GPUs passed through; it runs on "
                "the hypervisor)",
                rules.NVLINK5_BRIDGE,
            ),
        )
    return Fabric.NONE, ()


def _activation(machine: Machine, request: DriverRequest, branch: int, source: Source) -> tuple[Activation, Reason]:
    """What will be needed once the packages are there; the role decides again from the state it finds then."""
    if machine.nouveau_loaded:
        return Activation.REBOOT, Reason("reboot: nouveau holds the GPUs", rules.ACTIVATION)
    if machine.secure_boot and machine.console:
        return Activation.REBOOT, Reason("reboot: the module's key is enrolled at the console", rules.SECURE_BOOT)
    if machine.running_driver is None and source is Source.UBUNTU and machine.kernel_metas:
        return Activation.LOAD, Reason(
            "no reboot where the archive's newest kernel runs, which its modules are for; else into that one",
            rules.SIGNED_KERNEL,
        )
    if machine.running_driver is None:
        return Activation.LOAD, Reason(
            "no reboot: nothing holds the GPUs, the module is loaded at once", rules.ACTIVATION
        )
    wanted = (
        machine.running_driver == request.version
        if request.version
        else version_key(machine.running_driver)[0] == branch
    )
    if wanted:
        return Activation.NOTHING, Reason(f"driver {machine.running_driver} is running", rules.ACTIVATION)
    return Activation.RELOAD, Reason(
        f"driver {machine.running_driver} is replaced: unloaded when nothing uses it, else a reboot",
        rules.ACTIVATION,
    )
