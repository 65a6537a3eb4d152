"""The page of an acceptance: verdicts with reasons, per-GPU bars against expectation, clocks and heat over time.

It is made from the evidence JSON alone, so that old records can be shown too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ingot.report.page import document
from ingot.report.plot import Bar, Line, bars, lines

#: Metric of the record's findings and floors, the figure of a GPU that it is, its name and its unit.
FIGURES = (
    ("matmul", "matmul_tflops", "bf16 matmul", "TFLOP/s"),
    ("soak", "soak_tflops", "soak", "TFLOP/s"),
    ("copy", "copy_gb_per_s", "memory copy", "GB/s"),
    ("to_device", "to_device_gb_per_s", "host to device", "GB/s"),
    ("to_host", "to_host_gb_per_s", "device to host", "GB/s"),
    ("peer", "peer_gb_per_s", "to the next GPU", "GB/s"),
)
#: Points of each line of a short plot.
SHORT_POINTS = 24
TRACES = (("temperature", "temperature", "°C"), ("clock", "SM clock", "MHz"), ("power", "power", "W"))


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """The page of one run, a section per host."""
    body = "\n".join(_host(record) for record in records)
    return document("Acceptance", f"{_summary(records)}\n{body}")


def short(record: Mapping[str, Any]) -> str:
    """The two plots of a host that fit on a page of many: its compute rate beside what was expected, and its heat."""
    names = _names(record)
    plots = (*_bars(record, names, FIGURES[:1]), *_lines(record["measured"], names, TRACES[:1], SHORT_POINTS))
    return "\n".join(plots[:2])


def _names(record: Mapping[str, Any]) -> dict[str, str]:
    return {one["uuid"]: f"GPU {one['index']}" for one in record["measured"]["before"]["gpus"]}


def _summary(records: Sequence[Mapping[str, Any]]) -> str:
    rows = "\n".join(
        f'<tr><td><a href="#{escape(record["host"])}">{escape(record["host"])}</a></td><td>{_verdict(record)}</td>'
        f"<td>{escape(record['level'])}</td><td>{escape(record['at'])}</td><td>{len(record['reasons'])}</td></tr>"
        for record in records
    )
    head = "".join(f'<th scope="col">{one}</th>' for one in ("host", "verdict", "level", "at", "reasons"))
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _verdict(record: Mapping[str, Any]) -> str:
    verdict = escape(record["verdict"])
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _host(record: Mapping[str, Any]) -> str:
    measured = record["measured"]
    names = _names(record)
    reasons = "".join(f"<li><b>{escape(one['verdict'])}</b> {escape(one['text'])}</li>" for one in record["findings"])
    plots = "\n".join((*_bars(record, names), *_lines(measured, names)))
    return (
        f'<section id="{escape(record["host"])}">\n<h2>{escape(record["host"])} {_verdict(record)}</h2>\n'
        f'<p class="dim">{escape(", ".join(_facts(record)))}</p>\n'
        f'<ul>{reasons or "<li>as it should be</li>"}</ul>\n<div class="plots">\n{plots}\n</div>\n</section>'
    )


def _facts(record: Mapping[str, Any]) -> Iterator[str]:
    measured, hardware = record["measured"], record["hardware"]
    gpus = measured["before"]["gpus"]
    if gpus:
        yield f"{len(gpus)} x {gpus[0]['name']}, driver {measured['before']['driver']}"
    yield f"{hardware['cpu']['model']}, {hardware['memory_bytes'] / (1 << 30):.0f} GiB, kernel {hardware['kernel']}"
    burn_in, disk = measured["burn_in"] or {}, measured["disk"]
    if burn_in.get("software"):
        yield burn_in["software"]
    if burn_in.get("all_reduce_gb_per_s"):
        yield f"all-reduce {burn_in['all_reduce_gb_per_s']:g} GB/s"
    if burn_in.get("host_memory_gb_per_s"):
        yield f"host memory {burn_in['host_memory_gb_per_s']:g} GB/s"
    if disk:
        yield f"disk {disk['read_gb_per_s']:g} GB/s read, {disk['write_gb_per_s']:g} GB/s written"


def _bars(
    record: Mapping[str, Any], names: Mapping[str, str], figures: Sequence[tuple[str, str, str, str]] = FIGURES
) -> Iterator[str]:
    gpus = (record["measured"]["burn_in"] or {}).get("gpus", ())
    # A server mostly has one model of GPU: the floors of the first card are shown for all.
    expected: Mapping[str, Any] = next(iter(record["expected"].values()), {"floors": {}, "peaks": {}})
    wrong = {(one["uuid"], one["metric"]) for one in record["findings"]}
    for metric, key, title, unit in figures:
        values = [
            Bar(names.get(one["uuid"], one["uuid"][:12]), one[key], (one["uuid"], metric) in wrong)
            for one in gpus
            if one[key] is not None
        ]
        if values:
            yield bars(title, unit, values, floor=expected["floors"].get(metric), peak=expected["peaks"].get(metric))


def _lines(
    measured: Mapping[str, Any],
    names: Mapping[str, str],
    traces: Sequence[tuple[str, str, str]] = TRACES,
    most: int | None = None,
) -> Iterator[str]:
    for key, title, unit in traces:
        series = [Line(name, _points(measured["samples"], uuid, key, most)) for uuid, name in names.items()]
        yield lines(title, unit, [line for line in series if line.points])
    gpus = (measured["burn_in"] or {}).get("gpus", ())
    soaks = [
        Line(names.get(one["uuid"], one["uuid"][:12]), [(point["at_s"], point["tflops"]) for point in one["points"]])
        for one in gpus
    ]
    yield lines("soak", "TFLOP/s", [line for line in soaks if line.points])


def _points(
    samples: Sequence[Mapping[str, Any]], uuid: str, key: str, most: int | None
) -> Sequence[tuple[float, float]]:
    found = [(one["at_s"], one[key]) for one in samples if one["uuid"] == uuid and one[key] is not None]
    return found[:: max(len(found) // most, 1)] if most else found
