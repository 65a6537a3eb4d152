"""The driver's files on a host: what keeps it in place, what it runs with, and the record of how it was decided."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ingot.compat import Decision, Fabric, PackageSet
from ingot.facts.driver import DriverState
from ingot.facts.engine import STATE
from ingot.operations import tree
from ingot.operations.driver import debian_archive, transaction
from ingot.operations.driver.state import as_decided, is_running_as_installed
from ingot.operations.package_source import Extension, Source
from ingot.operations.render import template

PERSISTENCE = "/etc/systemd/system/nvidia-persistenced.service.d/ingot.conf"


def guards(chosen: PackageSet, sources: Sequence[Source | Extension] = ()) -> tuple[tree.Entry, ...]:
    """What must be there before packages are installed: no unattended driver upgrades.

    Ingot's own description of Debian's archive goes where `sources` is without it.
    """
    is_extended = debian_archive.PATH in (source.path for source in sources)
    return (
        *(() if is_extended else (tree.Absent(debian_archive.PATH),)),
        tree.File(
            "/etc/apt/apt.conf.d/51ingot-nvidia", template("driver/51ingot-nvidia", kernels=bool(chosen.kernels))
        ),
    )


def settings(decision: Decision) -> tuple[tree.Entry, ...]:
    """What an installed driver runs with: nouveau off, persistence mode on, the way to an NVLink 5 board's switches."""
    umad = "/etc/modules-load.d/ingot-nvlink5.conf"
    return (
        tree.File(umad, "# Written by Ingot: the fabric manager reaches the switches over InfiniBand.\nib_umad\n")
        if decision.fabric is Fabric.FABRIC_MANAGER_NVLINK5
        else tree.Absent(umad),
        tree.File("/etc/modprobe.d/ingot-nvidia.conf", template("driver/ingot-nvidia.conf")),
        tree.Dir(PERSISTENCE.rpartition("/")[0]),
        tree.File(PERSISTENCE, template("driver/persistence.conf")),
    )


def evidence(decision: Decision, state: DriverState) -> tuple[tree.Entry, ...]:
    """What was decided and what runs, kept on the host; nothing while the two still differ."""
    if not (as_decided(decision, state) and is_running_as_installed(state)):
        return ()
    return (
        tree.Dir(STATE),
        tree.File(f"{STATE}/driver.json", record(decision, state)),
        # The transaction that brought this driver is over: nothing goes back any more.
        tree.Absent(transaction.BEFORE),
    )


def record(decision: Decision, state: DriverState) -> str:
    """The evidence as JSON; the same for every run that finds the same driver running."""
    chosen = decision.packages
    versions = {name: package.version for name, package in state.installed.items()}
    known = (*chosen.driver, *chosen.companions, *chosen.tools)
    values = {
        "driver": {"version": state.running, "flavour": state.running_flavour, "kernel": state.kernel},
        "decided": {
            "branch": decision.branch,
            "version": decision.version,
            "flavour": decision.flavour,
            "source": decision.source,
            "fabric": decision.fabric,
        },
        "packages": {name: versions[name] for name in known if name in versions},
        # The last reason says how the module came to run, which is history by now.
        "reasons": [{"text": one.text, "source": one.rule.source} for one in decision.reasons[:-1]],
        "warnings": [{"text": one.text, "source": one.rule.source} for one in decision.warnings],
    }
    return json.dumps(values, indent=2) + "\n"
