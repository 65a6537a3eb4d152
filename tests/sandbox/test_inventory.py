"""The test hosts of a machine as an inventory."""

from pathlib import Path

import pytest

from ingot.inventory.errors import InventoryError
from ingot.sandbox.inventory import hosts


def test_a_machine_without_test_hosts_is_no_empty_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path / "state"))
    with pytest.raises(InventoryError, match="no test host runs on this machine: boot one with"):
        hosts()
