"""Remarks about a host that do not stop a deploy."""

from __future__ import annotations

from collections import Counter

from ingot.compat import rules, version_key
from ingot.engines import ENGINES
from ingot.facts.host import HostState
from ingot.facts.xid import next_command, recovery
from ingot.operations.containers.takeover import takeover
from ingot.operations.preflight.findings import Wanted
from ingot.settings.serving import Serving


def conversions(look: HostState, wanted: Wanted) -> tuple[str, ...]:
    """What a deploy changes of what others have set up, one sentence each."""
    if look.docker is None or wanted.fronts:
        return ()
    return takeover(look.docker, wanted.values).notes


def of_engines(values: Serving) -> tuple[str, ...]:
    """What each deploy says of the engines that a host's models name, one sentence each."""
    named = dict.fromkeys(one.engine for one in values.serve)
    return tuple(found for name in named if name in ENGINES and (found := ENGINES[name].warning))


def notes(look: HostState) -> tuple[str, ...]:
    """The remarks, one sentence each."""
    said = []
    if look.apt_holder:
        said.append(f"{look.apt_holder} holds the package manager; the run waits for it")
    if look.unfinished_packages:
        said.append(
            f"{', '.join(look.unfinished_packages[:5])} left unconfigured (`dpkg --audit`); the run begins with "
            "`dpkg --configure -a`"
        )
    if "noexec" in look.tmp_options:
        said.append("/tmp is mounted noexec: Ingot does not mind, installers that unpack programs there do")
    running = look.driver.running
    branch = rules.BRANCHES.get(version_key(running)[0]) if running else None
    if running and branch and branch.floor and version_key(running) < version_key(branch.floor):
        said.append(
            f"driver {running} has known vulnerabilities ({rules.VULNERABLE.source}); "
            f"set driver_version to {branch.floor} or newer when the GPUs can be stopped"
        )
    for xid, times in Counter((one.address, one.number, one.meaning) for one in look.driver.xids).items():
        address, number, meaning = xid
        if meaning:
            said.append(f"GPU {address} reported Xid {number} {times} times since boot: {meaning}")
    for error, times in Counter((one.address, one.number, one.meaning) for one in look.driver.switch_errors).items():
        address, number, meaning = error
        if meaning:
            said.append(f"NVSwitch {address} reported SXid {number} {times} times since boot: {meaning}")
    for row in look.gpus.rows:
        if row.remap_failed:
            said.append(f"GPU {row.index} could not remap a bad memory row; have the card replaced (Xid 64)")
        elif row.remap_pending:
            said.append(f"GPU {row.index} has a memory row to remap; it is done at its next reset or reboot (Xid 63)")
        if row.ecc_uncorrected:
            said.append(f"GPU {row.index} had {row.ecc_uncorrected} uncorrectable memory errors since it was reset")
        action = recovery(row.recovery_action)
        if action:
            said.append(
                f"the driver asks for {row.recovery_action} of GPU {row.index}: {next_command(action, str(row.index))}"
            )
        elif row.recovery_action not in (None, "None"):
            said.append(f"the driver asks for {row.recovery_action} of GPU {row.index}")
    return tuple(said)
