"""What Ingot reads in a recorded output: its kind is recognised, the reading is JSON-able, or one sentence says why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingot.compat import Architecture, Device, DriverRequest, Machine, Refused, decide, flavours, rules
from ingot.facts.driver import Driver, DriverLook
from ingot.facts.errors import ParseError, Unread
from ingot.facts.kernel_log import IS_LOG, KernelLog, parse_kernel_log
from ingot.facts.nvidia import QUERIES, assemble, parse_memory, row_fault
from ingot.facts.nvlink import IS_STATUS, NvlinkStatus, parse_nvlink
from ingot.facts.pci import PciDevice, PciReading, is_lspci, parse_lspci
from ingot.facts.peer_access import PeerAccess, is_peer_access, parse_peer_access
from ingot.facts.smi_fault import GpuFault, from_message
from ingot.facts.smi_headless import is_headless, parse_headless
from ingot.facts.smi_list import Listed, parse_list
from ingot.facts.smi_query import Query, QueryRow, is_header, parse_query
from ingot.facts.smi_xml import XmlLog, parse_xml
from ingot.facts.topology import Link, parse_topology
from ingot.facts.xid import SwitchError, Xid
from ingot.sizing import GPU

#: What a terminal was told about colours, its title and pasting: recordings by script(1) keep it.
_TERMINAL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\n]*\x07|[=>])")
_LISTED = re.compile(r"^\s*GPU [0-9]{1,3}: \S", re.MULTILINE)
_MATRIX = re.compile(r"^\s*GPU[0-9]+\s+(X|NV[0-9]+|PIX|PXB|PHB|NODE|SYS|SOC)\s", re.MULTILINE)

#: Outputs that tell no GPUs, or are made for people: what each is, in the order in which they are tried.
_OTHERS = (
    (re.compile(r"^\|\s*NVIDIA-SMI |^\+-{20,}", re.MULTILINE), "the table that nvidia-smi prints for people"),
    (re.compile(r"=+NVSMI LOG=+"), "nvidia-smi -q without -x"),
    (re.compile(r"^\s+(Product Name|GPU UUID|FB Memory Usage|Product Brand)\s+(:|$)", re.MULTILINE),
     "an excerpt of nvidia-smi -q without -x"),
    (re.compile(r"^NVIDIA-SMI version", re.MULTILINE), "nvidia-smi --version"),
    (re.compile(r"--query-(compute|accounted)-apps|^(?:\S+, )*pid(?:,|$)|^GPU-[0-9a-f-]{36}, [0-9]+, ", re.MULTILINE),
     "a query of processes, not of GPUs"),
    (re.compile(r"^(?:.*, )?[0-9]+ MiB(?:,|$)", re.MULTILINE), "a query without its header (csv,noheader)"),
    (re.compile(r"is not a valid field to query", re.IGNORECASE), "a query with a field that the driver lacks"),
    (re.compile(r"^\s*(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] ", re.MULTILINE),
     "lspci without -nn, which prints no ids"),
    (re.compile(r"^Slot:\s", re.MULTILINE), "lspci -vmm"),
    (re.compile(r"could not select device driver .* with capabilities", re.IGNORECASE),
     "Docker's message on a host whose container toolkit is not set up"),
    (re.compile(r"lspci ?: .*(not found|introuvable|gefunden|no encontrada)"), "the message of a host without lspci"),
    (re.compile(r"^(Reading package lists|(Hit|Get|Ign|Err):[0-9]+ |[EW]: |The following (packages|NEW)|Setting up "
                r"|Unpacking |Selecting previously|dpkg: error)", re.MULTILINE),
     "the output of apt or dpkg"),
    (re.compile(r"^(nvidia-driver-\S+, \(kernel modules|driver\s+: nvidia-driver-)", re.MULTILINE),
     "the output of ubuntu-drivers"),
    (re.compile(r"^nvidia[^/,\n]*[/,] ?[0-9][^,\n]*, .*: (installed|built|added)", re.MULTILINE), "dkms status"),
)  # fmt: skip
_EXPECTED = "nvidia-smi --query-gpu=… --format=csv, -q -x, topo -m or -L, lspci -nnk, or dmesg"


@dataclass(frozen=True, slots=True)
class Reading:
    """One recorded output: its kind, what its parser made of it, and the same as JSON-able values."""

    kind: str
    parsed: Any
    values: Mapping[str, Any]


def read(text: str) -> Reading:
    """Recognise and parse one recorded output; a leading comment or prompt line is no part of it.

    Raises: ParseError with one sentence when it is none of the known kinds, or damaged.
    """
    body = _body(text)
    if not body.strip():
        raise ParseError(f"the file is empty, expected the output of {_EXPECTED}.")
    for kind, is_it, parse, show in _KINDS:
        if is_it(body):
            parsed = parse(body)
            # A log and a recording say themselves what is wrong.
            said = from_message(body) if kind not in ("probe", "kernel-log") else None
            return Reading(kind, parsed, {"kind": kind, **(_show_fault(said) if said else {}), **show(parsed)})
    fault = from_message(body)
    if fault:
        return Reading("fault", fault, {"kind": "fault", **_show_fault(fault)})
    for pattern, name in _OTHERS:
        if pattern.search(body):
            raise ParseError(f"this is {name}, which Ingot does not read: record {_EXPECTED}.")
    first = body.strip().partition("\n")[0]
    raise ParseError(f"the first line is {first[:80]!r}, expected the output of {_EXPECTED}.")


def combine(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """The usable GPUs of several outputs of one host: queries and log for the GPUs, the others refine them."""
    by_kind = {reading.kind: reading.parsed for reading in readings}
    log: XmlLog | None = by_kind.get("xml")
    queries: list[Query] = [reading.parsed for reading in readings if reading.kind == "query"]
    rows = _merged([*(query.rows for query in queries), [gpu.row for gpu in log.gpus] if log else []])
    gpus, _ = assemble(rows, by_kind.get("topology", {}), by_kind.get("list", ()), log, by_kind.get("memory"))
    return [show_gpu(gpu) for gpu in gpus]


def _merged(tables: Iterable[Sequence[QueryRow]]) -> list[QueryRow]:
    """The rows of the first table that has any, with what later ones know beyond it: of the same index, else UUID."""
    merged: list[QueryRow] = []
    for table in tables:
        merged = [_completed(row, next((one for one in table if _is_same(row, one)), None)) for row in merged]
        merged = merged or list(table)
    return merged


def _is_same(one: QueryRow, other: QueryRow) -> bool:
    if one.index is not None and other.index is not None:
        return one.index == other.index
    return one.uuid is not None and one.uuid == other.uuid


def _completed(row: QueryRow, other: QueryRow | None) -> QueryRow:
    known = {name: value for name in QueryRow.__slots__ if (value := getattr(row, name)) is not None}
    return replace(other, **known) if other else row


def text_of(recorded: bytes) -> str:
    """A recording's text, also where a Windows terminal wrote it (UTF-16 with its mark)."""
    if recorded.startswith((b"\xff\xfe", b"\xfe\xff")):
        return recorded.decode("utf-16", errors="replace")
    # Without its mark: in English text every second byte is nought.
    if recorded[1:40:2].strip(b"\0") == b"" and len(recorded) > 8:
        return recorded.decode("utf-16-le", errors="replace")
    return recorded.decode("utf-8", errors="replace")


def show_gpu(gpu: GPU) -> dict[str, Any]:
    """A planner's GPU as JSON-able values."""
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "vram_bytes": gpu.vram_bytes,
        "free_bytes": gpu.free_bytes,
        "reserved_bytes": gpu.reserved_bytes,
        "compute_capability": _capability(gpu.compute_capability),
        "pci_bus_id": gpu.pci_bus_id,
        "nvlink_peers": sorted(gpu.nvlink_peers),
        "numa_node": gpu.numa_node,
        "unified_memory": gpu.unified_memory,
        "mig_profile": gpu.mig_profile,
    }


def _body(text: str) -> str:
    """Without what people put above an output: the note of its source, the prompt that made it."""
    plain = _TERMINAL.sub("", text.replace("\ufeff", ""))
    lines = plain.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and (not lines[0].strip() or re.match(r"^(#[^!]|[$>] |\S+@\S+[:$#])", lines[0])):
        prompt = lines.pop(0)
        if "noheader" in prompt and "--query-gpu=" in prompt:
            # The only place that names the columns.
            return "\n".join((prompt[prompt.index("nvidia-smi") if "nvidia-smi" in prompt else 0 :], *lines))
    return "\n".join(lines)


def _show_query(query: Query) -> dict[str, Any]:
    return {
        "gpus": [_show_row(row) for row in query.rows],
        "messages": list(query.messages),
        **_show_lost(query.rows),
    }


def _show_row(row: QueryRow) -> dict[str, Any]:
    return {
        "index": row.index,
        "uuid": row.uuid,
        "name": row.name,
        "pci_bus_id": row.bus_id,
        "pci_device_id": None if row.device_id is None else f"10de:{row.device_id:04x}",
        "vram_bytes": row.total_bytes,
        "reserved_bytes": row.reserved_bytes,
        "used_bytes": row.used_bytes,
        "free_bytes": row.free_bytes,
        "compute_capability": _capability(row.compute_capability),
        "driver_version": row.driver_version,
        "mig_enabled": row.mig_enabled,
        "ecc_enabled": row.ecc_enabled,
        "ecc_uncorrected": row.ecc_uncorrected,
        "persistence": row.persistence,
        "fabric_state": row.fabric_state,
        "fabric_status": row.fabric_status,
        "recovery_action": row.recovery_action,
        "remap_pending": row.remap_pending,
        "remap_failed": row.remap_failed,
        "fault": row.fault,
    }


def _show_log(log: XmlLog) -> dict[str, Any]:
    return {
        "driver_version": log.driver_version,
        "gpus": [
            {
                **_show_row(gpu.row),
                "mig_instances": [
                    {
                        "index": instance.index,
                        "uuid": instance.uuid,
                        "vram_bytes": instance.total_bytes,
                        "reserved_bytes": instance.reserved_bytes,
                        "free_bytes": instance.free_bytes,
                    }
                    for instance in gpu.instances
                ],
            }
            for gpu in log.gpus
        ],
        **_show_lost(gpu.row for gpu in log.gpus),
    }


def _show_topology(links: Mapping[int, Link]) -> dict[str, Any]:
    gpus = [
        {
            "index": link.index,
            "nvlink_peers": sorted(link.peers),
            "paths": {str(peer): path for peer, path in sorted(link.paths.items())},
            "numa_node": link.numa_node,
        }
        for link in links.values()
    ]
    everyone = set(links) | {peer for link in links.values() for peer in link.peers}
    joined = len(everyone) > 1 and all(link.peers == everyone - {link.index} for link in links.values())
    return {"gpus": gpus, "all_joined_by_nvlink": joined}


def _show_list(listed: Sequence[Listed]) -> dict[str, Any]:
    return {
        "gpus": [
            {
                "index": gpu.index,
                "name": gpu.name,
                "uuid": gpu.uuid,
                "mig_instances": [
                    {"index": one.index, "profile": one.profile, "uuid": one.uuid} for one in gpu.instances
                ],
            }
            for gpu in listed
        ]
    }


def show_pci(bus: PciReading) -> dict[str, Any]:
    """The NVIDIA functions of a bus, sorted into GPUs, switches and the rest."""
    others = [device for device in bus.functions if not device.is_gpu and not device.is_nvswitch]
    return {
        "gpus": [_show_device(device) for device in bus.gpus],
        "nvswitches": [_show_device(device) for device in bus.nvswitches],
        "other_functions": [_show_device(device) for device in others],
    }


def _show_device(device: PciDevice) -> dict[str, Any]:
    known = device.device
    counts = device.is_gpu or device.is_nvswitch
    return {
        "address": device.address,
        "id": f"10de:{device.device_id:04x}",
        "class": f"{device.class_code:04x}",
        "name": known.name if counts else None,
        "architecture": str(known.architecture) if counts and known.architecture is not Architecture.UNKNOWN else None,
        "needs": _needs(known) if device.is_gpu else None,
        "subsystem": None if device.subsystem is None else f"{device.subsystem[0]:04x}:{device.subsystem[1]:04x}",
        "driver": device.driver,
    }


def _needs(device: Device) -> dict[str, Any]:
    """What drives a GPU: the flavours of the module, the first driver, the last branch where there is one."""
    if device.architecture is Architecture.UNKNOWN:
        return {}
    first = rules.first_driver(device)
    last = max((number for number, branch in rules.BRANCHES.items() if branch.oldest <= device.architecture), default=0)
    newest = max(rules.BRANCHES)
    return {
        "modules": flavours(device),
        "first_driver": None if first == "0" else first,
        "last_branch": last if last and last != newest else None,
    }


def _show_fault(fault: GpuFault) -> dict[str, Any]:
    return {"fault": fault.kind.value, "found": fault.found, "remedy": fault.remedy}


def _show_lost(rows: Iterable[QueryRow]) -> dict[str, Any]:
    fault = row_fault(rows)
    return _show_fault(fault) if fault else {}


def _show_xids(xids: Iterable[Xid]) -> dict[str, Any]:
    return {
        "xids": [
            {
                "address": one.address,
                "number": one.number,
                "text": one.text,
                "meaning": one.meaning,
                "action": one.action.value if one.action else None,
                "fatal": bool(one.action and one.action.is_fatal),
            }
            for one in xids
        ]
    }


def _show_switch_errors(errors: Iterable[SwitchError]) -> dict[str, Any]:
    return {
        "switch_errors": [
            {
                "address": one.address,
                "number": one.number,
                "text": one.text,
                "fatal": one.is_fatal,
                "meaning": one.meaning,
            }
            for one in errors
        ]
    }


def _show_kernel_log(log: KernelLog) -> dict[str, Any]:
    """The first fault stands for the log, as in every other reading; all of them follow."""
    return {
        **(_show_fault(log.faults[0]) if log.faults else {}),
        **_show_xids(log.xids),
        **_show_switch_errors(log.switch_errors),
        "faults": [_show_fault(fault) for fault in log.faults],
    }


def _show_nvlink(found: Sequence[NvlinkStatus]) -> dict[str, Any]:
    return {
        "gpus": [
            {
                "index": one.gpu.index,
                "name": one.gpu.name,
                "uuid": one.gpu.uuid,
                "links": {str(number): speed for number, speed in one.links.items()},
                "active_links": one.active,
                "note": one.note or None,
            }
            for one in found
        ]
    }


def _show_peer_access(found: Sequence[PeerAccess]) -> dict[str, Any]:
    return {
        "about": "nvidia-smi topo -p2p: which GPUs reach each other's memory, not the topology (nvidia-smi topo -m)",
        "gpus": [
            {"index": one.index, "peers": {str(peer): status for peer, status in one.peers.items()}} for one in found
        ],
        "all_reach_each_other": all(status == "OK" for one in found for status in one.peers.values()),
    }


def show_look(
    look: DriverLook | Unread, request: DriverRequest | None = None, *, console: bool = False, partial: bool = False
) -> dict[str, Any]:
    """A whole look at a host, with the driver that follows from it and from its owner's values, where they are known.

    Raises: ParseError when the look gave no answer.
    """
    if isinstance(look, Unread):
        raise ParseError(look.why)
    state, report = look.state, look.gpus
    return {
        "os": f"{state.os.id} {state.os.version}",
        "arch": state.arch,
        "kernel": state.kernel,
        "secure_boot": state.secure_boot,
        "pci": show_pci(state.bus),
        "driver": {
            "running": state.running,
            "running_flavour": state.running_flavour,
            "on_disk": state.on_disk,
            "library": state.library,
            "kernels": {kernel.release: kernel.module for kernel in state.kernels},
            "users": list(state.users),
        },
        **_show_xids(state.xids),
        **_show_switch_errors(state.switch_errors),
        "decision": _show_decision(state.machine(console, partial=partial), request),
        "gpus": [show_gpu(gpu) for gpu in report.gpus],
        **(_show_fault(report.fault) if report.fault else {}),
    }


def _show_decision(machine: Machine, request: DriverRequest | None) -> dict[str, Any]:
    try:
        decision = decide(machine, request)
    except Refused as refusal:
        return {"refused": str(refusal), "rule": refusal.rule.name, "source": refusal.rule.source}
    return {
        "branch": decision.branch,
        "flavour": decision.flavour,
        "source": decision.source,
        "packages": [*decision.packages.driver, *decision.packages.companions, *decision.packages.tools],
        "fabric": decision.fabric,
        "reasons": list(decision.explain()),
    }


def _read_look(text: str) -> dict[str, Any]:
    """A file that `ingot probe HOST --record FILE` wrote."""
    return show_look(Driver().process(text.splitlines()))


def _capability(pair: tuple[int, int] | None) -> str | None:
    return None if pair is None else f"{pair[0]}.{pair[1]}"


def _same(values: dict[str, Any]) -> dict[str, Any]:
    return values


def _read_memory(text: str) -> tuple[int, int]:
    memory = parse_memory(text)
    if memory is None:
        raise ParseError("the memory has no MemTotal and MemAvailable: record the whole of /proc/meminfo.")
    return memory


def _show_memory(memory: tuple[int, int]) -> dict[str, Any]:
    return {"total_bytes": memory[0], "available_bytes": memory[1]}


_GPU_ELEMENT = re.compile(r"^\s*<gpu id=")


def _read_gpu_elements(text: str) -> XmlLog:
    """The GPUs of a log whose head was not copied."""
    return parse_xml(f"<nvidia_smi_log>{text[: text.rindex('</gpu>')]}</gpu></nvidia_smi_log>")


_ASKED = re.compile(r"--query-gpu=([a-z0-9_.,]+)")


def _asked(text: str) -> list[list[str]]:
    """The fields of the commands that a recording has."""
    return [found.split(",") for found in _ASKED.findall(text)]


def _read_headless(text: str) -> Query:
    return parse_headless(text, _asked(text) or [query.split(",") for query in QUERIES])


_Kind = tuple[str, Callable[[str], object], Callable[[str], Any], Callable[[Any], dict[str, Any]]]

# The first that recognises the text reads it.
_KINDS: tuple[_Kind, ...] = (
    ("probe", lambda text: "@@ingot-begin " in text, _read_look, _same),
    ("xml", lambda text: "<nvidia_smi_log" in text or text.lstrip().startswith("<?xml"), parse_xml, _show_log),
    ("xml", lambda text: _GPU_ELEMENT.match(text) and "</gpu>" in text, _read_gpu_elements, _show_log),
    ("nvlink", lambda text: IS_STATUS.search(text) and _LISTED.search(text), parse_nvlink, _show_nvlink),
    ("list", _LISTED.search, parse_list, _show_list),
    ("peer-access", is_peer_access, parse_peer_access, _show_peer_access),
    ("topology", _MATRIX.search, parse_topology, _show_topology),
    ("query", lambda text: any(map(is_header, text.splitlines())), parse_query, _show_query),
    ("query", lambda text: is_headless(text, _asked(text)), _read_headless, _show_query),
    ("lspci", is_lspci, parse_lspci, show_pci),
    ("kernel-log", IS_LOG.search, parse_kernel_log, _show_kernel_log),
    ("memory", lambda text: re.search(r"^MemTotal:", text, re.MULTILINE), _read_memory, _show_memory),
)
