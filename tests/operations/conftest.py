"""Runs one operation as pyinfra would, on this machine's own shell (@local) or on a test host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector

from ingot.facts import paths
from ingot.operations import detached, proxy, tree
from ingot.sandbox import TestHost
from ingot.sandbox.inventory import connection
from tests.settings.values import DEFAULTS


@dataclass
class Run:
    """What one operation did: its commands on the host, what a user reads, and all that -vvv --debug would print."""

    succeeded: bool
    changed: bool
    said: str
    everything: str
    commands: list[str] = field(default_factory=list)


@pytest.fixture
def run_operation(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[..., Run]]:
    """Prepare one operation and, unless `dry`, execute it: here below tmp_path, or `on` a test host with sudo."""
    here = tmp_path / "run"
    here.mkdir()
    caplog.set_level(logging.DEBUG, "pyinfra")
    seen: list[str] = []
    for connector in (LocalConnector, SSHConnector):
        monkeypatch.setattr(connector, "run_shell_command", _recorded(connector.run_shell_command, seen))

    def run(
        operation: Any,
        *args: Any,
        on: TestHost | None = None,
        diff: bool = False,
        dry: bool = False,
        data: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Run:
        given = data or {}
        values = {**DEFAULTS, **given, "sources": {**DEFAULTS["sources"], **given.get("sources", {})}}
        seen.clear()
        caplog.clear()
        capsys.readouterr()
        if on:
            inventory = Inventory(([(on.name, {**connection(on), **values})], {}))
        else:
            monkeypatch.setattr(tree, "SCRIPT", tree.SCRIPT.replace("/run/ingot", str(here)))
            # No unit either: this machine's own systemd, where it has one, is not touched.
            plain = detached.SCRIPT.replace("/run/systemd/system", f"{here}/none")
            monkeypatch.setattr(detached, "SCRIPT", plain)
            monkeypatch.setattr(detached, "WORK", str(here))
            monkeypatch.setattr(detached, "LOGS", str(here))
            monkeypatch.setattr(paths, "STAGING", f"{here}/stage.*")
            monkeypatch.setattr(proxy, "HOME", str(here))
            inventory = Inventory(([("@local", values)], {}))
        state = State(inventory, Config(DIFF=diff, SUDO=bool(on)))
        state.print_input = state.print_fact_input = state.print_fact_output = state.print_noop_info = True
        state.current_stage = StateStage.Prepare
        connect_all(state)
        (meta,) = add_op(state, operation, *args, **kwargs).values()
        succeeded = True
        if not dry:
            state.current_stage = StateStage.Execute
            try:
                run_ops(state)
            except PyinfraError as stopped:
                assert "No hosts remaining" in str(stopped)
            succeeded = not state.failed_hosts
        disconnect_all(state)
        changed = bool(meta.will_change if dry else meta.did_change())
        said = "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.INFO)
        return Run(succeeded, changed, said, caplog.text + "".join(capsys.readouterr()), list(seen))

    yield run


def _recorded(original: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    def run_shell_command(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(command))
        return original(self, command, *args, **kwargs)

    return run_shell_command
