"""A host's own memory and processor, which engines without a GPU compute with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyinfra.api.facts import FactBase

from ingot.facts import dmi, sections
from ingot.facts.sections import Section
from ingot.sizing import Processor

#: Where the kernel's driver of the memory controller names a module: `channel 0 slot 1`.
_CHANNEL = re.compile(r"^(\S+) +(.*\bchannel \d+)")
_QUESTIONS = {
    "memory_total": "awk '/^MemTotal:/ {printf \"%.0f\", $2 * 1024}' /proc/meminfo",
    # Cores, not threads: the arithmetic units are theirs.
    "processor_cores": "lscpu -p=Core,Socket | grep -v '^#' | sort -u | wc -l",
    "memory_modules": dmi.MEMORY_MODULES,
    "memory_channels": 'for d in /sys/devices/system/edac/mc/mc*/dimm*; do [ "$(cat "$d/size" 2>/dev/null)" -gt 0 ] '
    '2>/dev/null && echo "$(basename "$(dirname "$d")") $(cat "$d/dimm_location")"; done; true',
}


class HostProcessor(FactBase[Processor]):
    """A host's memory in bytes (0 where it does not say), its cores, and how fast its memory can be read.

    Returns: Processor(memory_bytes=8219082752, cores=2, modules=2, speed=2666, channels=2)
    """

    def command(self) -> str:
        return sections.Question.of(_QUESTIONS)

    @staticmethod
    def default() -> Processor:
        return Processor()

    def process(self, output: list[str]) -> Processor:
        return parse_processor(sections.split(output))


def parse_processor(found: Mapping[str, Section]) -> Processor:
    """The answers to the questions above; what is not told is 0."""

    def number(name: str) -> int:
        said = found[name].line if name in found else ""
        return int(said) if said.isdigit() else 0

    modules = found["memory_modules"].output if "memory_modules" in found else ""
    places = found["memory_channels"].output if "memory_channels" in found else ""
    return Processor(
        memory_bytes=number("memory_total"),
        cores=number("processor_cores"),
        modules=len(dmi.parse_memory_modules(modules)),
        # The slowest sets the pace of all.
        speed=min(dmi.parse_memory_speeds(modules), default=0),
        channels=len({match[0] for line in places.splitlines() if (match := _CHANNEL.match(line.strip()))}),
    )
