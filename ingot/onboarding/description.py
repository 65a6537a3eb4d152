"""What a server is made of, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ingot.catalog.load import hardware_from_name
from ingot.catalog.pci import GPU_OF_DEVICE
from ingot.facts.disks import Disk
from ingot.facts.hardware import GpuSeen, HardwareSeen
from ingot.facts.nics import Nic
from ingot.sizing import SizingError


def gpus_of(seen: HardwareSeen) -> str | None:
    """The GPUs as a host file names them, such as h100x8 or rtx3090x1+rtx3060x1; None for none or unknown."""
    names = [GPU_OF_DEVICE.get(gpu.device.device_id) for gpu in seen.gpus]
    if not names or None in names:
        return None
    return "+".join(f"{name}x{count}" for name, count in Counter(names).items())


def are_gpus(stated: str, seen: HardwareSeen) -> bool:
    """Whether a host file's words name the GPUs that were seen, in any order and spelling."""
    try:
        found = hardware_from_name(gpus_of(seen) or "")
        return Counter(gpu.name for gpu in hardware_from_name(stated).gpus) == Counter(gpu.name for gpu in found.gpus)
    except SizingError:
        return False


def summary(seen: HardwareSeen) -> str:
    """One line for people: `8 x H100 SXM5 80GB, 2.0 TiB memory, 8 x 3.84 TB NVMe, 400 Gb/s`."""
    parts = [
        gpu_line(seen.gpus),
        f"{_memory(seen.installed_memory_bytes)} memory",
        disk_line(seen.disks),
        network(seen),
    ]
    return ", ".join(part for part in parts if part)


def gpu_line(gpus: Iterable[GpuSeen]) -> str:
    """`8 x H100 SXM5 80GB`, or `no GPU`."""
    # pci.ids writes the chip before the name that people know: `GH100 [H100 SXM5 80GB]`.
    counted = Counter(gpu.device.device.name.rpartition("[")[2].rstrip("]") for gpu in gpus)
    return " + ".join(f"{count} x {name}" for name, count in counted.items()) or "no GPU"


def disk_line(disks: Iterable[Disk]) -> str:
    """`2 x 960 GB SSD + 8 x 3.84 TB NVMe`."""
    counted = Counter(f"{_disk_size(disk.size_bytes)} {disk.kind}" for disk in disks)
    return " + ".join(f"{count} x {what}" for what, count in counted.items())


def network(seen: HardwareSeen) -> str:
    """The fastest links that are up: `8 x 400 Gb/s`."""
    speeds = [port.rate_bits for port in seen.infiniband if port.is_active and port.link_layer == "InfiniBand"]
    speeds += [nic.speed_bits for nic in seen.nics if nic.speed_bits and nic.state == "up" and nic.is_physical]
    speeds = speeds or [nic.speed_bits for nic in seen.nics if nic.speed_bits]
    if not speeds:
        return ""
    fastest = max(speeds)
    count = speeds.count(fastest)
    return f"{count} x {_speed(fastest)}" if count > 1 else _speed(fastest)


def rows(seen: HardwareSeen) -> Iterable[tuple[str, str]]:
    """Part and what it is; a part with several pieces has one row each."""
    chassis = " ".join(part for part in (seen.chassis.vendor, seen.chassis.product) if part)
    serial = f", serial {seen.chassis.serial}" if seen.chassis.serial else ""
    yield (
        "server",
        (chassis or "unknown maker") + serial + (f", on {seen.virtualization}" if seen.virtualization else ""),
    )
    yield "system", f"{seen.os.pretty}, kernel {seen.kernel} ({seen.arch})"
    yield "Secure Boot", "on: modules must be signed" if seen.secure_boot else "off"
    cpu = seen.cpu
    yield "processor", f"{cpu.sockets} x {cpu.model}, {cpu.cores} cores, {cpu.threads} threads, {cpu.numa_nodes} NUMA"
    modules = Counter(_memory(size) for size in seen.memory_modules)
    detail = " + ".join(f"{count} x {size}" for size, count in modules.items())
    yield "memory", _memory(seen.installed_memory_bytes) + (f" ({detail})" if detail else "")
    for gpu in seen.gpus:
        yield "GPU", f"{gpu.device.address} {gpu.device.device.label}{_link(gpu)}{_held(gpu)}"
    if not seen.gpus:
        yield "GPU", "none on the PCI bus"
    for device, count in Counter(one.device.label for one in seen.nvswitches).items():
        yield "NVSwitch", f"{count} x {device}"
    for disk in seen.disks:
        holds = "; ".join(disk.contents) or "empty"
        yield "disk", f"{disk.name} {_disk_size(disk.size_bytes)} {disk.kind} {disk.model}".rstrip() + f": {holds}"
    for nic in seen.nics:
        yield "network", _nic(nic)
    for port in seen.infiniband:
        yield port.link_layer, f"{port.device} port {port.port} {_speed(port.rate_bits)}, {port.state.lower()}"
    yield "BMC", f"seen ({seen.bmc})" if seen.bmc else "none seen"


def _link(gpu: GpuSeen) -> str:
    link = gpu.link
    if link is None or link.width is None:
        return ""
    return f", PCIe x{link.width}" + (f" of x{link.max_width}: check seat and riser" if link.is_narrow else "")


def _held(gpu: GpuSeen) -> str:
    return f", driver {gpu.device.driver}" if gpu.device.driver else ""


def _nic(nic: Nic) -> str:
    speed = _speed(nic.speed_bits) if nic.speed_bits else "speed unknown"
    return f"{nic.name} {speed}, {nic.state}" + (f", {nic.driver}" if nic.driver else "")


def _memory(number: int) -> str:
    return f"{number / (1 << 40):.1f} TiB" if number >= 1 << 40 else f"{number / (1 << 30):.0f} GiB"


def _disk_size(number: int) -> str:
    """As makers print it: powers of ten."""
    return f"{number / 10**12:.2f} TB" if number >= 10**12 else f"{number / 10**9:.0f} GB"


def _speed(bits: int) -> str:
    return f"{bits / 10**9:g} Gb/s"
