"""How much memory a host has."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from ingot.facts import sections


class HostMemory(FactBase[int]):
    """All of a host's memory, in bytes; 0 where it does not say.

    Returns: 8219082752
    """

    def command(self) -> str:
        return sections.Question.of({"memory_total": "awk '/^MemTotal:/ {printf \"%.0f\", $2 * 1024}' /proc/meminfo"})

    @staticmethod
    def default() -> int:
        return 0

    def process(self, output: list[str]) -> int:
        found = sections.split(output)
        return int(found["memory_total"].line or 0) if "memory_total" in found else 0
