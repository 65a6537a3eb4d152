"""Operations run for real on this machine's own shell (pyinfra's @local), below a temporary directory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.local import LocalConnector

from ingot.facts import paths
from ingot.operations import tree


@dataclass
class Run:
    """What one operation did: its commands, what a user reads, and everything that -vvv --debug would print."""

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
    """Run one operation as `pyinfra deploy.py` would, without sudo: prepare, then execute unless dry."""
    staging = tmp_path / "run"
    staging.mkdir()
    monkeypatch.setattr(tree, "SCRIPT", tree.SCRIPT.replace("/run/ingot", str(staging)))
    monkeypatch.setattr(paths, "STAGING", f"{staging}/stage.*")
    caplog.set_level(logging.DEBUG, "pyinfra")

    def run(operation: Any, *args: Any, diff: bool = False, dry: bool = False, **kwargs: Any) -> Run:
        seen: list[str] = []
        original = LocalConnector.run_shell_command

        def recorded(self: LocalConnector, command: Any, **arguments: Any) -> Any:
            seen.append(str(command))
            return original(self, command, **arguments)

        monkeypatch.setattr(LocalConnector, "run_shell_command", recorded)
        caplog.clear()
        state = State(Inventory((["@local"], {})), Config(DIFF=diff))
        state.current_stage = StateStage.Prepare
        state.print_input = state.print_fact_input = state.print_fact_output = state.print_noop_info = True
        connect_all(state)
        (meta,) = add_op(state, operation, *args, **kwargs).values()
        succeeded = True
        if not dry:
            state.current_stage = StateStage.Execute
            try:
                run_ops(state)
            except Exception as stopped:  # every host failed
                assert "No hosts remaining" in str(stopped), stopped
                succeeded = False
            succeeded = succeeded and not state.failed_hosts
        disconnect_all(state)
        monkeypatch.setattr(LocalConnector, "run_shell_command", original)
        changed = bool(meta.will_change if dry else meta.did_change())
        said = "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.INFO)
        return Run(succeeded, changed, said, caplog.text + "".join(capsys.readouterr()), seen)

    yield run
