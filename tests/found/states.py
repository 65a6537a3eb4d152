"""Hosts as they are found: each state of a used server is one row, and every row is judged by the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.driver.deploying import TO_THE_DRIVER

#: What apt and dpkg must still be able to do, whatever was deployed.
APT_WORKS = "apt-get update 2>&1 && dpkg --audit && apt-get check"


@dataclass(frozen=True)
class State:
    """One state: how a host comes into it, what a deploy with `values` says of it, and what it leaves.

    `installed`: values of a deploy that comes first, where the state needs a driver. `prepare`: what makes the state,
    in shell on the host. `refused`: words of the one sentence by which the host is refused, None where it is deployed.
    `keeps`: shell commands that print after the deploy what they printed before it. `leaves`: shell commands and words
    that each prints afterwards. `within_s`: the most seconds that the deploy may take.
    """

    host: str
    profile: str
    prepare: str
    values: tuple[str, ...] = ()
    installed: tuple[str, ...] | None = None
    refused: tuple[str, ...] | None = None
    keeps: tuple[str, ...] = ()
    leaves: Mapping[str, str] = field(default_factory=dict)
    roles: str = TO_THE_DRIVER
    within_s: float = 300
