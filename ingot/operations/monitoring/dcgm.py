"""NVIDIA's DCGM exporter, where NVIDIA's packages are there and the GPUs are of data centers: on loopback alone.

Others go on with the readings of nvidia-smi. GeForce cards have base fields only: NVIDIA/dcgm-exporter issues 404, 506.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host, state

from ingot.compat.devices import lookup
from ingot.facts.dcgm import PACKAGE, UNIT, UNIT_FILE, Dcgm, DcgmLook
from ingot.facts.monitoring import DIRECTORY
from ingot.monitoring.metrics import FROM_DCGM, ONLY_FROM_DCGM
from ingot.operations import changes, monitored, packages, tree, units
from ingot.operations.operation import operation
from ingot.operations.render import template
from ingot.settings import Settings, of_host

COUNTERS = f"{DIRECTORY}/dcgm-counters.csv"
ADDRESS = "127.0.0.1:9400"


def is_wanted(values: Settings, device_ids: Iterable[int]) -> bool:
    """Whether a host of these PCI devices shall have it, as far as its values and GPUs tell."""
    has_gpus = values.engine_build == "cuda" and bool(values.serve)
    return values.monitoring_dcgm == "auto" and has_gpus and any(lookup(one).is_data_center for one in device_ids)


def counters() -> str:
    """The fields that rules and dashboards read, as `dcgm-exporter -f` takes them: field, type, help.

    The package's own list leaves ECC and pending remaps out.
    """
    fields = {field: name for name, (field, _) in (FROM_DCGM | ONLY_FROM_DCGM).items()}
    rows = [
        f"{field}, {'counter' if name.endswith('_total') else 'gauge'}, read as {name}"
        for field, name in sorted(fields.items())
    ]
    head = "# Written by Ingot (roles/monitoring.py): changes made here are lost at the next deploy."
    return "\n".join([head, *rows, ""])


def entries() -> list[tree.Entry]:
    """Its counters and its unit, in place of the package's: there before it is installed, which may start it."""
    unit = template("monitoring/nvidia-dcgm-exporter.service", counters=COUNTERS, address=ADDRESS)
    return [tree.Dir(DIRECTORY), tree.File(COUNTERS, counters()), tree.File(UNIT_FILE, unit)]


def decide(found: Dcgm, *, wanted: bool) -> str:
    """What to do with one host: "install", "remove", or "leave" it as it is.

    An exporter that is there without Ingot's unit is somebody else's.
    """
    if found.ours:
        return "install" if wanted and (found.installed or found.available) else "remove"
    return "install" if wanted and found.available and not found.installed else "leave"


@operation()
def dcgm() -> Generator[PyinfraCommand, None, None]:
    """Have DCGM's figures of data-center GPUs beside those of nvidia-smi."""
    values = of_host(host)
    if not monitored.is_monitored():
        # The operation before has taken away what there was.
        host.noop("nobody watches the hosts of this inventory")
        return
    if values.engine_build != "cuda" or not values.serve:
        host.noop("it has no GPUs to watch")
        return
    found: Dcgm = host.get_fact(DcgmLook)
    decision = decide(found, wanted=is_wanted(values, found.device_ids))
    if decision == "remove":
        yield from remove()
        return
    if decision == "leave":
        whose = "another exporter than Ingot's is there" if found.installed else "its GPUs or package sources have none"
        host.noop(f"readings are those of nvidia-smi: {whose}")
        return
    yield from tree.tree._inner(entries=entries())
    yield from packages.packages._inner(names=(PACKAGE,))
    if state.is_executing or found.installed:
        yield from units.units._inner(units.Unit(UNIT, restart_on=(UNIT_FILE, COUNTERS)))


def remove() -> Generator[PyinfraCommand, None, None]:
    """Take Ingot's exporter away. Its unit goes last: it shows that the package is Ingot's."""
    changes.announce([f"remove NVIDIA's DCGM exporter ({PACKAGE})"])
    yield StringCommand(f"systemctl disable --now {UNIT} 2>/dev/null || true")
    yield from packages.packages._inner(names=(), absent=(PACKAGE,))
    yield StringCommand(f"dpkg --purge {PACKAGE} && rm -f {UNIT_FILE} {COUNTERS} && systemctl daemon-reload")
