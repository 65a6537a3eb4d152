"""Whether GPUs, links and disks are as fast as their model, their siblings and the rest of the fleet."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from ingot.acceptance.figures import FAIL_SHARE, Floors, floors, link_floor
from ingot.acceptance.finding import Finding, Measured, Verdict, label, model_of, under_load
from ingot.acceptance.measured import GpuBurnIn
from ingot.acceptance.readings import GpuCounters

#: A GPU this far below the median of the others of its model is named; this far below it fails. One tensor-parallel
#: replica is as fast as its slowest GPU.
SLOW, TOO_SLOW = 0.05, 0.10
#: Host links differ by the socket that the pinned memory lies at, so that less is said of them.
SLOW_LINK, TOO_SLOW_LINK = 0.10, 0.30
#: A host this far below the others of the fleet is named.
SLOW_HOST = 0.05
#: The read rate below which an NVMe drive is named, GB/s: a slow PCIe 3 drive reads 1.5.
NVME_READ = 1.0

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


def speed(measured: Measured, fleet: Sequence[Medians]) -> Iterator[Finding]:
    """Every finding of something slow. `fleet`: the medians of other hosts."""
    yield from _floors(measured)
    yield from _siblings(measured)
    yield from _fleet(measured, fleet)
    yield from _disk(measured)


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


def expected(measured: Measured, counters: GpuCounters) -> dict[str, float | None]:
    """The floor of each metric for one GPU of the box, by its model and by the link that it has under load."""
    gpus = len(measured.burn_in.gpus) if measured.burn_in else 0
    least = floors(counters.name, gpus)
    link = link_floor(*under_load(measured, counters))
    return {
        "matmul": least.matmul_tflops,
        "copy": least.copy_gb_per_s,
        "to_device": link,
        "to_host": link,
        # Two GPUs may be joined by a bridge with a part of the links.
        "peer": least.peer_gb_per_s if counters.links[0] and gpus > 2 else None,
    }


def _floors(measured: Measured) -> Iterator[Finding]:
    burn_in = measured.burn_in
    if burn_in is None:
        return
    for one in burn_in.gpus:
        counters = measured.before.gpu(one.uuid)
        if counters is None:
            continue
        least = floors(counters.name, len(burn_in.gpus))
        for metric, floor in expected(measured, counters).items():
            words, unit, read = METRICS[metric]
            value = read(one)
            if floor and value is not None and value < floor:
                verdict = Verdict.FAIL if value < floor * FAIL_SHARE else Verdict.WARN
                text = f"{counters.label}: {words} {value:g} {unit}, expected at least {floor:g}"
                yield Finding(verdict, text + _peak(metric, least), one.uuid, metric)
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
                if other is not one and model_of(measured, other.uuid) == model_of(measured, one.uuid)
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
                yield Finding(verdict, text, one.uuid, metric)


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


def _disk(measured: Measured) -> Iterator[Finding]:
    disk = measured.disk
    if disk and measured.nvme_ordered and disk.read_gb_per_s < NVME_READ:
        text = f"the cache root reads {disk.read_gb_per_s:g} GB/s, expected {NVME_READ:g} or more of NVMe"
        yield Finding(Verdict.WARN, f"{text}; check that it lies on the drives that were ordered")


def _common_floors(measured: Measured) -> Floors:
    names = {one.name for one in measured.before.gpus}
    gpus = measured.burn_in.gpus if measured.burn_in else ()
    return floors(names.pop(), len(gpus)) if len(names) == 1 else Floors()


def _peak(metric: str, least: Floors) -> str:
    peak = {"matmul": least.matmul_peak, "copy": least.copy_peak}.get(metric)
    return f" (data sheet {peak:g})" if peak else "; check seat, riser and BIOS" if metric in _LINKS else ""
