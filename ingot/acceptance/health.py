"""Whether GPUs are sound: error counters, Xids, links, heat, and results that are wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator

from ingot.acceptance.finding import Finding, Measured, Verdict, label, model_of, under_load
from ingot.acceptance.readings import GpuCounters
from ingot.acceptance.reports import fresh
from ingot.facts.xid import CATALOG, RECOVERY_CHANGED, Xid

#: Share of the busy samples with a thermal or power-brake slowdown from which a GPU fails.
THROTTLED = 0.05
#: °C above the median of the siblings that point to dust, a fan or paste.
HOT = 15
#: Xids after which a GPU goes on, to be looked at: a row was remapped.
WARNED_XIDS = frozenset({63})
#: Xids that say hardware, firmware or a link failed; of all others, a program's, the run is warned, since none but the
#: burn-in was there. Source: NVIDIA's Xid catalog and the list by which Azure takes nodes out
#: (github.com/Azure/azurehpc-health-checks at 0e0a1ac2), read 2026-11-22.
HARDWARE_XIDS = frozenset(CATALOG) | {56, 57, 58, 65, 73, 80, 81, 92, 94, 157, 168, 171, 172}


def health(measured: Measured) -> Iterator[Finding]:
    """Every finding that no healthy GPU gives, however fast it is."""
    yield from _counters(measured)
    yield from _xids(measured)
    yield from _switches(measured)
    yield from _links(measured)
    yield from _throttling(measured)
    yield from _correctness(measured)
    yield from _diagnostics(measured)


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
    reported = fresh(measured.before.xids, measured.after.xids)
    for one, times in Counter(reported).items():
        verdict = Verdict.FAIL if _is_hardware(one) and one.number not in WARNED_XIDS else Verdict.WARN
        meaning = f": {one.meaning}" if one.meaning else f" ({one.text})" if one.text else ""
        often = f" {times} times" if times > 1 else ""
        text = f"{_of_address(measured, one)} reported Xid {one.number}{often} during the run{meaning}"
        yield Finding(verdict, text, _uuid_of(measured, one))
    before = Counter((one.address, one.number) for one in measured.before.xids if _is_hardware(one))
    for (address, number), times in before.items():
        xid = Xid(address, number)
        text = f"{_of_address(measured, xid)} reported Xid {number} {times} times since boot, before the run"
        yield Finding(Verdict.WARN, text, _uuid_of(measured, xid))


def _is_hardware(xid: Xid) -> bool:
    """Whether hardware, firmware or a link failed; Xid 154 says so by the action it names."""
    return xid.number in HARDWARE_XIDS or (xid.number == RECOVERY_CHANGED and xid.action is not None)


def _switches(measured: Measured) -> Iterator[Finding]:
    reported = fresh(measured.before.switch_errors, measured.after.switch_errors)
    for one, times in Counter(reported).items():
        verdict = Verdict.FAIL if one.is_fatal else Verdict.WARN
        often = f" {times} times" if times > 1 else ""
        yield Finding(
            verdict, f"the NVSwitch at {one.address} reported SXid {one.number}{often} during the run: {one.text}"
        )


def _links(measured: Measured) -> Iterator[Finding]:
    widths = {one.uuid: under_load(measured, one)[1] for one in measured.before.gpus}
    for one in measured.before.gpus:
        generation, width = under_load(measured, one)
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
            sums.setdefault(model_of(measured, one.uuid), Counter())[one.checksum] += 1
    for sentence in measured.burn_in.errors:
        yield Finding(Verdict.FAIL, f"the burn-in could not be gone through: {sentence}")
    for one in measured.burn_in.gpus:
        votes = sums.get(model_of(measured, one.uuid), Counter())
        if one.checksum and len(votes) > 1 and one.checksum != votes.most_common(1)[0][0]:
            text = f"{label(measured, one.uuid)} computes another product than its siblings from the same numbers"
            yield Finding(Verdict.WARN, f"{text}; run a soak, and have the card looked at", one.uuid)


def _diagnostics(measured: Measured) -> Iterator[Finding]:
    said = measured.diagnostics
    if said and said.failed:
        yield Finding(Verdict.FAIL, f"DCGM's {', '.join(said.failed)} failed; read `dcgmi diag` on the host")
    if said and said.warned:
        yield Finding(Verdict.WARN, f"DCGM warns of {', '.join(said.warned)}; read `dcgmi diag` on the host")


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
