"""Hosts as they are found: each state of a used server is one row, and every row is judged by the same questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.driver.deploying import TO_THE_DRIVER

#: What apt and dpkg must still be able to do, whatever was deployed.
APT_WORKS = "apt-get update 2>&1 && dpkg --audit && apt-get check"
#: Only what is said before anything changes.
PREFLIGHT = "tests/found/deploy_preflight.py"
#: The same, and Docker.
DOCKER = "tests/found/deploy_docker.py"


@dataclass(frozen=True)
class State:
    """One state: how a host comes into it, what a deploy with `values` says of it, and what it leaves.

    Rows of one `host` follow each other on it, in their order. `name` is the row's, by default the host's.
    `installed`: values of a deploy that comes first, where the state needs a driver. `prepare`: what makes the state,
    in shell on the host. `refused`: words of the one sentence by which the host is refused, None where it is deployed.
    `said`: words of a sentence of a host that is deployed. `keeps`: shell commands that print after the deploy what
    they printed before it. `leaves`: shell commands and words that each prints afterwards. `restores`: the same after
    the host was decommissioned, or words of what that said; None where it stays. `ends`: what ends the state, in shell,
    before the next row. `within_s`: the most seconds that the deploy may take. `apt_works`: whether apt did before.
    """

    host: str
    profile: str
    prepare: str
    name: str = ""
    values: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    installed: tuple[str, ...] | None = None
    refused: tuple[str, ...] | None = None
    said: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    leaves: Mapping[str, str] = field(default_factory=dict)
    restores: Mapping[str, str] | None = None
    ends: str = ""
    roles: str = TO_THE_DRIVER
    within_s: float = 300
    apt_works: bool = True

    @property
    def row(self) -> str:
        """What the row is called."""
        return self.name or self.host

    @property
    def data(self) -> tuple[str, ...]:
        """The values of its deploys."""
        return self.values() if callable(self.values) else self.values
