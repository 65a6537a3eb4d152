"""A reboot where the host's state asks for one, and a bounded wait for its next boot."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from paramiko import SSHException
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import remove_any_sudo_askpass_file
from pyinfra.context import host

from ingot.facts.boot import COMMAND, BootId
from ingot.operations import changes
from ingot.operations.connection import reconnect
from ingot.operations.operation import operation
from ingot.operations.refuse import refused

#: Seconds that the services of a booted host are given to start.
SETTLE_S = 120


@operation()
def reboot(needed: Callable[[], str | None], timeout_s: int = 900) -> Generator[PyinfraCommand, None, None]:
    """
    Reboot when the host's state needs it, and wait until it is back.

    + needed: read in the body, at execution; the reason for a reboot, or None
    + timeout_s: how long the host may take (servers with much memory check it for minutes)

    Never gate this on what a run changed: a run that died in between must still reboot.

    **Example:**

    .. code:: python

        reboot.reboot(needed=driver.reboot_reason, name="Reboot if the driver needs it")
    """
    reason = needed()
    if reason is None:
        host.noop("no reboot is needed")
        return
    changes.announce([f"reboot: {reason}"])
    before = host.get_fact(BootId)
    yield FunctionCommand(forget_askpass, (), {})
    # Detached, so that this command returns; a second later the connection is gone.
    yield StringCommand("( sleep 1; systemctl reboot ) </dev/null >/dev/null 2>&1 &")
    yield FunctionCommand(wait_for_next_boot, (before, reason, timeout_s), {})


def forget_askpass(state: State, host: Host) -> None:
    """Remove the file that answers sudo's password prompt: it would not survive the reboot."""
    remove_any_sudo_askpass_file(host)


def wait_for_next_boot(state: State, host: Host, before: str, reason: str, timeout_s: int) -> bool:
    """Reconnect until another boot id answers and its services have started; False, with a sentence, when none does."""
    deadline = time.monotonic() + timeout_s
    found = "no answer"
    while time.monotonic() < deadline:
        if not reconnect(host):
            continue
        now = _ask(host, COMMAND)
        if now and now != before:
            # Logins are allowed before all services run; what follows expects those.
            _ask(host, f"timeout {SETTLE_S} systemctl is-system-running --wait")
            return True
        found = "the same boot as before" if now else "no answer"
    return refused(
        state,
        host,
        f"{host.name}: it was told to reboot ({reason}) and {found} was found after {timeout_s} s, expected a new "
        "boot; look at its console, then run again.",
    )


def _ask(host: Host, command: str) -> str:
    """The output of a command that needs no sudo; empty when the connection breaks under it."""
    try:
        _, output = host.run_shell_command(StringCommand(command), _timeout=SETTLE_S + 10)
    except (OSError, EOFError, SSHException):
        return ""
    return output.stdout.strip()
