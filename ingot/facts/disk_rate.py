"""How fast a disk reads a model's files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from pyinfra.api.facts import FactBase

#: Less says more about the first seek than about the disk.
LEAST_BYTES = 64 * 1024**2
#: A measurement reads so much, for so long at most.
MIB, LIMIT_S = 1024, 5

# coreutils' dd, in the C locale: "1073741824 bytes (1.1 GB, 1.0 GiB) copied, 0.52 s, 2.1 GB/s".
_COPIED = re.compile(r"^(\d+) bytes .*copied, ([\d.e+-]+) s", re.MULTILINE)


class DiskRate(FactBase[int | None]):
    """Bytes per second that the disk gives of the largest file below a directory, past the page cache.

    Returns: 2100000000; None where the file is small, or the file system cannot be read past the cache.
    """

    def command(self, directory: str) -> str:
        return (
            f"export LC_ALL=C; file=$(find -L {shlex.quote(directory)} -type f -size +{LEAST_BYTES // 1024**2 - 1}M "
            "-printf '%s %p\\n' 2>/dev/null | sort -rn | head -n 1 | cut -d' ' -f2-); "
            f'[ -z "$file" ] || timeout -s INT {LIMIT_S} dd if="$file" of=/dev/null bs=16M count={MIB // 16} '
            "iflag=direct 2>&1; true"
        )

    @staticmethod
    def default() -> int | None:
        return None

    def process(self, output: list[str]) -> int | None:
        return parse_rate(output)


def parse_rate(output: Iterable[str]) -> int | None:
    """The rate that dd printed."""
    found = _COPIED.search("\n".join(output))
    if not found or int(found[1]) < LEAST_BYTES or not float(found[2]):
        return None
    return int(int(found[1]) / float(found[2]))
