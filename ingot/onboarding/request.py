"""The request to onboard one server, its outcome, and the interface to the operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ingot.facts.hardware import HardwareSeen
from ingot.onboarding.route import Route
from ingot.onboarding.ssh_keys import Identity, PublicKey

#: Seconds that a server is given to finish cloud-init and package installations.
WAIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """One server and everything decided about it. Passwords are in no `repr`."""

    name: str
    way: Route
    inventory: Path
    keys: tuple[PublicKey, ...]
    identity: Identity
    deploy_user: str = "ingot"
    first_key: Path | None = None
    password: str | None = field(default=None, repr=False)
    sudo_password: str | None = field(default=None, repr=False)
    fingerprint: str | None = None
    jump_fingerprint: str | None = None
    accept_new: bool = False
    harden: bool = False
    needs_gpu: bool = True
    on_processor: bool = False
    wait_s: float = WAIT_S
    dry: bool = False

    @property
    def directory(self) -> Path:
        """Where the inventory keeps host files, known_hosts and ssh_config."""
        return self.inventory.parent / self.inventory.stem

    @property
    def known_hosts(self) -> Path:
        """The file that pins this inventory's host keys."""
        return self.directory / "known_hosts"

    @property
    def first_user(self) -> str:
        """Who logs in at first contact."""
        return self.way.target.user or "root"


@dataclass(slots=True)
class Outcome:
    """How it went: what was changed, what is worth knowing, what the server is made of, or why it failed."""

    name: str
    address: str = ""
    changes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seen: HardwareSeen | None = None
    error: str | None = None


class Talk(Protocol):
    """The interface to the operator. `confirm` and `secret` return None where nobody can be asked."""

    def say(self, name: str, step: str, result: str = "") -> None:
        """What is being done now, and at the end how it went: done or failed."""

    def confirm(self, question: str) -> bool | None:
        """A yes or a no."""

    def secret(self, prompt: str) -> str | None:
        """A password, not shown while it is typed."""
