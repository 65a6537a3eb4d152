"""Figures in the text form that Prometheus reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


class Figures:
    """What one run found. `kinds` are the known metrics: of each its kind and its help; another name is a fault."""

    def __init__(self, kinds: Mapping[str, Sequence[str]]) -> None:
        self._kinds = kinds
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, value: float | None, /, **labels: str) -> None:
        """One reading; nothing where there is none."""
        if value is None or math.isnan(value):
            return
        self._lines(name).append(f"{name}{_braces(labels)} {_number(value)}")

    def histogram(
        self, name: str, edges: Sequence[float], counts: Sequence[int], total: float, /, **labels: str
    ) -> None:
        """Observations by the first edge that they do not pass; the last count is of those beyond every edge."""
        lines, so_far = self._lines(name), 0
        for edge, count in zip([*edges, math.inf], counts, strict=True):  # one more count than edges
            so_far += count
            lines.append(f"{name}_bucket{_braces({**labels, 'le': _number(edge)})} {so_far}")
        lines.append(f"{name}_sum{_braces(labels)} {_number(total)}")
        lines.append(f"{name}_count{_braces(labels)} {so_far}")

    def text(self) -> str:
        """Every reading, each metric with its help and its type once."""
        parts = []
        for name in sorted(self._found):
            kind, help_text = self._kinds[name]
            parts += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *self._found[name]]
        return "".join(f"{part}\n" for part in parts)

    def _lines(self, name: str) -> list[str]:
        if name not in self._kinds:
            raise KeyError(f"{name} is in no catalogue")
        return self._found.setdefault(name, [])


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # As vLLM writes its edges: 1.0, not 1.
    return repr(float(value))
