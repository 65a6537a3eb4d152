"""PCIe links of NVIDIA devices, from sysfs: lanes and speed, now and at most."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUESTION = """for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] && read -r v < "$d/vendor" || continue
  [ "$v" = 0x10de ] && [ -r "$d/current_link_width" ] || continue
  printf '%s' "${d##*/}"
  for f in current_link_width max_link_width current_link_speed max_link_speed; do
    printf '\\t%s' "$(cat "$d/$f" 2>/dev/null)"
  done
  echo
done; true"""


@dataclass(frozen=True, slots=True)
class PciLink:
    """A PCIe link: lanes, and transfers per second per lane in GT/s; None where the kernel does not say.

    An idle GPU lowers its speed, never its width: a speed below the maximum at rest is no fault.
    """

    width: int | None
    max_width: int | None
    speed_gts: float | None
    max_speed_gts: float | None

    @property
    def is_narrow(self) -> bool:
        """Whether fewer lanes are in use than the card has: a bad seat, riser or slot."""
        return self.width is not None and self.max_width is not None and self.width < self.max_width


def parse_links(text: str) -> dict[str, PciLink]:
    """Lines of address, width, maximum width, speed and maximum speed, by address."""
    found = {}
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) == 5:
            widths, speeds = [_lanes(cell) for cell in cells[1:3]], [_gts(cell) for cell in cells[3:]]
            found[cells[0].lower()] = PciLink(*widths, *speeds)
    return found


def _lanes(text: str) -> int | None:
    # 255 is all ones: a device that does not answer.
    return int(text) if text.isdecimal() and 0 < int(text) <= 32 else None


def _gts(text: str) -> float | None:
    match = re.match(r"^([0-9]+(?:\.[0-9]+)?) GT/s", text)
    return float(match.group(1)) if match else None
