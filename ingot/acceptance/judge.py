"""The judgement of an acceptance, from what was measured: pure, every finding with its reason."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ingot.acceptance.figures import FAIL_SHARE, Floors, floors, link_floor
from ingot.acceptance.measured import BurnIn, Diagnostics, DiskRates, GpuBurnIn
from ingot.acceptance.readings import GpuCounters, Look, Sample, new_xids
from ingot.facts.xid import SEVERE, Xid

#: A GPU this far below the median of the others of its model is named; this far below it fails. One tensor-parallel
#: replica is as fast as its slowest GPU.
SLOW, TOO_SLOW = 0.05, 0.10
#: Host links differ by the socket that the pinned memory lies at, so that less is said of them.
SLOW_LINK, TOO_SLOW_LINK = 0.10, 0.30
#: A host this far below the others of the fleet is named.
SLOW_HOST = 0.05
#: Share of the busy samples with a thermal or power-brake slowdown from which a GPU fails.
THROTTLED = 0.05
#: °C above the median of the siblings that point to dust, a fan or paste.
HOT = 15
#: The read rate below which an NVMe drive is named, GB/s: a slow PCIe 3 drive reads 1.5.
NVME_READ = 1.0

#: Xids that a program causes; while the burn-in ran no other program was there. Source: NVIDIA's Xid catalog.
PROGRAM_XIDS = frozenset({13, 31, 32, 43, 45, 68, 69})
#: Xids after which a GPU goes on, to be looked at: a row was remapped.
WARNED_XIDS = frozenset({63})
#: Xids that say hardware, firmware or a link failed. Source: NVIDIA's Xid catalog and the list by which Azure takes
#: nodes out (github.com/Azure/azurehpc-health-checks at 0e0a1ac2), read 2026-11-22.
HARDWARE_XIDS = frozenset(SEVERE) | frozenset(
    {46, 54, 56, 57, 58, 65, 73, 80, 81, 92, 94, 109, 110, 136, 143, 155, 156, 157, 158, 167, 168, 171, 172}
    | set(range(144, 151))
)


class Verdict(StrEnum):
    """What an acceptance comes to; the worst finding decides."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason: a sentence without the host's name and the final stop; `uuid` where it is of one GPU."""

    verdict: Verdict
    text: str
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one acceptance of a host saw. `missing` are sentences on what could not be measured and need not
    be, `undone` on what must be and was not.
    """

    before: Look = field(default_factory=Look)
    after: Look = field(default_factory=Look)
    samples: tuple[Sample, ...] = ()
    burn_in: BurnIn | None = None
    disk: DiskRates | None = None
    diagnostics: Diagnostics | None = None
    differences: tuple[str, ...] = ()
    nvme_ordered: bool = False
    missing: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()


#: Of another host of the fleet: name of a GPU's model -> metric -> its median there.
Medians = Mapping[str, Mapping[str, float]]

METRICS: Mapping[str, tuple[str, str, Callable[[GpuBurnIn], float | None]]] = {
    "matmul": ("matmul", "TFLOP/s", lambda one: one.matmul_tflops),
    "soak": ("soak", "TFLOP/s", lambda one: one.soak_tflops),
    "copy": ("memory copy", "GB/s", lambda one: one.copy_gb_per_s),
    "to_device": ("host to device", "GB/s", lambda one: one.to_device_gb_per_s),
    "to_host": ("device to host", "GB/s", lambda one: one.to_host_gb_per_s),
    "peer": ("to the next GPU", "GB/s", lambda one: one.peer_gb_per_s),
}
_LINKS = ("to_device", "to_host", "peer")


def judge(measured: Measured, fleet: Sequence[Medians] = ()) -> tuple[Verdict, tuple[Finding, ...]]:
    """The verdict with its findings, failures first. `fleet`: the medians of other hosts."""
    found = [
        *(Finding(Verdict.FAIL, sentence) for sentence in (*measured.differences, *measured.undone)),
        *(Finding(Verdict.WARN, sentence) for sentence in measured.missing),
        *_counters(measured),
        *_xids(measured),
        *_links(measured),
        *_throttling(measured),
        *_correctness(measured),
        *_floors(measured),
        *_siblings(measured),
        *_fleet(measured, fleet),
        *_rest(measured),
    ]
    order = (Verdict.FAIL, Verdict.WARN)
    findings = tuple(sorted(found, key=lambda one: order.index(one.verdict)))
    return (findings[0].verdict if findings else Verdict.PASS), findings


def medians(measured: Measured) -> dict[str, dict[str, float]]:
    """Of each model of GPU in the box: the median of every metric, for comparison with other hosts."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in measured.burn_in.gpus if measured.burn_in else ():
        counters = measured.before.gpu(one.uuid)
        for metric, (_, _, read) in METRICS.items():
            value = read(one)
            if counters and value is not None:
                found.setdefault(counters.name, {}).setdefault(metric, []).append(value)
    return {name: {key: statistics.median(all_) for key, all_ in values.items()} for name, values in found.items()}


def label(measured: Measured, uuid: str) -> str:
    """`GPU 3`, or the start of the UUID of an instance."""
    counters = measured.before.gpu(uuid) or measured.after.gpu(uuid)
    return counters.label if counters else f"GPU {uuid[:12]}"


def _counters(measured: Measured) -> Iterator[Finding]:
    for now in measured.after.gpus:
        then = measured.before.gpu(now.uuid) or now
        grown = _grown(then.uncorrected_ever, now.uncorrected_ever) or _grown(then.uncorrected, now.uncorrected)
        if grown:
            yield Finding(Verdict.FAIL, f"{now.label} had {grown} uncorrectable memory errors during the run", now.uuid)
        elif now.uncorrected:
            text = f"{now.label} had {now.uncorrected} uncorrectable memory errors since its last reset"
            yield Finding(Verdict.FAIL, text, now.uuid)
        if corrected := _grown(then.corrected, now.corrected):
            text = f"{now.label} corrected {corrected} memory errors during the run"
            yield Finding(Verdict.WARN, text, now.uuid)
        if now.remap_failed:
            text = f"{now.label} could not remap a bad memory row; have the card replaced"
            yield Finding(Verdict.FAIL, text, now.uuid)
        if rows := _grown(then.rows_remapped, now.rows_remapped):
            yield Finding(Verdict.FAIL, f"{now.label} remapped {rows} memory rows during the run", now.uuid)
        elif now.remap_pending:
            text = f"{now.label} has a memory row to remap; reset it or reboot, and accept again"
            yield Finding(Verdict.WARN, text, now.uuid)
        if replays := _grown(then.replays, now.replays):
            text = f"{now.label} repeated {replays} PCIe packets during the run; check its seat and riser"
            yield Finding(Verdict.WARN, text, now.uuid)
    lost = [one for one in measured.before.gpus if measured.after.gpus and not measured.after.gpu(one.uuid)]
    for one in lost:
        yield Finding(Verdict.FAIL, f"{one.label} answered before the run and does not any more", one.uuid)


def _xids(measured: Measured) -> Iterator[Finding]:
    fresh = new_xids(measured.before.xids, measured.after.xids)
    for one, times in Counter(fresh).items():
        verdict = Verdict.FAIL if one.number in HARDWARE_XIDS - WARNED_XIDS else Verdict.WARN
        meaning = f": {one.meaning}" if one.meaning else f" ({one.text})" if one.text else ""
        often = f" {times} times" if times > 1 else ""
        text = f"{_of_address(measured, one)} reported Xid {one.number}{often} during the run{meaning}"
        yield Finding(verdict, text, _uuid_of(measured, one))
    before = Counter((one.address, one.number) for one in measured.before.xids if one.number in HARDWARE_XIDS)
    for (address, number), times in before.items():
        xid = Xid(address, number)
        text = f"{_of_address(measured, xid)} reported Xid {number} {times} times since boot, before the run"
        yield Finding(Verdict.WARN, text, _uuid_of(measured, xid))


def _links(measured: Measured) -> Iterator[Finding]:
    widths = {one.uuid: _under_load(measured, one)[1] for one in measured.before.gpus}
    for one in measured.before.gpus:
        generation, width = _under_load(measured, one)
        others = [widths[other.uuid] or 0 for other in measured.before.gpus if other.name == one.name]
        if width and one.widest and width < one.widest:
            known = f"{one.label} uses {width} of its {one.widest} PCIe lanes"
            if width < max(others):
                yield Finding(Verdict.FAIL, f"{known}, others of its kind more; check its seat and riser", one.uuid)
            else:
                yield Finding(Verdict.WARN, f"{known}, as all of its kind here: the board gives no more", one.uuid)
        if measured.samples and generation and one.generation and generation < one.generation:
            text = f"{one.label} runs its PCIe link at generation {generation} under load, expected {one.generation}"
            yield Finding(Verdict.FAIL, f"{text}; check its seat, riser and the BIOS", one.uuid)
        active, every = one.links
        if active < every:
            text = f"{one.label} has {active} of {every} NVLinks active; check bridge, baseboard and fabric manager"
            yield Finding(Verdict.FAIL, text, one.uuid)
        if one.fabric and one.fabric.lower() != "completed, success":
            text = f"{one.label} is not part of the NVLink fabric ({one.fabric})"
            yield Finding(Verdict.FAIL, f"{text}; read `journalctl -u nvidia-fabricmanager`", one.uuid)
    fabrics = Counter(one.links[1] for one in measured.before.gpus)
    if len(fabrics) > 1:
        most = fabrics.most_common(1)[0][0]
        for one in measured.before.gpus:
            if one.links[1] < most:
                text = (
                    f"{one.label} has {one.links[1]} NVLinks where the others have {most}; check bridge and baseboard"
                )
                yield Finding(Verdict.FAIL, text, one.uuid)


def _throttling(measured: Measured) -> Iterator[Finding]:
    hottest: dict[str, float] = {}
    for counters in measured.before.gpus:
        busy = [one for one in measured.samples if one.uuid == counters.uuid and one.is_busy]
        if not busy:
            continue
        hottest[counters.uuid] = max((one.temperature or 0 for one in busy), default=0)
        for reason, words in (
            ("hw_thermal_slowdown", "slowed down for heat (hardware)"),
            ("sw_thermal_slowdown", "slowed down for heat (driver)"),
            ("hw_power_brake_slowdown", "was braked by its power supply"),
        ):
            share = sum(reason in one.reasons for one in busy) / len(busy)
            if share:
                verdict = Verdict.FAIL if share >= THROTTLED else Verdict.WARN
                text = f"{counters.label} {words} in {share:.0%} of the samples, at {hottest[counters.uuid]:.0f} °C"
                yield Finding(verdict, f"{text}; check airflow, fans and power", counters.uuid)
    for counters in measured.before.gpus:
        own = hottest.get(counters.uuid)
        others = [degrees for uuid, degrees in hottest.items() if uuid != counters.uuid]
        if own and others and own - statistics.median(others) >= HOT:
            text = (
                f"{counters.label} reached {own:.0f} °C, its siblings {statistics.median(others):.0f} °C; check airflow"
            )
            yield Finding(Verdict.WARN, text, counters.uuid)


def _correctness(measured: Measured) -> Iterator[Finding]:
    if measured.burn_in is None:
        return
    sums: dict[str, Counter[str]] = {}
    for one in measured.burn_in.gpus:
        name = label(measured, one.uuid)
        for sentence in one.corrupted[:3]:
            yield Finding(Verdict.FAIL, f"{name} computes wrong: {sentence}; have the card replaced", one.uuid)
        for count, what in (
            (one.wrong_products, f"of {one.products} products differ from the first"),
            (one.wrong_samples, "elements of a product are not what a CPU computes"),
            (one.wrong_memory, "numbers of its memory are not what was written"),
            (one.wrong_sums, "sums of an all-reduce are wrong"),
        ):
            if count:
                yield Finding(Verdict.FAIL, f"{name}: {count} {what}; have the card replaced", one.uuid)
        for sentence in one.errors:
            yield Finding(Verdict.FAIL, f"{name} could not be burned in: {sentence}", one.uuid)
        if one.checksum:
            sums.setdefault(_model(measured, one), Counter())[one.checksum] += 1
    for sentence in measured.burn_in.errors:
        yield Finding(Verdict.FAIL, f"the burn-in could not be gone through: {sentence}")
    for one in measured.burn_in.gpus:
        votes = sums.get(_model(measured, one), Counter())
        if one.checksum and len(votes) > 1 and one.checksum != votes.most_common(1)[0][0]:
            text = f"{label(measured, one.uuid)} computes another product than its siblings from the same numbers"
            yield Finding(Verdict.WARN, f"{text}; run a soak, and have the card looked at", one.uuid)


def _floors(measured: Measured) -> Iterator[Finding]:
    burn_in = measured.burn_in
    if burn_in is None:
        return
    for one in burn_in.gpus:
        counters = measured.before.gpu(one.uuid)
        if counters is None:
            continue
        least = floors(counters.name, len(burn_in.gpus))
        generation, width = _under_load(measured, counters)
        link = link_floor(generation, width)
        for metric, floor in (
            ("matmul", least.matmul_tflops),
            ("copy", least.copy_gb_per_s),
            ("to_device", link),
            ("to_host", link),
            ("peer", least.peer_gb_per_s if counters.links[0] and len(burn_in.gpus) > 2 else None),
        ):
            words, unit, read = METRICS[metric]
            value = read(one)
            if floor and value is not None and value < floor:
                verdict = Verdict.FAIL if value < floor * FAIL_SHARE else Verdict.WARN
                text = f"{counters.label}: {words} {value:g} {unit}, expected at least {floor:g}"
                yield Finding(verdict, text + _peak(metric, least), one.uuid)
    least = _common_floors(measured)
    rate = burn_in.all_reduce_gb_per_s
    if rate is not None and least.all_reduce_gb_per_s and rate < least.all_reduce_gb_per_s:
        verdict = Verdict.FAIL if rate < least.all_reduce_gb_per_s * FAIL_SHARE else Verdict.WARN
        text = f"all-reduce over all GPUs {rate:g} GB/s, expected at least {least.all_reduce_gb_per_s:g}"
        yield Finding(verdict, f"{text}; check NVLinks and the fabric manager")


def _siblings(measured: Measured) -> Iterator[Finding]:
    gpus = measured.burn_in.gpus if measured.burn_in else ()
    for metric, (words, unit, read) in METRICS.items():
        slow, too_slow = (SLOW_LINK, TOO_SLOW_LINK) if metric in _LINKS else (SLOW, TOO_SLOW)
        for one in gpus:
            value = read(one)
            others = [
                rate
                for other in gpus
                if other is not one and _model(measured, other) == _model(measured, one)
                if (rate := read(other)) is not None
            ]
            if value is None or not others:
                continue
            usual = statistics.median(others)
            behind = 1 - value / usual if usual else 0
            if behind >= slow:
                verdict = Verdict.FAIL if behind >= too_slow else Verdict.WARN
                text = (
                    f"{label(measured, one.uuid)}: {words} {value:g} {unit}, {behind:.0%} below its siblings' {usual:g}"
                )
                yield Finding(verdict, text, one.uuid)


def _fleet(measured: Measured, fleet: Sequence[Medians]) -> Iterator[Finding]:
    for name, own in medians(measured).items():
        for metric in ("matmul", "soak", "copy"):
            words, unit, _ = METRICS[metric]
            others = [one[name][metric] for one in fleet if metric in one.get(name, {})]
            if metric not in own or not others:
                continue
            usual = statistics.median(others)
            if own[metric] < usual * (1 - SLOW_HOST):
                text = f"its {name}: {words} {own[metric]:g} {unit}, {1 - own[metric] / usual:.0%} below other hosts'"
                yield Finding(Verdict.WARN, f"{text} {usual:g}; compare cooling, power limits and BIOS")


def _rest(measured: Measured) -> Iterator[Finding]:
    disk, said = measured.disk, measured.diagnostics
    if disk and measured.nvme_ordered and disk.read_gb_per_s < NVME_READ:
        text = f"the cache root reads {disk.read_gb_per_s:g} GB/s, expected {NVME_READ:g} or more of NVMe"
        yield Finding(Verdict.WARN, f"{text}; check that it lies on the drives that were ordered")
    if said and said.failed:
        yield Finding(Verdict.FAIL, f"DCGM's {', '.join(said.failed)} failed; read `dcgmi diag` on the host")
    if said and said.warned:
        yield Finding(Verdict.WARN, f"DCGM warns of {', '.join(said.warned)}; read `dcgmi diag` on the host")


def _under_load(measured: Measured, one: GpuCounters) -> tuple[int | None, int | None]:
    """Generation and lanes of the link while the GPU worked: the best generation seen, the fewest lanes."""
    busy = [sample for sample in measured.samples if sample.uuid == one.uuid and sample.is_busy]
    generations = [sample.generation for sample in busy if sample.generation]
    lanes = [sample.width for sample in busy if sample.width] or [one.width or 0]
    return (max(generations) if generations else None), (min(lanes) or None)


def _common_floors(measured: Measured) -> Floors:
    names = {one.name for one in measured.before.gpus}
    gpus = measured.burn_in.gpus if measured.burn_in else ()
    return floors(names.pop(), len(gpus)) if len(names) == 1 else Floors()


def _peak(metric: str, least: Floors) -> str:
    peak = {"matmul": least.matmul_peak, "copy": least.copy_peak}.get(metric)
    return f" (data sheet {peak:g})" if peak else "; check seat, riser and BIOS" if metric in _LINKS else ""


def _model(measured: Measured, one: GpuBurnIn) -> str:
    counters = measured.before.gpu(one.uuid)
    return counters.name if counters else ""


def _uuid_of(measured: Measured, xid: Xid) -> str | None:
    counters = _at(measured.before.gpus, xid)
    return counters.uuid if counters else None


def _of_address(measured: Measured, xid: Xid) -> str:
    counters = _at(measured.before.gpus, xid)
    return counters.label if counters else f"the GPU at {xid.address}"


def _at(gpus: Iterable[GpuCounters], xid: Xid) -> GpuCounters | None:
    return next((one for one in gpus if one.address and _slot(one.address) == _slot(xid.address)), None)


def _slot(address: str) -> tuple[int, ...]:
    """Domain, bus and device as numbers: the kernel leaves the function out, drivers write the domain in two ways."""
    return tuple(int(part, 16) for part in address.partition(".")[0].split(":"))


def _grown(then: int | None, now: int | None) -> int:
    return max(0, now - then) if then is not None and now is not None else 0
