"""Simulated: nvidia-smi, replaying the host's profile according to the state of the module.

Texts and exit codes are those of captures: 9 driver not loaded, 18 version mismatch, 6 no devices, 15 a GPU is lost,
2 bad argument. Messages go to stdout, as nvidia-smi's do.
"""

import re
import sys
import time
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from . import load, machine

NOT_LOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
LEGEND = """
Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node
  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)
  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)
  PIX  = Connection traversing at most a single PCIe bridge
  NV#  = Connection traversing a bonded set of # NVLinks"""

# What a lost GPU still answers: NVML keeps these from before.
KEPT_WHEN_LOST = re.compile(r"timestamp|driver_version|kmd_version|count|index|name|uuid|pci\..*")
APP_FIELDS = {
    "pid": "pid",
    "process_name": "process_name",
    "name": "process_name",
    "used_memory": "used_gpu_memory [MiB]",
    "used_gpu_memory": "used_gpu_memory [MiB]",
    "gpu_uuid": "gpu_uuid",
    "gpu_name": "gpu_name",
    "gpu_bus_id": "gpu_bus_id",
}


class Stopped(Exception):
    """nvidia-smi ends here: exit status and what it prints."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def main(arguments: list[str]) -> int:
    """Answer one call of nvidia-smi; returns the exit status."""
    try:
        text, status = _answer(arguments)
    except Stopped as stop:
        text, status = str(stop), stop.status
    sys.stdout.write(text)
    return status


def _answer(arguments: list[str]) -> tuple[str, int]:
    words = _long_options(arguments)
    time.sleep(machine.hardware()["smi_delay_s"])
    selected = _value(words, "-i") or _value(words, "--id")
    if "--version" in words:
        return _version(), 0
    gpus = _gpus(selected)
    lost = max((_status(gpu["fault"]) for gpu in gpus if gpu["fault"]), default=0)
    if "-L" in words or "--list-gpus" in words:
        return "".join(_listed(index, gpu) for index, gpu in enumerate(gpus)), 0
    if words[:1] == ["topo"]:
        return _topology(gpus), 0
    if words[:1] == ["nvlink"]:
        return "".join(_listed(index, gpu, mig=False) + _links(gpu) for index, gpu in enumerate(gpus)), 0
    if query := _value(words, "--query-gpu"):
        return _csv_of_gpus(query, words, gpus), lost
    if query := _value(words, "--query-compute-apps"):
        return _csv_of_apps(query, words, gpus), 0
    if "-pm" in words:
        wanted = _value(words, "-pm") in ("1", "ENABLED")
        with machine.changing_state() as state:
            state["persistence"] = wanted
        return "All done.\n", 0
    for gpu in gpus:
        if gpu["fault"]:
            bus = gpu["address"].upper()
            reboot = ". Reboot the system to recover this GPU" if "lost" in gpu["fault"] else ""
            raise Stopped(
                _status(gpu["fault"]), f"Unable to determine the device handle for GPU {bus}: {gpu['fault']}{reboot}\n"
            )
    if "-q" in words:
        return (_xml(gpus) if "-x" in words else _detail(gpus)), 0
    if words and words[0] not in ("-i", "--id"):
        raise Stopped(
            2, f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n{words[0]}\n"
        )
    return _table(gpus), 0


def _status(fault: str) -> int:
    """NVML's code for a GPU in this state: 15 lost, 255 anything unknown."""
    return 15 if fault == "GPU is lost" else 255


def _long_options(arguments: list[str]) -> list[str]:
    words: list[str] = []
    for argument in arguments:
        words += argument.split("=", 1) if argument.startswith("--") and "=" in argument else [argument]
    if words == ["-q", "-x"] or "-qx" in words or "-xq" in words:
        return ["-q", "-x", *[word for word in words if word not in ("-q", "-x", "-qx", "-xq")]]
    return words


def _value(words: list[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words[:-1] else None


def _gpus(selected: str | None) -> list[dict[str, Any]]:
    module, user_space = machine.running(), machine.user_space_version()
    if module is None:
        raise Stopped(9, NOT_LOADED)
    if user_space is not None and module["version"] != user_space:
        library = ".".join(user_space.split(".")[:2])
        raise Stopped(
            18, f"Failed to initialize NVML: Driver/library version mismatch\nNVML library version: {library}\n"
        )
    gpus = machine.visible_gpus()
    if not gpus:
        raise Stopped(6, "No devices were found\n")
    if selected is None:
        return gpus
    wanted = selected.split(",")
    chosen = [gpu for index, gpu in enumerate(gpus) if {str(index), gpu["uuid"], gpu["address"]} & set(wanted)]
    if not chosen:
        raise Stopped(6, "No devices were found\n")
    return chosen


def _version() -> str:
    module, user_space = machine.running(), machine.user_space_version() or ""
    driver = module["version"] if module else "Not Found"
    library = ".".join(user_space.split(".")[:2])
    return (
        f"NVIDIA-SMI version  : {user_space}\nNVML version        : {library}\n"
        f"DRIVER version      : {driver}\nCUDA Version        : {_cuda(user_space)}\n"
    )


def _cuda(version: str) -> str:
    branch = int(version.split(".")[0] or 0)
    return {580: "13.0", 590: "13.1", 595: "13.2", 610: "13.3", 615: "13.4"}.get(branch, "13.0")


def _listed(index: int, gpu: dict[str, Any], mig: bool = True) -> str:
    lines = [f"GPU {index}: {gpu['query']['name']} (UUID: {gpu['uuid']})"]
    if mig:
        lines += [
            f"  MIG {device['profile']:<12}Device {number:>2}: (UUID: {device['uuid']})"
            for number, device in enumerate(gpu.get("mig_devices", ()))
        ]
    return "".join(line + "\n" for line in lines)


def _links(gpu: dict[str, Any]) -> str:
    if gpu["query"]["mig.mode.current"] == "Enabled":
        return "Nvlink queries are not supported for Devices in MIG mode\n"
    if not gpu["nvlinks"]:
        return "Device does not have or support Nvlink\n"
    return "".join(f"\t Link {number}: 26.562 GB/s\n" for number in range(gpu["nvlinks"]))


def _row(index: int, gpu: dict[str, Any], count: int) -> dict[str, str]:
    """Every field of one GPU with its unit: the profile's, and over them what depends on the state."""
    module, state = machine.running() or {"version": ""}, machine.state()
    used = sum(app["used_mib"] for app in machine.hardware()["compute_apps"] if app["gpu"] == gpu["uuid"])
    query = dict(gpu["query"])
    if query["memory.total"].endswith(" MiB") and used:
        query["memory.used"] = f"{_mib(query['memory.used']) + used} MiB"
        query["memory.free"] = f"{max(0, _mib(query['memory.free']) - used)} MiB"
    # Where the switches are on another machine, as around a GPU that was passed through, they are configured there.
    switched = any(device["class"].startswith("0x0680") for device in machine.hardware()["pci"])
    if query["fabric.state"] != "N/A" and switched and not state["fabric"]:
        query |= {"fabric.state": "In Progress", "fabric.status": "N/A"}
    query |= {
        "timestamp": datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3],
        "driver_version": module["version"],
        "count": str(count),
        "index": str(index),
        "uuid": gpu["uuid"],
        "persistence_mode": "Enabled" if state.get("persistence") else "Disabled",
    }
    if int(module["version"].split(".")[0]) >= 595:
        query["kmd_version"] = module["version"]
    if gpu["fault"]:
        query |= {name: f"[{gpu['fault']}]" for name in query if not KEPT_WHEN_LOST.fullmatch(name)}
    return query


def _load(gpu: dict[str, Any], busy: set[str]) -> dict[str, str]:
    """What differs while somebody computes on it; a GPU that does not answer does not say."""
    everyone = [one["uuid"] for one in machine.hardware()["gpus"]]
    return {} if gpu["fault"] else load.readings(gpu, everyone.index(gpu["uuid"]), busy)


def _mib(value: str) -> int:
    return int(value.removesuffix(" MiB"))


def _csv_of_gpus(query: str, words: list[str], gpus: list[dict[str, Any]]) -> str:
    names = [machine.hardware()["aliases"].get(name.strip(), name.strip()) for name in query.split(",")]
    units = machine.hardware()["units"]
    busy = load.busy_nodes()
    rows = [_row(index, gpu, len(gpus)) | _load(gpu, busy) for index, gpu in enumerate(gpus)]
    for name in names:
        if name not in rows[0]:
            raise Stopped(2, f'Field "{name}" is not a valid field to query.\n\n')
    header = [f"{name} [{units[name]}]" if name in units else name for name in names]
    return _csv(header, [[row[name] for name in names] for row in rows], words, units, names)


def _csv_of_apps(query: str, words: list[str], gpus: list[dict[str, Any]]) -> str:
    names = [name.strip() for name in query.split(",")]
    for name in names:
        if name not in APP_FIELDS:
            raise Stopped(2, f'Field "{name}" is not a valid field to query.\n\n')
    by_uuid = {gpu["uuid"]: gpu for gpu in gpus}
    rows = []
    for app in machine.hardware()["compute_apps"]:
        if app["gpu"] in by_uuid:
            gpu = by_uuid[app["gpu"]]
            cells = {
                "pid": str(app["pid"]),
                "process_name": app["name"],
                "used_gpu_memory [MiB]": f"{app['used_mib']} MiB",
                "gpu_uuid": gpu["uuid"],
                "gpu_name": gpu["query"]["name"],
                "gpu_bus_id": gpu["query"]["pci.bus_id"],
            }
            rows.append([cells[APP_FIELDS[name]] for name in names])
    units = {"used_memory": "MiB", "used_gpu_memory": "MiB"}
    return _csv([APP_FIELDS[name] for name in names], rows, words, units, names)


def _csv(header: list[str], rows: list[list[str]], words: list[str], units: dict[str, str], names: list[str]) -> str:
    layout = (_value(words, "--format") or "").split(",")
    if "csv" not in layout:
        raise Stopped(2, 'Option "--format" must specify csv when a query is given.\n')
    if "nounits" in layout:
        rows = [
            [cell.removesuffix(f" {units.get(name)}") for name, cell in zip(names, row, strict=True)] for row in rows
        ]
    table = rows if "noheader" in layout else [header, *rows]
    return "".join(", ".join(row) + "\n" for row in table)


def _topology(gpus: list[dict[str, Any]]) -> str:
    everyone = [gpu["uuid"] for gpu in machine.hardware()["gpus"]]
    places = [everyone.index(gpu["uuid"]) for gpu in gpus]
    topology = machine.hardware()["topology"]
    # Underlined even when piped, and a double tab before the last column: both as captured.
    columns = [*(f"GPU{index}" for index in range(len(gpus))), "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"]
    lines = ["\t\x1b[4m" + "\t".join(columns) + "\x1b[0m"]
    for index, place in enumerate(places):
        cells = [" X " if other == place else topology["links"][place][other] for other in places]
        tail = f"{topology['cpu_affinity'][place]}\t{topology['numa'][place]}\t\tN/A"
        lines.append("\t".join([f"GPU{index}", *cells, tail]))
    return "\n".join(lines) + "\n" + LEGEND + "\n"


def _xml(gpus: list[dict[str, Any]]) -> str:
    rows = [_row(index, gpu, len(gpus)) for index, gpu in enumerate(gpus)]
    lines = ['<?xml version="1.0" ?>', '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">', "<nvidia_smi_log>"]
    lines += [f"\t<timestamp>{datetime.now():%a %b %d %H:%M:%S %Y}</timestamp>"]
    lines += [f"\t<driver_version>{rows[0]['driver_version']}</driver_version>"]
    lines += [f"\t<cuda_version>{_cuda(rows[0]['driver_version'])}</cuda_version>"]
    lines += [f"\t<attached_gpus>{len(gpus)}</attached_gpus>"]
    for minor, (gpu, row) in enumerate(zip(gpus, rows, strict=True)):
        cell = {name: escape(value.strip("[]")) for name, value in row.items()}
        lines += [
            f'\t<gpu id="{cell["pci.bus_id"]}">',
            f"\t\t<product_name>{cell['name']}</product_name>",
            f"\t\t<persistence_mode>{cell['persistence_mode']}</persistence_mode>",
            "\t\t<mig_mode>",
            f"\t\t\t<current_mig>{cell['mig.mode.current']}</current_mig>",
            f"\t\t\t<pending_mig>{cell['mig.mode.pending']}</pending_mig>",
            "\t\t</mig_mode>",
            *_mig_devices(gpu),
            f"\t\t<uuid>{gpu['uuid']}</uuid>",
            f"\t\t<minor_number>{minor}</minor_number>",
            *_memory("fb_memory_usage", row),
            "\t</gpu>",
        ]
    return "\n".join([*lines, "</nvidia_smi_log>"]) + "\n"


def _mig_devices(gpu: dict[str, Any]) -> list[str]:
    devices = gpu.get("mig_devices", ())
    if not devices:
        return ["\t\t<mig_devices>", "\t\t\tNone", "\t\t</mig_devices>"]
    lines = ["\t\t<mig_devices>"]
    for number, device in enumerate(devices):
        lines += [
            "\t\t\t<mig_device>",
            f"\t\t\t\t<index>{number}</index>",
            f"\t\t\t\t<gpu_instance_id>{device['gpu_instance']}</gpu_instance_id>",
            f"\t\t\t\t<compute_instance_id>{device['compute_instance']}</compute_instance_id>",
            "\t\t\t\t<fb_memory_usage>",
            f"\t\t\t\t\t<total>{device['total_mib']} MiB</total>",
            "\t\t\t\t\t<reserved>0 MiB</reserved>",
            f"\t\t\t\t\t<used>{device['total_mib'] - device['free_mib']} MiB</used>",
            f"\t\t\t\t\t<free>{device['free_mib']} MiB</free>",
            "\t\t\t\t</fb_memory_usage>",
            "\t\t\t</mig_device>",
        ]
    return [*lines, "\t\t</mig_devices>"]


def _memory(tag: str, row: dict[str, str]) -> list[str]:
    parts = ("total", "reserved", "used", "free")
    return [
        f"\t\t<{tag}>",
        *(f"\t\t\t<{part}>{row[f'memory.{part}'].strip('[]')}</{part}>" for part in parts),
        f"\t\t</{tag}>",
    ]


def _detail(gpus: list[dict[str, Any]]) -> str:
    rows = [_row(index, gpu, len(gpus)) for index, gpu in enumerate(gpus)]
    text = "\n==============NVSMI LOG==============\n\n"
    text += f"Driver Version                            : {rows[0]['driver_version']}\n"
    text += f"CUDA Version                              : {_cuda(rows[0]['driver_version'])}\n\n"
    text += f"Attached GPUs                             : {len(gpus)}\n"
    for row in rows:
        text += (
            f"GPU {row['pci.bus_id']}\n"
            f"    Product Name                          : {row['name']}\n"
            f"    Persistence Mode                      : {row['persistence_mode']}\n"
            f"    GPU UUID                              : {row['uuid']}\n"
            f"    Fabric\n"
            f"        State                             : {row['fabric.state']}\n"
            f"        Status                            : {row['fabric.status']}\n"
        )
    return text


def _table(gpus: list[dict[str, Any]]) -> str:
    rows = [_row(index, gpu, len(gpus)) for index, gpu in enumerate(gpus)]
    version = rows[0]["driver_version"]
    rule = "+" + "-" * 89 + "+"
    text = f"{datetime.now():%a %b %d %H:%M:%S %Y}       \n{rule}\n"
    text += f"| NVIDIA-SMI {version:<22} Driver Version: {version:<14} CUDA Version: {_cuda(version):<8} |\n{rule}\n"
    for row in rows:
        memory = f"{row['memory.used']} / {row['memory.total']}"
        text += f"| {row['index']:>3}  {row['name']:<34} {row['pci.bus_id']:<18} {memory:>26} |\n"
    return text + rule + "\n"
