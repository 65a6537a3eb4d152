"""What the monitor's Prometheus scrapes: one target per host from the inventory, and where each lists its engines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

#: Jobs whose targets a host lists itself: which engines run changes with its plan and its rollouts.
LISTED_JOBS = ("replica", "gpu")


@dataclass(frozen=True, slots=True)
class Member:
    """A watched host: its name in the inventory, the address that SSH reaches it by, and its one port for figures."""

    name: str
    address: str
    port: int

    @property
    def endpoint(self) -> str:
        """Address and port, an IPv6 address in brackets."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def listing(self, job: str) -> str:
        """Where the host lists its targets of a job. The name is for the monitor: no host can speak as another."""
        return f"https://{self.endpoint}/targets/{job}?host={quote(self.name, safe='')}"


def nodes(members: Iterable[Member]) -> str:
    """The targets of job `node` as Prometheus' file_sd reads them: JSON, sorted by host."""
    listed = [
        {"targets": [one.endpoint], "labels": {"host": one.name}} for one in sorted(members, key=lambda one: one.name)
    ]
    return json.dumps(listed, indent=1) + "\n"


def listings(members: Iterable[Member], job: str) -> list[str]:
    """The addresses at which Prometheus' http_sd asks for the targets of a job, sorted by host."""
    return [one.listing(job) for one in sorted(members, key=lambda one: one.name)]
