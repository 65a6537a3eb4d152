"""One host's way from the driver that it has to the driver that was decided, and back where the new one fails."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.compat import Decision, Fabric
from ingot.facts import smi_call
from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.facts.errors import Unread
from ingot.facts.units import Units
from ingot.operations import changes, tree, units
from ingot.operations.driver import activation, installation, transaction
from ingot.operations.driver.files import PERSISTENCE, evidence, guards, settings
from ingot.operations.driver.state import (
    as_decided,
    fabric_matches,
    is_running_as_installed,
    next_kernel,
    problem,
    unbuilt,
)
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing
from ingot.settings import of_host

#: A fabric manager routes eight GPUs in a few seconds; a node that needs longer has a fault.
FABRIC_TIMEOUT_S = 120
PERSISTENCE_TIMEOUT_S = 10

_NO_UMAD = (
    "the kernel module ib_umad cannot be loaded, expected it for the fabric manager of an NVLink 5 board; install the "
    "package that has it (linux-modules-extra-… on Ubuntu), or set driver_fabric to none"
)

Commands = Generator[PyinfraCommand, None, None]
#: A step that ends with what went wrong, in a sentence part without the host's name; None when all is well.
Step = Generator[PyinfraCommand, None, str | None]


class NoAnswer(Exception):
    """The host did not answer a question in the middle of the change; `str()` is the sentence."""


@dataclass
class Transition:
    """The steps of one run on one host. `look` is the newest look at the host's driver."""

    decision: Decision
    look: DriverLook

    def __post_init__(self) -> None:
        state = self.look.state
        self.sources = installation.sources(self.decision)
        #: Whether the packages were as decided when this run began.
        self.was_installed = as_decided(self.decision, state)
        #: Whether nothing is left to do but to see that all is well.
        self.is_settled = self.was_installed and is_running_as_installed(state) and fabric_matches(self.decision, state)
        #: The driver that served when this run began and that this run replaces; None where there is no such driver.
        self.served = None if self.was_installed or self._problem() else state.running

    def take(self) -> Commands:
        """Install, run, start the daemons, see every GPU answer; or bring the old driver back and fail the host."""
        if refusal := self._users_in_the_way():
            yield refuse(f"{host.name}: {refusal}.")
            return
        yield from self._prepare()
        try:
            yield from self._install()
            trouble = (
                (yield from self._run_what_is_installed())
                or (yield from self._start_daemons())
                or (yield from self._see_every_gpu_answer())
            )
        except NoAnswer as silence:
            yield refuse(str(silence))
            return
        if trouble:
            yield from self._give_up(trouble)
        else:
            yield from self._record()

    def _users_in_the_way(self) -> str | None:
        """Why the packages may not change now: a library that changes under a running program breaks it."""
        users = self.look.state.users
        if self.was_installed or not users or of_host(host).driver_disrupt:
            return None
        return (
            f"the driver would change while {', '.join(users[:3])} use the GPUs, expected nobody; stop them, or set "
            "driver_disrupt to true for this run"
        )

    def _prepare(self) -> Commands:
        """The files that must be there before packages change, and the record of a driver that runs already."""
        # Settings follow the packages: a change that fails must not leave nouveau blacklisted for the next boot.
        before = (
            *guards(self.decision.packages, self.sources),
            *(settings(self.decision) if self.was_installed else ()),
        )
        yield from tree.tree._inner(entries=(*before, *evidence(self.decision, self.look.state)))

    def _install(self) -> Commands:
        """Packages as decided and the module for every kernel; where one fails all is as before and the host fails."""
        changed = yield from installation.install(self.decision, self.look.state, self.sources, mode="begin")
        self.is_settled = self.is_settled and not changed
        if not self.was_installed:
            yield from tree.tree._inner(entries=settings(self.decision))

    def _run_what_is_installed(self) -> Step:
        """The module on disk comes to run: loaded, replaced, or by a reboot."""
        if self.is_settled:
            return None
        self._look_again()
        state = self.look.state
        failed = unbuilt(state) if self.decision.packages.headers else ()
        if not next_kernel(state) and (state.on_disk is None or failed):
            return _not_built(state, failed)
        # The version of what must equal the driver's is known only now where the branch's newest was taken.
        if not fabric_matches(self.decision, state):
            yield from installation.install(self.decision, state, self.sources, mode="continue")
        if trouble := (yield from activation.activate(state)):
            return trouble
        self._look_again()
        if self.served and not is_running_as_installed(self.look.state):
            return f"driver {self.look.state.on_disk} is installed and does not run"
        return None

    def _start_daemons(self) -> Step:
        """The driver's daemons, enabled and running with the module that runs now."""
        if self.decision.fabric is Fabric.FABRIC_MANAGER_NVLINK5 and not self.look.state.ib_umad_loaded:
            changes.announce(["load ib_umad, by which the fabric manager reaches the switches"])
            yield StringCommand(
                f"modprobe ib_umad || {{ echo {shlex.quote(f'{host.name}: {_NO_UMAD}')} >&2; exit 1; }}"
            )
        for command in units.units._inner(*self._units()):
            # A failed command ends the host's run at once; where there is a way back, the look below decides.
            yield StringCommand("(", command, "\n) || true") if self.served else command
        yield from self._start_what_ran()
        if self.served and (dead := self._dead_daemon()):
            return f"{dead} does not start with driver {self.decision.version or self.decision.branch}"
        return None

    def _start_what_ran(self) -> Commands:
        """What this run, or one that was killed, stopped while the driver changed: DCGM, exporters."""
        if self.look.state.stopped:
            own = [f"unit {unit.full_name}" for unit in self._units()]
            others = [one for one in self.look.state.stopped if one not in own]
            changes.announce([f"see that {', '.join(others)} runs as before"] if others else ())
            yield StringCommand(transaction.with_daemons("start_daemons; true"))

    def _see_every_gpu_answer(self) -> Step:
        if self._problem() or not all(row.persistence for row in self.look.gpus.rows):
            yield StringCommand(self._wait_for_daemons())
            self._look_again()
        return self._problem()

    def _give_up(self, trouble: str) -> Commands:
        """Bring the driver back that served before, where there is one, and fail the host with one sentence."""
        if self.served:
            yield from transaction.undo(trouble)
        else:
            yield refuse(f"{host.name}: {trouble}.")

    def _record(self) -> Commands:
        """The evidence of a driver that came to run in this run; it ends the transaction."""
        if not self.is_settled:
            yield from tree.tree._inner(entries=evidence(self.decision, self.look.state))

    def _look_again(self) -> None:
        """Raises: NoAnswer."""
        look = standing(host, Driver)
        if isinstance(look, Unread):
            raise NoAnswer(look.sentence(host.name))
        self.look = look

    def _problem(self) -> str | None:
        return problem(self.look, self.decision, of_host(host).gpus_use)

    def _units(self) -> tuple[units.Unit, ...]:
        wanted = [units.Unit("nvidia-persistenced", restart_on=(PERSISTENCE,))]
        if self.decision.fabric in (Fabric.FABRIC_MANAGER, Fabric.FABRIC_MANAGER_NVLINK5):
            wanted.append(units.Unit("nvidia-fabricmanager"))
        return tuple(wanted)

    def _dead_daemon(self) -> str | None:
        """The first of the driver's daemons that is not active."""
        names = [unit.full_name for unit in self._units()]
        found = standing(host, Units, watched={name: [[], []] for name in names})
        return next((name for name in names if not ((now := found.get(name)) and now.active)), None)

    def _wait_for_daemons(self) -> str:
        """A shell command that gives daemons that were just started time for their work; the next look judges it."""
        if self.decision.fabric is Fabric.NONE:
            field, waiting, limit_s = "persistence_mode", "Disabled", PERSISTENCE_TIMEOUT_S
        else:
            field, waiting, limit_s = "fabric.state", "Progress|Not Started", FABRIC_TIMEOUT_S
        check = f"smi --query-gpu={field} --format=csv,noheader | grep -qE {shlex.quote(waiting)}"
        return f"{smi_call.SHELL}i=0; while {check} && [ $i -lt {limit_s} ]; do sleep 1; i=$((i + 1)); done; true"


def _not_built(state: DriverState, failed: tuple[str, ...]) -> str:
    kernels = ", ".join(failed) or state.kernel
    said = f" (dkms: {'; '.join(state.dkms_failed)})" if state.dkms_failed else ""
    return (
        f"the NVIDIA module is not built for kernel {kernels}{said}, expected it for every kernel that can boot; "
        "read /var/lib/dkms/nvidia/*/build/make.log there, or remove that kernel"
    )
