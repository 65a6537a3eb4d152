"""What the teams of one host asked for, summed on the host."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts.errors import ParseError
from ingot.facts.sections import compose, split

LOGS = "/var/log/ingot"
SCRIPT = (files(__package__) / "usage_on_host.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class HostUsage:
    """Rows of `usage_on_host.py`, or why there are none: the last line that the host said."""

    rows: tuple[dict[str, Any], ...] = ()
    wrong_lines: int = 0
    fault: str | None = None


class Usage(FactBase[HostUsage]):
    """Sums of a host's logs between two moments (seconds since 1970), grouped by `by`.

    Returns: HostUsage(({'group': ['sales', 'qwen'], 'requests': 2, 'refused': {'429': 1}, …},), wrong_lines=0)
    """

    @staticmethod
    def default() -> HostUsage:
        return HostUsage(fault="its logs were not summed in time; name a shorter time with --since")

    def command(self, since: float, until: float, by: Sequence[str]) -> str:
        words = [SCRIPT, LOGS, f"{since:.3f}", f"{until:.3f}", ",".join(by)]
        return compose(
            {
                "python": "command -v python3",
                "usage": f"python3 -c {' '.join(map(shlex.quote, words))}",
            }
        )

    def process(self, output: Iterable[str]) -> HostUsage:
        try:
            found = split(output)
        except ParseError as error:
            return HostUsage(fault=str(error))
        if "python" not in found or found["python"].status != 0:
            return HostUsage(fault="it has no python3, which sums its logs; install python3 there")
        said = found["usage"]
        if said.status != 0:
            last = (said.output.strip().splitlines() or ["nothing"])[-1]
            return HostUsage(fault=f"its logs could not be summed (python3 said {last})")
        answer = json.loads(said.output)
        return HostUsage(tuple(answer["rows"]), answer["wrong_lines"])
