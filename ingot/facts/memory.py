"""How much memory a host has."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase


class HostMemory(FactBase[int]):
    """All of a host's memory, in bytes.

    Returns: 8219082752
    """

    def command(self) -> str:
        return "awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo"

    @staticmethod
    def default() -> int:
        return 0

    def process(self, output: Iterable[str]) -> int:
        return int("".join(output).strip() or 0)
