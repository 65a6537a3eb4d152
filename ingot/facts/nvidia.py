"""The GPUs of a host as their driver reports them, or the fault that keeps them from answering."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from pyinfra.api.facts import FactBase

from ingot.facts import smi_call
from ingot.facts.errors import ParseError
from ingot.facts.sections import Question, Section, split
from ingot.facts.smi_fault import Fault, GpuFault, from_exit, from_message
from ingot.facts.smi_list import Instance, Listed, parse_list
from ingot.facts.smi_query import QueryRow, parse_query
from ingot.facts.smi_xml import XmlLog, parse_xml
from ingot.facts.topology import Link, parse_topology
from ingot.sizing import GPU

T = TypeVar("T")

_IDENTITY = "index,uuid,name,pci.bus_id,memory.total,memory.used,memory.free,driver_version"
_SINCE_470 = f"{_IDENTITY},compute_cap,mig.mode.current,ecc.mode.current,persistence_mode"
_SINCE_550 = (
    f"{_SINCE_470},memory.reserved,pci.device_id,fabric.state,fabric.status,"
    "remapped_rows.pending,remapped_rows.failure,ecc.errors.uncorrected.volatile.total"
)
_SINCE_570 = f"{_SINCE_550},gpu_recovery_action"
# Drivers from 610 on deprecate driver_version in favour of kmd_version: this query works when the old name is gone.
_WITHOUT_DRIVER_VERSION = _SINCE_470.replace("driver_version", "kmd_version")
#: The queries that Ingot makes, the newest driver's first.
QUERIES = (_SINCE_570, _SINCE_550, _SINCE_470, _IDENTITY, _WITHOUT_DRIVER_VERSION)


def _smi_query() -> str:
    """A driver that does not know a field refuses the whole query: ask for fewer until it answers."""
    attempts = " ".join(QUERIES)
    return f"""{smi_call.SHELL}command -v nvidia-smi >/dev/null || {{ echo 'nvidia-smi: command not found'; exit 127; }}
for fields in {attempts}; do
  answer=$(smi --query-gpu=$fields --format=csv); status=$?
  case $answer in *'not a valid field'*) continue;; esac
  break
done
printf '%s\\n' "$answer"; exit $status"""


#: Only instances make the two logs below worth their calls. The driver shows each here; where it shows nothing of
#: MIG at all (before 450), nvidia-smi is asked. Source: NVIDIA's MIG user guide, "/proc based nvidia-capabilities".
_INSTANCES = "c=/proc/driver/nvidia/capabilities; [ ! -d $c/mig ] || ls -d $c/gpu*/mig/gi* >/dev/null 2>&1 || exit 1; "

#: What the GPU facts ask; combined facts splice it into their own command.
QUESTIONS: dict[str, str] = {
    "smi_query": _smi_query(),
    "smi_list": f"{_INSTANCES}{smi_call.SHELL}command -v nvidia-smi >/dev/null && smi -L",
    # A single GPU has no links. Only the long log tells the memory of MIG instances.
    "smi_topology": (
        f"{smi_call.SHELL}[ $(ls -d /proc/driver/nvidia/gpus/* 2>/dev/null | wc -l) = 1 ] || "
        "{ command -v nvidia-smi >/dev/null && smi topo -m; }"
    ),
    "smi_xml": (
        f"{_INSTANCES}{smi_call.SHELL}command -v nvidia-smi >/dev/null && smi -L | grep -q '^ *MIG ' && smi -q -x"
    ),
    "memory": "grep -E '^Mem(Total|Available):' /proc/meminfo",
}


@dataclass(frozen=True, slots=True)
class GpuReport:
    """Everything the driver said: usable GPUs, the rows they came from, and the fault when one kept them away."""

    gpus: tuple[GPU, ...]
    rows: tuple[QueryRow, ...] = ()
    fault: GpuFault | None = None
    messages: tuple[str, ...] = ()

    @property
    def driver_version(self) -> str | None:
        """The driver that answered, None when none did."""
        return next((row.driver_version for row in self.rows if row.driver_version), None)


class Gpus(FactBase[list[GPU] | GpuFault]):
    """The GPUs a host can compute on, MIG instances each as one, or a `GpuFault`.

    Returns for example:
        [GPU(index=0, uuid='GPU-9a9a…', name='NVIDIA A10G', vram_bytes=24146608128, …)]
        GpuFault(kind=<Fault.NOT_LOADED>, detail='NVIDIA-SMI has failed because …')
    """

    @staticmethod
    def default() -> list[GPU] | GpuFault:
        return GpuFault(Fault.UNREADABLE, "the host did not answer")

    def command(self) -> str:
        return Question.of(QUESTIONS)

    def process(self, output: Iterable[str]) -> list[GPU] | GpuFault:
        try:
            report = reported(split(output))
        except ParseError as error:
            return GpuFault(Fault.UNREADABLE, str(error).rstrip("."))
        return report.fault if report.fault else list(report.gpus)


def reported(sections: Mapping[str, Section]) -> GpuReport:
    """The report in a fact's answers; an unreadable one is a fault, never an exception."""
    try:
        return parse_report(sections)
    except ParseError as error:
        return GpuReport((), fault=GpuFault(Fault.UNREADABLE, str(error).rstrip(".")))


def parse_report(sections: Mapping[str, Section]) -> GpuReport:
    """GPUs from the answers to `QUESTIONS`.

    Raises: ParseError when nvidia-smi succeeded but printed no such table.
    """
    query = sections.get("smi_query", Section("", 127))
    fault = from_exit(query.status, query.output)
    try:
        table = parse_query(query.output)
    except ParseError:
        if fault:
            return GpuReport((), fault=fault)
        raise
    if fault and fault.kind is Fault.INFOROM:
        # The card computes; the message stays in the report.
        fault = None
    links = _quietly(parse_topology, sections, "smi_topology") or {}
    listed = _quietly(parse_list, sections, "smi_list") or ()
    log = _quietly(parse_xml, sections, "smi_xml")
    memory = parse_memory(sections["memory"].output) if "memory" in sections else None
    gpus, missing = assemble(table.rows, links, listed, log, memory)
    lost = row_fault(table.rows)
    if lost:
        fault = lost
    elif fault is None and (said := from_message("\n".join(table.messages))) and said.kind is not Fault.INFOROM:
        fault = said
    elif fault is None and not gpus:
        fault = missing or GpuFault(Fault.NO_DEVICES)
    if fault:
        fault = GpuFault(fault.kind, fault.detail, gpus)
    return GpuReport(gpus, table.rows, fault, table.messages)


def parse_memory(text: str) -> tuple[int, int] | None:
    """Total and available bytes of /proc/meminfo; None when a line is missing."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[0] if rest.split() else ""
        if number.isascii() and number.isdigit() and len(number) < 16:
            found[name.strip()] = int(number) * 1024
    if "MemTotal" not in found or "MemAvailable" not in found:
        return None
    return found["MemTotal"], found["MemAvailable"]


def assemble(
    rows: Iterable[QueryRow],
    links: Mapping[int, Link],
    listed: Iterable[Listed],
    log: XmlLog | None,
    memory: tuple[int, int] | None,
) -> tuple[tuple[GPU, ...], GpuFault | None]:
    """Usable GPUs of the rows, and why a row that answered gave none.

    On a host with MIG, indices count the usable devices; elsewhere they are nvidia-smi's own.
    """
    instances = {gpu.index: gpu.instances for gpu in listed}
    rows = tuple(rows)
    unified = sum(1 for row in rows if _is_unified(row)) == 1
    gpus: list[GPU] = []
    missing: GpuFault | None = None
    for row in rows:
        if row.fault or row.index is None or row.uuid is None:
            continue
        if row.mig_enabled:
            made = _instances(row, instances.get(row.index, ()), log)
            missing = missing if made else GpuFault(Fault.NO_INSTANCES, f"GPU {row.index}")
            gpus += made
        elif row.total_bytes is not None:
            gpus.append(_gpu(row, links.get(row.index)))
        elif unified and memory:
            gpus.append(_gpu(row, None, memory))
        else:
            missing = GpuFault(Fault.OTHER, f"GPU {row.index} reports no memory")
    if any(row.mig_enabled for row in rows):
        gpus = _renumber(gpus)
    return tuple(gpus), missing


def _quietly(parse: Callable[[str], T], sections: Mapping[str, Section], name: str) -> T | None:
    """A section that only refines the report, or None: GPUs are known without it, so that its failure is no fault."""
    section = sections.get(name)
    if section is None or section.status != 0:
        return None
    try:
        return parse(section.output)
    except ParseError:
        return None


def _is_unified(row: QueryRow) -> bool:
    """A GPU that shares the system's memory (GB10) has none of its own to report."""
    return row.total_bytes is None and row.fault is None and not row.mig_enabled


def _gpu(row: QueryRow, link: Link | None, memory: tuple[int, int] | None = None) -> GPU:
    assert row.index is not None and row.uuid is not None
    total, free = memory or (row.total_bytes or 0, row.free_bytes)
    return GPU(
        index=row.index,
        uuid=row.uuid,
        name=row.name or "NVIDIA GPU",
        vram_bytes=total,
        free_bytes=free,
        compute_capability=row.compute_capability,
        pci_bus_id=row.bus_id,
        nvlink_peers=link.peers if link else frozenset(),
        numa_node=link.numa_node if link else None,
        unified_memory=memory is not None,
        reserved_bytes=None if memory else row.reserved_bytes,
    )


def _instances(row: QueryRow, listed: Iterable[Instance], log: XmlLog | None) -> list[GPU]:
    """The instances of one GPU: UUIDs from the list, memory from the log, matched by their number."""
    gpu = next((gpu for gpu in log.gpus if gpu.row.uuid == row.uuid), None) if log else None
    memory = {instance.index: instance for instance in gpu.instances} if gpu else {}
    made = []
    for instance in listed:
        own = memory.get(instance.index)
        if own and own.total_bytes:
            made.append(
                GPU(
                    index=instance.index,
                    uuid=instance.uuid,
                    name=f"{row.name or 'NVIDIA GPU'} MIG {instance.profile}",
                    vram_bytes=own.total_bytes,
                    free_bytes=own.free_bytes,
                    compute_capability=row.compute_capability,
                    pci_bus_id=row.bus_id,
                    mig_profile=instance.profile,
                    reserved_bytes=own.reserved_bytes,
                )
            )
    return made


def _renumber(gpus: list[GPU]) -> list[GPU]:
    whole = {gpu.index: place for place, gpu in enumerate(gpus) if gpu.mig_profile is None}
    return [
        replace(gpu, index=place, nvlink_peers=frozenset(whole[peer] for peer in gpu.nvlink_peers if peer in whole))
        for place, gpu in enumerate(gpus)
    ]


def row_fault(rows: Iterable[QueryRow]) -> GpuFault | None:
    """The fault of the first GPU that no longer answers; None when all do."""
    row = next((row for row in rows if row.fault), None)
    if row is None:
        return None
    said = (row.fault or "").lower()
    kind = Fault.LOST if "lost" in said else Fault.NEEDS_RESET if "reset" in said else Fault.UNKNOWN_ERROR
    where = f"GPU {row.index}" if row.index is not None else "a GPU"
    return GpuFault(kind, f"{where}{f' at {row.bus_id}' if row.bus_id else ''}: {row.fault}")
