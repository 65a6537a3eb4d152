"""The hardware of a host as it came: what is seen without any driver of NVIDIA's, in one command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from ingot.facts import disks, dmi, driver, nics, pci, pci_link
from ingot.facts.disks import Disk, parse_lsblk
from ingot.facts.dmi import Chassis, parse_chassis, parse_memory_modules
from ingot.facts.driver import Os, parse_os_release
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nics import InfinibandPort, Nic, parse_infiniband, parse_nics
from ingot.facts.nvidia import parse_memory
from ingot.facts.pci import PciDevice, PciReading, parse_sysfs
from ingot.facts.pci_link import PciLink, parse_links
from ingot.facts.sections import Section, answer, compose, split

#: What the look asks. Firmware tables are read from the kernel, so that neither dmidecode nor lspci is needed.
QUESTIONS: dict[str, str] = {
    "os_release": driver.QUESTIONS["os_release"],
    "machine": driver.QUESTIONS["machine"],
    "secure_boot": driver.QUESTIONS["secure_boot"],
    "virtualization": "systemd-detect-virt 2>/dev/null; true",
    "chassis": dmi.CHASSIS,
    "memory_modules": dmi.MEMORY_MODULES,
    "bmc": dmi.BMC,
    "cpu": "grep -m 1 '^model name' /proc/cpuinfo; lscpu 2>/dev/null | grep '^Model name'; true",
    "cpu_layout": "lscpu -p=CPU,CORE,SOCKET,NODE",
    "memory": "grep -E '^Mem(Total|Available):' /proc/meminfo",
    "pci": pci.QUESTION,
    "pci_links": pci_link.QUESTION,
    "disks": disks.QUESTION,
    "nics": nics.QUESTION,
    "infiniband": nics.INFINIBAND_QUESTION,
}


@dataclass(frozen=True, slots=True)
class GpuSeen:
    """One GPU on the bus, and its PCIe link where the kernel shows it."""

    device: PciDevice
    link: PciLink | None = None


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processors of a host together: `cores` and `threads` over all `sockets`."""

    model: str
    sockets: int
    cores: int
    threads: int
    numa_nodes: int = 1


@dataclass(frozen=True, slots=True)
class HardwareSeen:
    """One look. `memory_bytes` is what the kernel has; `memory_modules` the size of each module, empty if not told.

    `virtualization` as systemd-detect-virt names it, None on bare metal. `bmc`: where the kernel sees one.
    """

    os: Os
    arch: str
    kernel: str
    bus: PciReading
    gpus: tuple[GpuSeen, ...]
    cpu: Cpu
    memory_bytes: int
    memory_modules: tuple[int, ...] = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    infiniband: tuple[InfinibandPort, ...] = ()
    chassis: Chassis = field(default_factory=Chassis)
    secure_boot: bool = False
    virtualization: str | None = None
    bmc: str | None = None

    @property
    def nvswitches(self) -> tuple[PciDevice, ...]:
        """The NVSwitches on the bus."""
        return self.bus.nvswitches

    @property
    def installed_memory_bytes(self) -> int:
        """What was plugged in, which is what people order; the kernel's figure where the firmware does not tell."""
        return sum(self.memory_modules) or self.memory_bytes


class HardwareLook(FactBase[HardwareSeen | Unread]):
    """Everything that a server was ordered with, in one command; nothing need be installed on it.

    Returns: HardwareSeen(os=Os('ubuntu', '24.04', …), gpus=(GpuSeen(PciDevice('0000:19:00.0', 0x2330, …), …), …), …)
    """

    @staticmethod
    def default() -> HardwareSeen | Unread:
        return Unread()

    def command(self) -> str:
        return compose(QUESTIONS)

    def process(self, output: Iterable[str]) -> HardwareSeen | Unread:
        try:
            return parse_hardware(split(output))
        except ParseError as error:
            return Unread(str(error))


def parse_hardware(sections: Mapping[str, Section]) -> HardwareSeen:
    """The answers to `QUESTIONS`.

    Raises: ParseError when an answer that every Linux gives is missing or unreadable.
    """
    machine = answer(sections, "machine").output.splitlines()
    memory = parse_memory(answer(sections, "memory").output)
    if len(machine) != 2 or memory is None:
        raise ParseError("uname or /proc/meminfo did not answer as every Linux does.")
    bus = parse_sysfs(answer(sections, "pci").output)
    links = parse_links(answer(sections, "pci_links").output)
    virtualization = answer(sections, "virtualization").line
    return HardwareSeen(
        os=parse_os_release(answer(sections, "os_release").output),
        arch=machine[0],
        kernel=machine[1],
        bus=bus,
        gpus=tuple(GpuSeen(device, links.get(device.address)) for device in bus.gpus),
        cpu=parse_cpu(answer(sections, "cpu").output, answer(sections, "cpu_layout").output),
        memory_bytes=memory[0],
        memory_modules=parse_memory_modules(answer(sections, "memory_modules").output),
        disks=parse_lsblk(answer(sections, "disks").output),
        nics=parse_nics(answer(sections, "nics").output),
        infiniband=parse_infiniband(answer(sections, "infiniband").output),
        chassis=parse_chassis(answer(sections, "chassis").output),
        secure_boot="secureboot enabled" in answer(sections, "secure_boot").output.lower(),
        virtualization=None if virtualization in ("", "none") else virtualization,
        bmc=answer(sections, "bmc").line or None,
    )


def parse_cpu(names: str, layout: str) -> Cpu:
    """A line with the model's name, and lscpu's table of CPU, core, socket and node numbers.

    Raises: ParseError when the table has no CPU.
    """
    rows = [line.split(",") for line in layout.splitlines() if line and not line.startswith("#")]
    if not rows or any(len(row) != 4 for row in rows):
        raise ParseError(f"lscpu printed {layout[:60]!r}, expected one line per CPU.")
    model = next((line.partition(":")[2].strip() for line in names.splitlines() if ":" in line), "")
    return Cpu(
        model=re.sub(r"\s+", " ", model) or "unknown",
        sockets=len({row[2] for row in rows}),
        cores=len({(row[1], row[2]) for row in rows}),
        threads=len(rows),
        numa_nodes=len({row[3] for row in rows}),
    )
