"""What the burn-in, fio and DCGM measured, from their own outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of a GPU's soak: seconds since its start, TFLOP/s."""

    at_s: float
    tflops: float


@dataclass(frozen=True, slots=True)
class GpuBurnIn:
    """One GPU's figures: TFLOP/s and GB/s; None what was not measured. `corrupted` are sentences about elements."""

    uuid: str
    matmul_tflops: float | None = None
    copy_gb_per_s: float | None = None
    to_device_gb_per_s: float | None = None
    to_host_gb_per_s: float | None = None
    peer_gb_per_s: float | None = None
    soak_tflops: float | None = None
    soak_s: float | None = None
    products: int = 0
    wrong_products: int = 0
    wrong_samples: int = 0
    memory_bytes: int = 0
    wrong_memory: int = 0
    wrong_sums: int = 0
    corrupted: tuple[str, ...] = ()
    checksum: str | None = None
    errors: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class BurnIn:
    """All GPUs, in the order they were given; rates over all of them; phases that were gone through."""

    gpus: tuple[GpuBurnIn, ...] = ()
    all_reduce_gb_per_s: float | None = None
    host_memory_gb_per_s: float | None = None
    finished: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    software: str = ""

    def gpu(self, uuid: str) -> GpuBurnIn | None:
        """One GPU by its UUID."""
        return next((one for one in self.gpus if one.uuid == uuid), None)


@dataclass(frozen=True, slots=True)
class DiskRates:
    """Sequential rates of a file below the cache root, GB/s."""

    read_gb_per_s: float
    write_gb_per_s: float


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What DCGM says: names of its tests by result."""

    passed: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def parse_burn_in(text: str) -> BurnIn:
    """The lines of burnin.py, of one run or several one after the other; lines that are none are passed over.

    A phase that was repeated counts as measured last.
    """
    gpus: dict[str, GpuBurnIn] = {}
    whole = BurnIn()
    for event in _events(text):
        if "finished" in event:
            if event.get("complete", True):
                done = str(event["finished"])
                whole = replace(whole, finished=(*whole.finished, done), errors=_others(whole.errors, done))
                gpus = {key: replace(one, errors=_others(one.errors, done)) for key, one in gpus.items()}
            continue
        phase, uuid = event.get("phase"), str(event.get("gpu") or "")
        if phase == "software":
            whole = replace(whole, software=f"torch {event.get('torch')}, CUDA {event.get('cuda')}")
            # Without a burn-in the script is asked for the host's memory alone, on the CPU.
            gpus |= {one: GpuBurnIn(one) for one in event.get("gpus", ()) if one not in gpus and one != "cpu"}
        elif phase == "host_memory":
            whole = replace(whole, host_memory_gb_per_s=event["gb_per_s"])
        elif phase == "error":
            sentence = f"{event.get('during', 'the burn-in')}: {event.get('text')}"
            if uuid in gpus:
                gpus[uuid] = replace(gpus[uuid], errors=(*gpus[uuid].errors, sentence))
            else:
                whole = replace(whole, errors=(*whole.errors, sentence))
        elif uuid:
            gpus[uuid] = _with(gpus.get(uuid, GpuBurnIn(uuid)), event)
            if phase == "all_reduce":
                # Every rank measures the same operation: the slowest is what a caller gets.
                known = whole.all_reduce_gb_per_s
                rate = event["bus_gb_per_s"]
                whole = replace(whole, all_reduce_gb_per_s=rate if known is None else min(known, rate))
    return replace(whole, gpus=tuple(gpus.values()))


def _others(errors: tuple[str, ...], phase: str) -> tuple[str, ...]:
    """Errors but those of an earlier attempt at a phase that was gone through since."""
    return tuple(error for error in errors if not error.startswith(f"{phase}: "))


def _with(one: GpuBurnIn, event: Mapping[str, Any]) -> GpuBurnIn:
    phase = event.get("phase")
    if phase == "matmul":
        return replace(one, matmul_tflops=event["tflops"])
    if phase == "copy":
        return replace(one, copy_gb_per_s=event["gb_per_s"])
    if phase == "link":
        return replace(one, to_device_gb_per_s=event["to_device_gb_per_s"], to_host_gb_per_s=event["to_host_gb_per_s"])
    if phase == "peer":
        return replace(one, peer_gb_per_s=event["gb_per_s"])
    if phase == "memory":
        one = replace(one, memory_bytes=event["tested_bytes"], wrong_memory=event["wrong"])
        if first := event.get("first"):
            sentence = f"byte {first['byte']} of its memory is {first['got']}, written {first['expected']}"
            return replace(one, corrupted=(*one.corrupted, sentence))
        return one
    if phase == "all_reduce":
        return replace(one, wrong_sums=event["wrong"])
    if phase == "soak":
        return _soaked(one, event)
    return one


def _soaked(one: GpuBurnIn, event: Mapping[str, Any]) -> GpuBurnIn:
    if bad := event.get("corrupted"):
        sentence = (
            f"after {event['at_s']:g} s element [{bad['row']}, {bad['column']}] of a product is {bad['got']}, "
            f"expected {bad['expected']} ({bad['elements']} elements differ)"
        )
        return replace(one, corrupted=(*one.corrupted, sentence))
    if "at_s" in event:
        return replace(one, points=(*one.points, Point(event["at_s"], event["tflops"])))
    return replace(
        one,
        soak_tflops=event["tflops"],
        soak_s=event["seconds"],
        products=event["compared"],
        wrong_products=event["wrong"],
        wrong_samples=event["wrong_samples"],
        checksum=event["checksum"],
    )


def _events(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def parse_fio(text: str) -> DiskRates | None:
    """fio's JSON of one job that writes and one that reads; None when it is not that."""
    try:
        jobs = {job["jobname"]: job for job in json.loads(text[text.index("{") :])["jobs"]}
        return DiskRates(
            read_gb_per_s=round(jobs["read"]["read"]["bw_bytes"] / 1e9, 3),
            write_gb_per_s=round(jobs["write"]["write"]["bw_bytes"] / 1e9, 3),
        )
    except (ValueError, KeyError, TypeError):
        return None


def parse_dcgm(text: str) -> Diagnostics | None:
    """`dcgmi diag -j` of DCGM 3 and 4; None when it is not that."""
    try:
        root = json.loads(text[text.index("{") :])
        root = root.get("DCGM Diagnostic") or root.get("DCGM GPU Diagnostic") or root
        tests = [test for category in root["test_categories"] for test in category["tests"]]
        results: dict[str, set[str]] = {}
        for test in tests:
            found = [*test.get("results", ()), *([test["test_summary"]] if "test_summary" in test else ())]
            for one in found:
                results.setdefault(str(one["status"]).lower(), set()).add(str(test["name"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    failed = results.get("fail", set())
    warned = results.get("warn", set()) - failed
    return Diagnostics(
        passed=tuple(sorted(results.get("pass", set()) - failed - warned)),
        warned=tuple(sorted(warned)),
        failed=tuple(sorted(failed)),
    )
