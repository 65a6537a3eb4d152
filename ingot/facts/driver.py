"""The NVIDIA driver of a host: what runs, what is on disk, what user space has, and for which kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.compat.machine import Card, Flavour, Machine
from ingot.facts import nvidia, pci, xid
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nvidia import GpuReport, reported
from ingot.facts.pci import PciReading, parse_sysfs
from ingot.facts.sections import Section, answer, compose, split
from ingot.facts.xid import Xid, parse_xids

#: Debian's own packages give the module other names, and leave the rest to modprobe's configuration, which modinfo
#: does not follow.
MODULES = "nvidia nvidia-current nvidia-current-open"

# modinfo answers from the running kernel's tree unless told otherwise. A directory without modules.dep or modules is
# a leftover of a removed kernel, not a kernel.
_KERNELS = f"""for d in /lib/modules/*/; do
  k=${{d%/}}; k=${{k##*/}}
  [ -e "$d/kernel" ] || [ -e "$d/modules.dep" ] || [ "$k" = "$(uname -r)" ] || continue
  h=no; [ -e "$d/build" ] && h=yes
  v=$(for m in {MODULES}; do modinfo -k "$k" -F version $m 2>/dev/null && break; done | head -n 1)
  echo "$k $h $v"
done; true"""

#: What driver facts ask beside the PCI bus and nvidia-smi.
QUESTIONS: dict[str, str] = {
    "driver_running": "cat /proc/driver/nvidia/version 2>/dev/null",
    "driver_on_disk": (
        f"for f in version license; do for m in {MODULES}; do "
        "modinfo -F $f $m 2>/dev/null && break; done | head -n 1; done"
    ),
    "driver_library": (
        "for d in /usr/lib/*-linux-gnu /usr/lib64; do "
        '[ -e "$d/libnvidia-ml.so.1" ] && readlink -f "$d/libnvidia-ml.so.1"; done; true'
    ),
    "driver_kernels": _KERNELS,
    "driver_packages": (
        "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\t${Version}\\n' "
        "'*nvidia*' 'cuda-drivers*' 'nvlsm' 'linux-image-*' 'linux-headers-*' 2>/dev/null; true"
    ),
    "driver_dkms": "command -v dkms >/dev/null && dkms status 2>/dev/null; true",
    # Who holds the GPUs open, also when nvidia-smi cannot say (a library of another version). Its own daemons yield.
    "driver_users": (
        "{ command -v nvidia-smi >/dev/null && timeout 60 "
        "nvidia-smi --query-compute-apps=pid --format=csv,noheader 2>/dev/null; "
        "find /proc/[0-9]*/fd -lname '/dev/nvidia*' 2>/dev/null | cut -d/ -f3; } | sort -nu | while read -r p; do "
        "read -r c </proc/$p/comm 2>/dev/null || c=unknown; "
        'case $c in nvidia-persiste*|nv-fabricmanage*|nvidia-smi) ;; *) echo "$p $c";; esac; done; true'
    ),
    # What NVIDIA's .run installer leaves to undo itself; packages have none.
    "driver_runfile": "command -v nvidia-uninstall",
    "driver_xids": xid.QUESTION,
    "os_release": "cat /etc/os-release",
    "machine": "uname -m; uname -r",
    "pending_kernel": "cat /run/reboot-required.pkgs 2>/dev/null; true",
    "secure_boot": (
        "if command -v mokutil >/dev/null; then mokutil --sb-state 2>/dev/null; "
        "else f=$(ls /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null | head -n 1); "
        '[ -n "$f" ] && [ "$(od -An -t u1 "$f" | tr -d " \\n" | tail -c 1)" = 1 ] '
        '&& echo "SecureBoot enabled"; fi; true'
    ),
    "jetson": "[ -e /etc/nv_tegra_release ] || tr -d '\\0' </proc/device-tree/compatible 2>/dev/null | grep -q tegra",
}

_RUNNING = re.compile(r"NVRM version:.*?\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s")
_VERSION = re.compile(r"^[0-9]+\.[0-9]+(?:\.[0-9]+)?$")
_LIBRARY = re.compile(r"libnvidia-ml\.so\.([0-9]+\.[0-9]+(?:\.[0-9]+)?)$")
_DKMS = re.compile(r"^(nvidia[^/,]*)[/,]\s*([^,]+),\s*([^,]+),\s*([^:,]+):\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Package:
    """One package of dpkg's list. `status` is dpkg's (`ii`, `iF`, `rc`), `held` its hold mark."""

    name: str
    version: str
    status: str
    held: bool = False

    @property
    def is_installed(self) -> bool:
        """Fully installed and configured."""
        return self.status == "ii"

    @property
    def upstream(self) -> str:
        """The version without epoch and Debian revision: `1:580.95.05-0ubuntu1` is `580.95.05`."""
        return self.version.rpartition(":")[2].partition("-")[0]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel that can boot here: whether its headers are there, and the NVIDIA module built for it."""

    release: str
    headers: bool
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Os:
    """os-release: `id` and `version` as it writes them."""

    id: str = ""
    version: str = ""
    pretty: str = ""


@dataclass(frozen=True, slots=True)
class DriverState:
    """Everything the driver role decides from. Versions as printed; None where there is none."""

    os: Os
    arch: str
    kernel: str
    bus: PciReading
    running: str | None = None
    running_flavour: Flavour | None = None
    on_disk: str | None = None
    on_disk_flavour: Flavour | None = None
    library: str | None = None
    kernels: tuple[Kernel, ...] = ()
    packages: Mapping[str, Package] | None = None
    dkms_failed: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    pending_kernel: bool = False
    secure_boot: bool = False
    jetson: bool = False
    runfile: bool = False
    xids: tuple[Xid, ...] = ()

    @property
    def nouveau(self) -> bool:
        """Whether nouveau (or its successor nova) holds a GPU."""
        return any(device.driver in ("nouveau", "nova_core", "nova-core") for device in self.bus.gpus)

    @property
    def installed(self) -> dict[str, Package]:
        """Packages that are installed and configured, by name."""
        return {name: package for name, package in (self.packages or {}).items() if package.is_installed}

    @property
    def kernel_metas(self) -> tuple[str, ...]:
        """Installed kernel meta packages (`linux-image-amd64`), which headers follow."""
        images = (name for name in self.installed if name.startswith("linux-image-"))
        # A versioned image carries the release's digits right after the prefix; a meta package does not.
        return tuple(sorted(name for name in images if not re.match(r"linux-image-(unsigned-)?[0-9]", name)))

    def machine(self, console: bool = False, *, partial: bool = False) -> Machine:
        """What a decision is made from.

        `console` says whether someone can enrol a module's key at the next boot, `partial` whether the owner names
        the GPUs that Ingot may use.
        """
        return Machine(
            gpus=tuple(Card(device.device_id, device.driver, device.is_virtual) for device in self.bus.gpus),
            nvswitches=tuple(Card(device.device_id, device.driver) for device in self.bus.nvswitches),
            os_id=self.os.id,
            os_version=self.os.version,
            arch=self.arch,
            kernel=self.kernel,
            newer_kernel=self.newer_kernel,
            kernel_metas=self.kernel_metas,
            secure_boot=self.secure_boot,
            console=console,
            jetson=self.jetson,
            running_driver=self.running,
            running_flavour=self.running_flavour,
            nouveau_loaded=self.nouveau,
            partial=partial,
        )

    @property
    def newer_kernel(self) -> str | None:
        """A kernel newer than the running one that the next boot will take."""
        newest = max((kernel.release for kernel in self.kernels), key=_kernel_key, default=self.kernel)
        return newest if _kernel_key(newest) > _kernel_key(self.kernel) else None


@dataclass(frozen=True, slots=True)
class DriverLook:
    """The driver's state, and what its GPUs say through it."""

    state: DriverState
    gpus: GpuReport


class Driver(FactBase[DriverLook | Unread]):
    """The driver, the PCI bus, the OS and the GPUs' own report, in one command.

    Returns: DriverLook(DriverState(os=Os('debian', '13', …), running='580.159.04', …), GpuReport(gpus=(GPU(…),)))
    """

    def command(self) -> str:
        return compose(QUESTIONS | nvidia.QUESTIONS | {"pci": pci.QUESTION})

    @staticmethod
    def default() -> DriverLook | Unread:
        return Unread()

    def process(self, output: Iterable[str]) -> DriverLook | Unread:
        try:
            sections = split(output)
            return DriverLook(parse_driver(sections), reported(sections))
        except ParseError as error:
            return Unread(str(error))


def parse_driver(sections: Mapping[str, Section]) -> DriverState:
    """The answers to `QUESTIONS`.

    Raises: ParseError when an answer that every Linux gives is missing.
    """
    machine = answer(sections, "machine").output.splitlines()
    if len(machine) != 2:
        raise ParseError("uname answered neither machine nor kernel release.")
    running = answer(sections, "driver_running").output
    on_disk, license_ = (*answer(sections, "driver_on_disk").output.splitlines(), "", "")[:2]
    return DriverState(
        os=parse_os_release(answer(sections, "os_release").output),
        arch=machine[0],
        kernel=machine[1],
        bus=parse_sysfs(answer(sections, "pci").output),
        running=parse_running(running),
        running_flavour=running_flavour(running),
        on_disk=on_disk if _VERSION.match(on_disk) else None,
        on_disk_flavour=license_flavour(license_),
        library=parse_library(answer(sections, "driver_library").output),
        kernels=parse_kernels(answer(sections, "driver_kernels").output),
        packages=parse_packages(answer(sections, "driver_packages").output),
        dkms_failed=parse_dkms_failed(answer(sections, "driver_dkms").output),
        users=parse_users(answer(sections, "driver_users").output),
        pending_kernel="linux-" in answer(sections, "pending_kernel").output,
        secure_boot="secureboot enabled" in answer(sections, "secure_boot").output.lower(),
        jetson=answer(sections, "jetson").status == 0,
        runfile=answer(sections, "driver_runfile").status == 0,
        # Recordings made before Ingot asked for it are read all the same.
        xids=parse_xids(sections.get("driver_xids", Section("")).output),
    )


_PID = re.compile(r"^[0-9]{1,10}$")


def parse_running(text: str) -> str | None:
    """The loaded module's version in /proc/driver/nvidia/version; None when nothing is loaded."""
    match = _RUNNING.search(text + "\n")
    return match.group(1) if match else None


def running_flavour(text: str) -> Flavour | None:
    """The loaded module's flavour: the open one says so in its banner."""
    if parse_running(text) is None:
        return None
    return Flavour.OPEN if "Open Kernel Module" in text else Flavour.PROPRIETARY


def license_flavour(text: str) -> Flavour | None:
    """The flavour of a module file by its licence: `Dual MIT/GPL` is open, `NVIDIA` proprietary."""
    if not text:
        return None
    return Flavour.OPEN if "GPL" in text else Flavour.PROPRIETARY


def parse_library(text: str) -> str | None:
    """The version of user space, from where libnvidia-ml.so.1 leads."""
    found = [match.group(1) for line in text.splitlines() if (match := _LIBRARY.search(line.strip()))]
    return found[0] if found else None


def parse_kernels(text: str) -> tuple[Kernel, ...]:
    """Lines of `release headers module`."""
    kernels = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= 2:
            kernels.append(Kernel(cells[0], cells[1] == "yes", cells[2] if len(cells) > 2 else None))
    return tuple(kernels)


def parse_packages(text: str) -> dict[str, Package]:
    """`dpkg-query` lines of status, name and version; a package known in two architectures keeps its installed one."""
    found: dict[str, Package] = {}
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) != 3 or len(cells[0].strip()) < 2:
            continue
        status, name, version = cells
        package = Package(name, version, f"i{status[1]}" if status[0] == "h" else status[:2], status[0] == "h")
        if name not in found or package.is_installed:
            found[name] = package
    return found


def parse_dkms_failed(text: str) -> tuple[str, ...]:
    """NVIDIA modules that `dkms status` knows but has not installed, one sentence part each."""
    failed = []
    for line in text.splitlines():
        match = _DKMS.match(line.strip())
        if match and match.group(5).strip("()") != "installed":
            module, version, kernel, _, state = match.groups()
            failed.append(f"{module} {version.strip()} for kernel {kernel.strip()} is only {state}")
    return tuple(failed)


def parse_users(text: str) -> tuple[str, ...]:
    """Processes that use the GPUs, as `python3 (pid 4711)`."""
    found = (line.split(None, 1) for line in text.splitlines())
    return tuple(f"{cells[1]} (pid {cells[0]})" for cells in found if len(cells) == 2 and _PID.match(cells[0]))


def parse_os_release(text: str) -> Os:
    """ID, VERSION_ID and PRETTY_NAME of os-release."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            values[name.strip()] = value.strip().strip("\"'")
    return Os(values.get("ID", ""), values.get("VERSION_ID", ""), values.get("PRETTY_NAME", ""))


def _kernel_key(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", release)[:6])
