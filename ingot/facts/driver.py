"""The NVIDIA driver of a host: what runs, what is on disk, what user space has, and for which kernels."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.compat.machine import Card, Flavour, Machine
from ingot.facts import nvidia, pci, smi_call, xid
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nvidia import GpuReport, reported
from ingot.facts.pci import PciReading, parse_sysfs
from ingot.facts.sections import Question, Section, answer, split
from ingot.facts.xid import SwitchError, Xid, parse_switch_errors, parse_xids

#: Units and containers that a change of the driver stopped, until they run again.
STOPPED = "/var/lib/ingot/driver-stopped"

#: Programs that read the GPUs' counters and compute nothing on them, by the name that the kernel keeps (15 letters):
#: they are stopped while the driver changes, and started again.
READERS = (
    "nv-hostengine",
    "dcgm-exporter",
    "*[-_]exporter",
    "nvidia[-_]gpu[-_]exp*",
    "nvidia[-_]smi[-_]exp*",
    "prometheus-nvid*",
    "nvidia-topolog*",
    "nvtop",
    "nvitop",
    "gpustat",
    "btop",
    "nv-monitor",
    "gpud",
    "telegraf",
    "netdata",
    "go.d.plugin",
    "zabbix_agent2",
    "datadog-agent",
)

#: Names of the module. Debian's own packages use other names and redirect modprobe to them; modinfo does not follow
#: that redirection.
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

# Whether apt knows headers of the running kernel, and of the kernel that the installed meta packages would bring. apt's
# lists may be empty on a new host: then it knows neither. Where the headers are here, or no device of NVIDIA's is,
# nobody wants to know, and it is the slowest of all questions.
_HEADERS = r"""k=$(uname -r)
[ ! -e "/lib/modules/$k/build" ] && grep -qsx 0x10de /sys/bus/pci/devices/*/vendor || exit 0
metas=$(dpkg-query -W -f='${db:Status-Abbrev}|${Package}\n' 'linux-image-*' 'proxmox-*kernel*' 2>/dev/null |
  sed -n 's/^.i.*|//p' | grep -vE '^linux-image-(extra-|(unsigned-)?[0-9])|-dbg$|-pve(-signed)?$' |
  sed 's/^linux-image-/linux-headers-/; s/^proxmox-\(default-\)*kernel/proxmox-\1headers/')
export LC_ALL=C
apt-cache policy "linux-headers-$k" "proxmox-headers-$k" "pve-headers-$k" 2>/dev/null
[ -z "$metas" ] || apt-cache depends --recurse --no-recommends --no-suggests --no-enhances --no-conflicts --no-breaks \
  --no-replaces $metas 2>/dev/null | grep -oE '(linux|proxmox|pve)-headers-[0-9]\S+' | sort -u | sed 's/^/brings /'
true"""

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
        "'*nvidia*' 'cuda-drivers*' 'libcuda1' 'nvlsm' 'linux-image-*' 'linux-headers-*' 'proxmox-*' 'pve-*' "
        "2>/dev/null; true"
    ),
    "driver_dkms": "command -v dkms >/dev/null && dkms status 2>/dev/null; true",
    # Processes that have the GPUs' device files open. /proc tells them also when nvidia-smi cannot (its library has
    # another version). The driver's own daemons are left out.
    "driver_users": (
        f"{smi_call.SHELL}"
        "{ command -v nvidia-smi >/dev/null && smi --query-compute-apps=pid --format=csv,noheader; "
        "find /proc/[0-9]*/fd -lname '/dev/nvidia*' 2>/dev/null | cut -d/ -f3; } | grep -E '^ *[0-9]+ *$' | sort -nu "
        "| while read -r p; do read -r c </proc/$p/comm 2>/dev/null || c=unknown; "
        'case $c in nvidia-persiste*|nv-fabricmanage*|nvidia-smi) ;; *) echo "$p $c";; esac; done; true'
    ),
    "driver_headers": _HEADERS,
    # What an earlier run stopped and has not started again.
    "driver_stopped": f"cat {STOPPED} 2>/dev/null; true",
    # What the fabric manager of an NVLink 5 board needs: the bridge that manages its switches, and the InfiniBand
    # module by which it is reached. The vital product data is read by the bridge's firmware, which may take seconds.
    "driver_nvlink5_bridge": (
        # Only boards of Blackwell's generation have one, and reading takes a moment for each network card.
        "grep -qsiE '^0x(29|2[a-f]|3[0-9])[0-9a-f]{2}$' $(grep -lsx 0x10de /sys/bus/pci/devices/*/vendor | "
        "sed 's/vendor$/device/') /dev/null || exit 0; "
        'for d in /sys/bus/pci/devices/*; do [ -r "$d/vpd" ] && read -r v <"$d/vendor" && [ "$v" = 0x15b3 ] '
        '|| continue; timeout 10 grep -aq SW_MNG "$d/vpd" 2>/dev/null && { echo "${d##*/}"; break; }; done; true'
    ),
    "driver_ib_umad": (
        "if [ -d /sys/module/ib_umad ]; then echo loaded; "
        "elif modinfo ib_umad >/dev/null 2>&1; then echo there; fi; true"
    ),
    # NVIDIA's .run installer leaves this program for its removal; packages have none.
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
class Headers:
    """What apt knows of kernel headers: whether it has those of the running kernel, and which kernel's the installed
    meta packages bring."""

    of_running: bool
    newest: str | None = None


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
    readers: tuple[str, ...] = ()
    headers: Headers | None = None
    stopped: tuple[str, ...] = ()
    nvlink5_bridge: bool | None = None
    ib_umad: bool = False
    ib_umad_loaded: bool = False
    pending_kernel: bool = False
    secure_boot: bool = False
    jetson: bool = False
    runfile: bool = False
    xids: tuple[Xid, ...] = ()
    switch_errors: tuple[SwitchError, ...] = ()

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
        """Installed kernel meta packages (`linux-image-amd64`, `proxmox-default-kernel`), which headers follow."""
        # A versioned image carries the release's digits right after the prefix; a meta package does not.
        return tuple(sorted(name for name in self.installed if _KERNEL_META.match(name)))

    @property
    def lacks_headers(self) -> bool:
        """Whether the running kernel has no headers, here or in apt's sources, while a newer kernel has."""
        here = any(kernel.release == self.kernel and kernel.headers for kernel in self.kernels)
        known = self.headers
        return not here and known is not None and not known.of_running and known.newest is not None

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
            nvlink5_bridge=self.nvlink5_bridge,
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
        return Question.of(QUESTIONS | nvidia.QUESTIONS | {"pci": pci.QUESTION})

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

    def optional(name: str) -> str:
        return sections.get(name, Section("")).output

    users, readers = parse_users(answer(sections, "driver_users").output)
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
        users=users,
        headers=parse_headers(optional("driver_headers"), machine[1]),
        readers=readers,
        # Recordings made before Ingot asked for these are read all the same.
        stopped=tuple(optional("driver_stopped").splitlines()),
        nvlink5_bridge=bool(optional("driver_nvlink5_bridge")) if "driver_nvlink5_bridge" in sections else None,
        ib_umad=bool(optional("driver_ib_umad")),
        ib_umad_loaded=optional("driver_ib_umad") == "loaded",
        pending_kernel="linux-" in answer(sections, "pending_kernel").output,
        secure_boot="secureboot enabled" in answer(sections, "secure_boot").output.lower(),
        jetson=answer(sections, "jetson").status == 0,
        runfile=answer(sections, "driver_runfile").status == 0,
        xids=parse_xids(optional("driver_xids")),
        switch_errors=parse_switch_errors(optional("driver_xids")),
    )


_KERNEL_META = re.compile(
    r"^(linux-image-(?!(unsigned-)?[0-9])(?!.*-dbg$)|proxmox-default-kernel$|(proxmox|pve)-kernel-[0-9]+\.[0-9]+$)"
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


def parse_users(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Processes that use the GPUs, as `python3 (pid 4711)`, and those that only read their counters."""
    lines = (line.split(None, 1) for line in text.splitlines())
    found = [(cells[1], cells[0]) for cells in lines if len(cells) == 2 and _PID.match(cells[0])]

    def named(reads: bool) -> tuple[str, ...]:
        return tuple(f"{name} (pid {pid})" for name, pid in found if is_reader(name) == reads)

    return named(False), named(True)


def is_reader(name: str) -> bool:
    """Whether a process of this name only reads the GPUs' counters."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in READERS)


def parse_headers(text: str, kernel: str) -> Headers | None:
    """apt's candidates for the headers of `kernel`, and lines of the headers that installed meta packages bring.

    None where apt tells nothing of either.
    """
    name, known = "", False
    of_running = False
    releases: list[str] = []
    for line in text.splitlines():
        if line.startswith("brings "):
            release = re.sub(r"^brings (linux|proxmox|pve)-headers-", "", line.strip())
            # What several flavours share (-common, or no flavour at all) is no kernel.
            if re.search(r"-[a-z]", release) and not release.endswith(("-common", "-all")):
                releases.append(release)
        elif line.endswith(":") and not line.startswith(" "):
            name, known = line[:-1], True
        elif "Candidate:" in line and name.endswith(f"-headers-{kernel}"):
            of_running = of_running or line.partition(":")[2].strip() != "(none)"
    if not known and not releases:
        return None
    return Headers(of_running, max(releases, key=_kernel_key, default=None))


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
