"""The hosts of an inventory as a plan needs them: looked at over SSH, or as their files state them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ingot.catalog import hardware_from_name
from ingot.errors import IngotError
from ingot.facts.driver import Driver
from ingot.facts.engine import EngineLook
from ingot.facts.errors import Unread
from ingot.facts.processor import HostProcessor
from ingot.facts.together import Wanted, together
from ingot.inventory.fleet import Selected, at_once, connected
from ingot.inventory.host_files import ERROR_KEY
from ingot.operations.driver.answer import answer, by_name
from ingot.operations.driver.request import driver_request
from ingot.operations.gateway.fronting import has_no_engine
from ingot.operations.gpus_on_bus import promised, usable
from ingot.operations.preflight.findings import HEALED
from ingot.operations.preflight.forecast import Asked, of_host
from ingot.operations.serving import planning
from ingot.operations.serving.requests import all_need_gpus, need_gpu, requests
from ingot.settings import Settings
from ingot.settings import of_host as settings_of
from ingot.sizing import GPU, Hardware, ModelRequest, Processor, SizingError

if TYPE_CHECKING:
    from pyinfra.api.host import Host


def hosts_to_plan(chosen: Selected, wanted: ModelRequest | None, *, offline: bool) -> list[Asked | IngotError]:
    """Every chosen host that serves models, all looked at at once; what is wrong with one is its answer.

    `wanted` takes the place of what the hosts serve.
    """

    def asked(host: Host) -> Asked | IngotError:
        try:
            if refused := host.data.get(ERROR_KEY):
                raise IngotError(str(refused))
            values = settings_of(host)
            asks = (wanted,) if wanted else requests(values)
            found = _stated(host, values, asks) if offline else _looked_at(host, values, asks)
            return found if wanted else replace(found, unlocked=values.without_lock())
        except (SizingError, IngotError) as error:
            return of_host(host.name, error)

    # Hosts that only front or watch others have nothing to plan.
    return at_once(chosen.state, [host for host in chosen.hosts if not has_no_engine(host)], asked)


def _stated(host: Host, values: Settings, asks: tuple[ModelRequest, ...]) -> Asked:
    """A host with the GPUs that its file states."""
    stated = host.data.get("gpus")
    if not stated:
        raise IngotError("its host file does not state `gpus`; add it or leave out --offline.")
    hardware = replace(hardware_from_name(str(stated)), host=host.name)
    driver = by_name(hardware, driver_request(values))
    usable_gpus = promised(hardware.gpus, values.gpus_use)
    return Asked(replace(hardware, gpus=usable_gpus), asks, planning.profile(values), driver=driver)


def _looked_at(host: Host, values: Settings, asks: tuple[ModelRequest, ...]) -> Asked:
    """A live host, with what is stored there; one without a driver has the GPUs that its PCI bus promises."""
    with connected(host):
        from_memory: list[Wanted] = [(HostProcessor, {})] if _chooses(values) or not all_need_gpus(asks) else []
        seen, state, *memory = together(host, (Driver, {}), (EngineLook, {"probe": False}), *from_memory)
    if isinstance(seen, Unread):
        raise IngotError(seen.sentence(host.name))
    if _chooses(values) and not seen.state.bus.gpus and asks == requests(values):
        # Its file was read as if it had one.
        asks = requests(values, has_gpu=False)
    own = next(iter(memory), None)
    if not need_gpu(asks):
        return Asked(_hardware(host.name, (), own), asks, planning.profile(values), state)
    machine = seen.state.machine(values.driver_console, partial=values.gpus_use is not None)
    driver = answer(host.name, machine, driver_request(values))
    fault = seen.gpus.fault
    if fault and driver.refusal:
        raise IngotError(f"{driver.refusal}.")
    found = usable(seen.gpus, seen.state.bus, values.gpus_use)
    if (fault and not found) or (fault and fault.kind not in HEALED and not set(found) <= set(fault.healthy)):
        raise IngotError(fault.sentence(host.name))
    return Asked(_hardware(host.name, found, own), asks, planning.profile(values), state, driver)


def _hardware(name: str, found: tuple[GPU, ...], own: Processor | None) -> Hardware:
    return Hardware(name, found, own.memory_bytes if own else None, own)


def _chooses(values: Settings) -> bool:
    """Whether an engine is chosen by what the host has."""
    return any(one.engine == "auto" for one in values.serve)
