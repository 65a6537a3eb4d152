"""The NVIDIA driver: installed as decided, running as installed, and every GPU answering."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ingot.compat import Refused, decide
from ingot.errors import IngotError
from ingot.facts.driver import Driver
from ingot.facts.errors import Unread
from ingot.operations.driver.request import owners_request
from ingot.operations.driver.transition import Transition
from ingot.operations.refuse import refuse
from ingot.settings import of_host


@operation()
def driver() -> Generator[PyinfraCommand, None, None]:
    """
    Have the NVIDIA driver that suits the GPUs installed and running, with as few interruptions as it can be.

    Values read from the host: driver_branch, driver_version, driver_flavour, driver_source, driver_console,
    driver_disrupt and sources["nvidia_driver"].

    **Example:**

    .. code:: python

        driver.driver(name="Have the NVIDIA driver run")
    """
    look = host.get_fact(Driver)
    if isinstance(look, Unread):
        yield refuse(look.sentence(host.name))
        return
    try:
        values = of_host(host)
        machine = look.state.machine(values.driver_console, partial=values.gpus_use is not None)
        decision = decide(machine, owners_request(values))
    except (Refused, IngotError) as refusal:
        yield refuse(f"{host.name}: {refusal}.")
        return
    yield from Transition(decision, look).take()
