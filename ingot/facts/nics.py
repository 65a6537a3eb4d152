"""Network interfaces and InfiniBand ports of a host, from sysfs: driver, state and link speed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.facts.errors import ParseError

# Interfaces with hardware behind them, and whatever the default route takes (a bond, a bridge, a container's veth).
# The speed of a link that is down cannot be read; -1 is the kernel's own "unknown".
QUESTION = """routes=" $(awk '$2 == "00000000" {print $1}' /proc/net/route 2>/dev/null | tr '\\n' ' ') "
for d in /sys/class/net/*; do
  n=${d##*/}; hw=no; [ -e "$d/device" ] && hw=yes
  rt=no; case $routes in *" $n "*) rt=yes;; esac
  [ $hw$rt != nono ] || continue
  [ "$(cat "$d/type" 2>/dev/null)" = 772 ] && continue
  dr=-; [ -e "$d/device/driver" ] && dr=$(readlink -f "$d/device/driver") && dr=${dr##*/}
  id=-; [ -e "$d/device/vendor" ] && id=$(cat "$d/device/vendor"):$(cat "$d/device/device")
  sp=$(cat "$d/speed" 2>/dev/null) || sp=-1; st=$(cat "$d/operstate" 2>/dev/null) || st=unknown
  echo "$n $hw $rt $dr $id ${sp:--1} ${st:-unknown} $(cat "$d/address" 2>/dev/null || echo -)"
done; true"""

INFINIBAND_QUESTION = """for p in /sys/class/infiniband/*/ports/*; do
  [ -e "$p/rate" ] || continue
  d=${p%/ports/*}
  printf '%s\\t%s\\t%s\\t%s\\t%s\\n' "${d##*/}" "${p##*/}" "$(cat "$p/rate")" "$(cat "$p/state")" \\
    "$(cat "$p/link_layer" 2>/dev/null || echo InfiniBand)"
done; true"""

_RATE = re.compile(r"^([0-9]+(?:\.[0-9]+)?) Gb/sec")


@dataclass(frozen=True, slots=True)
class Nic:
    """One network interface. `speed_bits` per second, None where the link is down or does not say.

    `is_physical` is false for what only carries the default route, such as a bond. `pci_id` as `15b3:1021`.
    """

    name: str
    state: str
    speed_bits: int | None = None
    driver: str | None = None
    pci_id: str | None = None
    mac: str = ""
    is_physical: bool = True
    is_default_route: bool = False


@dataclass(frozen=True, slots=True)
class InfinibandPort:
    """One port of an RDMA device. `link_layer` is InfiniBand, or Ethernet where a NIC shows it too (RoCE)."""

    device: str
    port: int
    rate_bits: int
    state: str
    link_layer: str = "InfiniBand"

    @property
    def is_active(self) -> bool:
        """Whether a subnet manager brought it up (InfiniBand) or its link is up (Ethernet)."""
        return self.state == "ACTIVE"


def parse_nics(text: str) -> tuple[Nic, ...]:
    """The lines of `QUESTION`.

    Raises: ParseError when a line is not one.
    """
    found = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) != 8 or not re.match(r"^-?[0-9]+$", cells[5]):
            raise ParseError(f"a network interface's line is {line[:80]!r}, expected 8 cells with its speed in Mb/s.")
        name, hardware, route, driver, ids, speed, state, mac = cells
        found.append(
            Nic(
                name=name,
                state=state,
                # Virtual ports say 4294967295: -1 that was read as unsigned.
                speed_bits=int(speed) * 1_000_000 if 0 < int(speed) < 0xFFFFFFFF else None,
                driver=None if driver == "-" else driver,
                pci_id=None if ids == "-" else ids.replace("0x", ""),
                mac="" if mac == "-" else mac,
                is_physical=hardware == "yes",
                is_default_route=route == "yes",
            )
        )
    return tuple(found)


def parse_infiniband(text: str) -> tuple[InfinibandPort, ...]:
    """The lines of `INFINIBAND_QUESTION`: rate as `400 Gb/sec (4X NDR)`, state as `4: ACTIVE`.

    Raises: ParseError when a line is not one.
    """
    found = []
    for line in text.splitlines():
        cells = line.split("\t")
        rate = _RATE.match(cells[2]) if len(cells) == 5 else None
        if rate is None or not cells[1].isdecimal():
            raise ParseError(f"an InfiniBand port's line is {line[:80]!r}, expected its rate as `400 Gb/sec (4X NDR)`.")
        state = cells[3].rpartition(":")[2].strip()
        bits = round(float(rate.group(1)) * 1_000_000_000)
        found.append(InfinibandPort(cells[0], int(cells[1]), bits, state, cells[4].strip()))
    return tuple(found)
