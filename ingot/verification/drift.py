"""Where hosts differ from what the repository says: a dry run of deploy.py, host by host, that changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config

from ingot.inventory.fleet import at_once
from ingot.operations import changes, monitored
from ingot.operations.refuse import refused

#: What the last look for drift found, for the host's collector.
DRIFT_FILE = "/var/lib/ingot/drift.json"
#: How long a host may take to write that down, seconds.
_RECORD_S = 30


@dataclass(frozen=True)
class Change:
    """What one operation of a role would do: the sentences it says, or none where it says nothing in advance."""

    role: str
    operation: str
    sentences: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """One line per sentence."""
        yield from self.sentences or (f"{self.operation[:1].lower()}{self.operation[1:]}",)


@dataclass(frozen=True)
class HostDrift:
    """One host: what a deploy would change, or why that cannot be said."""

    host: str
    changes: tuple[Change, ...] = ()
    errors: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, where there are no errors: sentences by role."""
        by_role: dict[str, list[str]] = {}
        for change in self.changes:
            by_role.setdefault(change.role, []).extend(change.lines())
        return {"host": self.host, "drifted": bool(self.changes), "changes": by_role}


def compare(state: State, hosts: Sequence[Host], deploy: Path) -> list[HostDrift]:
    """What `deploy` would change on each host, all of them at once; what fails for one host stops no other."""
    from pyinfra_cli.util import exec_file  # type: ignore[import-untyped]

    # deploy.py imports its roles from beside it.
    sys.path.insert(0, str(deploy.parent))
    # Operations are asked to their end here; pyinfra's own check ends at the first change of each.
    state.check_for_changes = False

    def one(host: Host) -> HostDrift:
        name = host.name
        try:
            host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as refused:
            return HostDrift(name, errors=(str(refused.args[0]).removeprefix(f"{name}: "),))
        try:
            with ctx_config.use(state.config.copy()):
                exec_file(str(deploy))
                found = compared(state, host, name)
            _tell_monitor(host, found)
            return found
        # An error here concerns this host alone: a lost connection, or values that a role cannot use.
        except Exception as error:
            return HostDrift(name, errors=(f"the dry run broke off ({type(error).__name__}: {error}); run it again",))
        finally:
            host.disconnect()

    for stage in (StateStage.Connect, StateStage.Prepare):
        state.set_stage(stage)
    return at_once(state, hosts, one)


def _tell_monitor(host: Host, found: HostDrift) -> None:
    """Leave the number of differences, and when they were looked for, where a watched host's collector reads them.

    That is no part of what is compared: a host that takes no record is as it is.
    """
    if found.errors or not monitored.is_monitored(host):
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"at": at, "found": sum(len(list(change.lines())) for change in found.changes)}
    fresh = f"{DRIFT_FILE}.new"
    command = f"[ ! -d {DRIFT_FILE.rpartition('/')[0]} ] || {{ cat >{fresh} && mv -fT {fresh} {DRIFT_FILE}; }}"
    host.run_shell_command(
        StringCommand(command), _sudo=bool(host.data.get("_sudo")), _timeout=_RECORD_S, _stdin=json.dumps(record) + "\n"
    )


def compared(state: State, host: Host, name: str) -> HostDrift:
    """Every operation of one host, asked in order what it would do."""
    found: list[Change] = []
    refusals: list[str] = []
    for operation in host.op_hash_order:
        before = len(changes.announced(host))
        refusal, acts = asked(state.get_op_data_for_host(host, operation).command_generator())
        # An earlier operation may bring what this one lacks: its refusal does not count then.
        if refusal and not found:
            refusals.append(refusal.removeprefix(f"{name}: "))
        elif acts and not refusal:
            role, _, what = min(state.get_op_meta(operation).names).partition(" | ")
            said = tuple(dict.fromkeys(changes.announced(host)[before:]))
            found.append(Change(role, what or role, said))
    if host in state.failed_hosts:
        refusals.append("a question to it was not answered; run it again")
    # Several roles may name the same cause. The changes are uncertain then.
    return HostDrift(name, errors=tuple(dict.fromkeys(refusals))) if refusals else HostDrift(name, tuple(found))


def asked(commands: Iterator[PyinfraCommand]) -> tuple[str | None, bool]:
    """What an operation would do, without running its commands: the sentence of its refusal, or whether it would act.

    After its first command an operation may go wrong because that command did not run. What it announces then still
    counts; its refusals and errors do not.
    """
    acts = False
    try:
        for command in commands:
            if isinstance(command, FunctionCommand) and command.function is refused:
                return (None, True) if acts else (str(command.args[0]), False)
            acts = True
    except Exception:
        if not acts:
            raise
    return None, acts
