"""A unit in which figures are short to read."""

from __future__ import annotations

from dataclasses import dataclass

from ingot.monitoring.dashboards.panel import Unit


@dataclass(frozen=True, slots=True)
class Scale:
    """Figures are shown as `factor` times their value, with `word` after them."""

    factor: float
    word: str

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{self.figure(value)} {self.word}".rstrip()

    def figure(self, value: float) -> str:
        """A value without its unit: four digits, more only where it is longer."""
        scaled = value * self.factor
        return f"{scaled:,.0f}" if abs(scaled) >= 1000 else f"{scaled:.4g}"


#: By unit, from the smallest: the value from which a scale is taken, its factor and its word.
_SCALES: dict[Unit, tuple[tuple[float, float, str], ...]] = {
    Unit.NONE: ((0, 1, ""),),
    Unit.SHARE: ((0, 100, "%"),),
    Unit.SECONDS: (
        (0, 1000, "ms"),
        (1, 1, "s"),
        (120, 1 / 60, "min"),
        (7200, 1 / 3600, "h"),
        (172_800, 1 / 86_400, "days"),
    ),
    Unit.BYTES: ((0, 1, "B"), (2**20, 2**-20, "MiB"), (2**30, 2**-30, "GiB"), (2**40, 2**-40, "TiB")),
    Unit.BYTES_PER_S: ((0, 1, "B/s"), (1e3, 1e-3, "kB/s"), (1e6, 1e-6, "MB/s"), (1e9, 1e-9, "GB/s")),
    Unit.CELSIUS: ((0, 1, "°C"),),
    Unit.WATTS: ((0, 1, "W"), (10_000, 1e-3, "kW")),
    Unit.HERTZ: ((0, 1e-6, "MHz"), (1e9, 1e-9, "GHz")),
    Unit.PER_S: ((0, 1, "per second"),),
}


def scale(unit: Unit, most: float) -> Scale:
    """The scale for figures of up to `most`, in either direction. Raises: KeyError for a moment, which has none."""
    *_, (_, factor, word) = (one for one in _SCALES[unit] if one[0] <= abs(most))
    return Scale(factor, word)
