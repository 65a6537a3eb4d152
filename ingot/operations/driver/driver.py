"""The NVIDIA driver: installed as decided, running as installed, and every GPU answering."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.compat import Decision, Refused, decide
from ingot.facts.driver import Driver, DriverLook
from ingot.facts.errors import Unread
from ingot.operations.driver import kernel_upgrade
from ingot.operations.driver.request import owners_request
from ingot.operations.driver.state import headers_missing
from ingot.operations.driver.transition import Transition
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing
from ingot.settings import of_host


@operation()
def driver() -> Generator[PyinfraCommand, None, None]:
    """
    Have the NVIDIA driver that suits the GPUs installed and running, with as few interruptions as it can be.

    Values read from the host: driver_branch, driver_version, driver_flavour, driver_source, driver_console,
    driver_disrupt, driver_fabric, driver_kernel_upgrade and sources["nvidia_driver"].

    **Example:**

    .. code:: python

        driver.driver(name="Have the NVIDIA driver run")
    """
    found = _decide()
    if isinstance(found, str):
        yield refuse(found)
        return
    decision, look = found
    if missing := headers_missing(decision, look.state):
        values = of_host(host)
        if not values.driver_kernel_upgrade:
            yield refuse(f"{host.name}: {missing}.")
            return
        yield from kernel_upgrade.upgrade(look.state, may_disrupt=values.driver_disrupt)
        found = _decide()
        if isinstance(found, str):
            yield refuse(found)
            return
        decision, look = found
        if headers_missing(decision, look.state):
            yield refuse(
                f"{host.name}: kernel {look.state.kernel} still runs after the reboot, expected the newer one; see "
                "what its boot loader starts."
            )
            return
    yield from Transition(decision, look).take()


def _decide() -> tuple[Decision, DriverLook] | str:
    """What the host should have, from a look at it now; or the sentence that refuses."""
    look = standing(host, Driver)
    if isinstance(look, Unread):
        return look.sentence(host.name)
    values = of_host(host)
    machine = look.state.machine(values.driver_console, partial=values.gpus_use is not None)
    try:
        return decide(machine, owners_request(values)), look
    except Refused as refusal:
        return f"{host.name}: {refusal}."
