"""What a host has, compared with what was ordered: one sentence per difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ingot.catalog.load import load_gpus
from ingot.catalog.pci import GPU_OF_DEVICE
from ingot.facts.disks import Disk
from ingot.facts.hardware import HardwareSeen
from ingot.facts.pci import PciDevice
from ingot.inventory.expectation import DisksOrdered, Expectation, GpusOrdered, LinksOrdered, MemoryOrdered

GIB = 1 << 30
#: The kernel keeps page tables, firmware and a crash kernel's share for itself: 1.6 % and some hundred MiB. Below
#: this share of what was ordered a module is missing (one of 32 is 3.1 %).
KERNEL_MEMORY_SHARE = 0.96
KERNEL_MEMORY_BYTES = 512 << 20
#: Sizes of disks and rates of links are decimal and exact up to rounding: 3.84 TB is 3 840 755 982 336 bytes.
DISK_TOLERANCE = 0.02
LINK_TOLERANCE = 0.01
#: A GPU's product name rounds its memory: 80GB is 81559 MiB, 24GB is 23028 MiB.
GPU_MEMORY_TOLERANCE = 0.10


def differences(ordered: Expectation, seen: HardwareSeen) -> tuple[str, ...]:
    """Every difference as a sentence without the host's name and the final stop; none when all came as ordered."""
    found: list[str] = []
    found += _gpus(ordered.gpus, [one.device for one in seen.gpus])
    if ordered.memory:
        found += _memory(ordered.memory, seen)
    for disks in ordered.disks:
        found += _disks(disks, seen.disks)
    for links in ordered.network:
        found += _links(links, seen)
    return tuple(found)


def _gpus(ordered: Iterable[GpusOrdered], devices: list[PciDevice]) -> Iterator[str]:
    ordered = tuple(ordered)
    if not ordered:
        return
    left = list(devices)
    for one in ordered:
        fitting = [device for device in left if _is(one, device)]
        if len(fitting) != one.count:
            found = _counted(_name(device) for device in devices) or "no GPU on the PCI bus"
            yield (
                f"ordered {one.text}, found {found}; check seating, risers and power of the cards, and the delivery "
                "note"
            )
        left = [device for device in left if device not in fitting]
    total = sum(one.count for one in ordered)
    if len(devices) > total and left:
        names = _counted(_name(device) for device in left)
        yield f"ordered {' + '.join(one.text for one in ordered)}, found {names} besides; correct `expect` if it stays"


def _is(ordered: GpusOrdered, device: PciDevice) -> bool:
    """Whether a device is the ordered product; one that no table names is taken for it."""
    key = GPU_OF_DEVICE.get(device.device_id)
    known = load_gpus()[key] if key else None
    name = device.device.name
    if known is None and ("unknown to Ingot" in name or (name.startswith("NVIDIA ") and name.endswith(" GPU"))):
        return True
    names = [name] if known is None else [name, known.name, known.key]
    if not ordered.is_model(*names):
        return False
    if ordered.memory_gb is None or known is None:
        return True
    memory_gb = known.memory_mib * (1 << 20) / 1e9
    return abs(memory_gb - ordered.memory_gb) <= ordered.memory_gb * GPU_MEMORY_TOLERANCE


def _memory(ordered: MemoryOrdered, seen: HardwareSeen) -> Iterator[str]:
    found = seen.installed_memory_bytes
    expected = ordered.size_bytes
    if not seen.memory_modules:
        expected = min(int(expected * KERNEL_MEMORY_SHARE), expected - KERNEL_MEMORY_BYTES)
    if found < expected:
        modules = f" in {len(seen.memory_modules)} modules" if seen.memory_modules else ""
        yield f"ordered {ordered.text} of memory, found {found / GIB:.0f} GiB{modules}; look for a missing module"


def _disks(ordered: DisksOrdered, disks: Iterable[Disk]) -> Iterator[str]:
    candidates = [disk for disk in disks if ordered.kind in (None, disk.kind)]
    fitting = [
        disk for disk in candidates if abs(disk.size_bytes - ordered.size_bytes) <= ordered.size_bytes * DISK_TOLERANCE
    ]
    if len(fitting) < ordered.count:
        found = _counted(f"{_terabytes(disk.size_bytes)} {disk.kind}" for disk in candidates)
        yield f"ordered {ordered.text}, found {found or f'no {ordered.kind} disk'}; check bays, backplane and BIOS"


def _links(ordered: LinksOrdered, seen: HardwareSeen) -> Iterator[str]:
    # RDMA devices that are Ethernet show up as interfaces too: each link counts once.
    rates = [nic.speed_bits for nic in seen.nics if nic.is_physical and nic.speed_bits]
    rates += [port.rate_bits for port in seen.infiniband if port.is_active and port.link_layer == "InfiniBand"]
    fast = [rate for rate in rates if rate >= ordered.bits * (1 - LINK_TOLERANCE)]
    if len(fast) < ordered.count:
        found = _counted(f"{rate / 1e9:g} Gb/s" for rate in sorted(rates, reverse=True))
        silent = sum(1 for nic in seen.nics if nic.is_physical and not nic.speed_bits)
        down = f" and {silent} that {'is' if silent == 1 else 'are'} down or say no rate" if silent else ""
        yield f"ordered {ordered.text}, found {found or 'no link'}{down}; check cables, transceivers and switch ports"


def _name(device: PciDevice) -> str:
    key = GPU_OF_DEVICE.get(device.device_id)
    return load_gpus()[key].name.removeprefix("NVIDIA ") if key else device.device.label


def _counted(names: Iterable[str]) -> str:
    return " + ".join(f"{count} x {name}" for name, count in Counter(names).items())


def _terabytes(number: int) -> str:
    return f"{number / 1e12:.2f} TB" if number >= 1e12 else f"{number / 1e9:.0f} GB"
