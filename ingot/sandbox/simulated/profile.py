"""Profiles of simulated hardware: data composed into the one file that the stand-ins read on the guest."""

import json
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# UUIDs are made from owner and position: the same host has the same GPUs after every rebuild, no other host has them.
_UUIDS = uuid.UUID("9a9a6c50-2a47-5f51-a902-b82c3b127e94")
# What a GPU answers otherwise in MIG mode: the difference between two captures of one H100.
_MIG_QUERY = {"mig.mode.current": "Enabled", "mig.mode.pending": "Enabled"} | dict.fromkeys(
    (
        *(f"utilization.{part}" for part in ("gpu", "memory", "encoder", "decoder", "jpeg", "ofa")),
        *(f"remapped_rows.{part}" for part in ("correctable", "uncorrectable", "pending", "failure")),
    ),
    "[N/A]",
)


def names() -> tuple[str, ...]:
    """Every profile there is, sorted: "a10gx4", "driver-mismatch", …"""
    return tuple(sorted(path.stem for path in (HERE / "profiles").glob("*.json")))


def hardware(name: str, owner: str) -> dict[str, Any]:
    """The hardware file of a profile for one host, `owner` (any text that is its own).

    Keys: profile, about, pci (sysfs values per device), gpus (address, uuid, query values by field with unit, fault,
    nvlinks, flavours of module that drive it, mig_devices in MIG mode), topology, units and aliases of query
    fields, nouveau (bound at boot
    unless blacklisted), loaded_at_first_boot (a module that was there before), compute_apps, build_fault, load_fault,
    smi_delay_s, kernel_log. Each GPU has what the burn-in shall measure on it (burn_in) and what it reports meanwhile
    (under_load).

    Raises:
        KeyError: no such profile; the message lists those that exist.
    """
    if name not in names():
        raise KeyError(f"no simulated profile {name!r}; there are {', '.join(names())}")
    profile = _read(HERE / "profiles" / f"{name}.json")
    if "extends" in profile:
        profile = _read(HERE / "profiles" / f"{profile['extends']}.json") | profile
    fields = _read(HERE / "products" / "fields.json")
    gpus = [_gpu(owner, index, slot) for index, slot in enumerate(profile["gpus"])]
    for index, fault in profile.get("faults", {}).items():
        gpus[int(index)]["fault"] = fault
    return {
        "profile": name,
        "about": profile["about"],
        "pci": [*profile["others"], *(device for slot in profile["gpus"] for device in _functions(slot))],
        "gpus": gpus,
        "topology": profile.get("topology", {"links": [], "cpu_affinity": [], "numa": []}),
        "units": fields["units"],
        "aliases": fields["aliases"],
        "nouveau": profile["nouveau"],
        "loaded_at_first_boot": profile.get("loaded_at_first_boot"),
        "compute_apps": [],
        "build_fault": None,
        "load_fault": None,
        "smi_delay_s": 0,
        "kernel_log": [],
    }


def _gpu(owner: str, index: int, slot: dict[str, Any]) -> dict[str, Any]:
    product = _product(slot)
    domain, bus, rest = slot["address"].split(":")
    vendor_and = {key: int(value, 16) for key, value in product["pci"].items()}
    query = _read(HERE / "products" / f"{product['shape']}.json")["query"] | product["query"]
    query |= {
        "pci.bus_id": f"{domain:0>8}:{bus}:{rest}".upper(),
        "pci.domain": f"0x{domain}",
        "pci.bus": f"0x{bus.upper()}",
        "pci.device": f"0x{rest.split('.')[0].upper()}",
        "pci.baseClass": "0x3",
        "pci.subClass": f"0x{vendor_and['class'] >> 8 & 0xFF:x}",
        "pci.device_id": f"0x{vendor_and['device']:04X}10DE",
        "pci.sub_device_id": f"0x{vendor_and['subsystem_device']:04X}{vendor_and['subsystem_vendor']:04X}",
    }
    gpu = {
        "address": slot["address"],
        "uuid": f"GPU-{uuid.uuid5(_UUIDS, f'{owner}/{index}')}",
        "fault": None,
        "flavours": product["flavours"],
        "nvlinks": product["nvlinks"],
        "query": query,
        **_read(HERE / "products" / "burn-in.json")[query["name"]],
    }
    if "mig" not in slot:
        return gpu
    devices = [
        {**device, "uuid": f"MIG-{uuid.uuid5(_UUIDS, f'{owner}/{index}/{number}')}"}
        for number, device in enumerate(slot["mig"])
    ]
    return gpu | {"query": query | _MIG_QUERY, "mig_devices": devices}


def _functions(slot: dict[str, Any]) -> list[dict[str, Any]]:
    """PCI functions of one card: the GPU and, on GeForce cards, its audio device."""
    product = _product(slot)
    gpu = {"address": slot["address"], "vendor": "0x10de", **product["pci"], "numa_node": slot["numa_node"]}
    if "audio" not in product:
        return [gpu]
    audio = {"address": slot["address"][:-1] + "1", "device": product["audio"], "class": "0x040300"}
    return [gpu, gpu | audio]


def _product(slot: dict[str, Any]) -> dict[str, Any]:
    return _read(HERE / "products" / f"{slot['product']}.json")


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded
