"""A host taken out of an inventory, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.departure.membership import membership, without
from ingot.errors import IngotError
from ingot.onboarding.known_hosts import HostKey, with_pin

pytestmark = pytest.mark.onboarding

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIG09yAFtHgWi+Q1+ibP/i7JHrxZRQ/nxzmlmEhfwyzvO")


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    directory = tmp_path / "prod"
    directory.mkdir()
    (directory / "gpu-01.yaml").write_text("address: 192.0.2.11\n")
    (directory / "gpu-02.yaml").write_text("address: 192.0.2.11\nport: 2222\n")
    text = with_pin(with_pin("# pinned\n", "192.0.2.11", KEY), "[192.0.2.11]:2222", KEY)
    (directory / "known_hosts").write_text(text)
    return tmp_path / "prod.py"


def test_its_file_and_its_key_go_and_others_stay(inventory: Path) -> None:
    entry = membership(inventory, "gpu-01")
    assert len(entry.sentences()) == 2
    entry.end()
    assert sorted(path.name for path in (inventory.parent / "prod").iterdir()) == ["gpu-02.yaml", "known_hosts"]
    assert entry.known_hosts.read_text() == f"# pinned\n[192.0.2.11]:2222 {KEY.kind} {KEY.text}\n"


def test_one_whose_file_is_damaged_can_leave_too(inventory: Path) -> None:
    file = inventory.parent / "prod" / "gpu-01.yaml"
    file.write_text("address: [\n")
    entry = membership(inventory, "gpu-01")
    entry.end()
    assert not file.exists() and "192.0.2.11 " in entry.known_hosts.read_text()


def test_one_that_has_no_file_is_refused(inventory: Path) -> None:
    with pytest.raises(IngotError, match=r"gpu-09: .* has no file"):
        membership(inventory, "gpu-09")


def test_a_line_for_several_names_goes_on_for_the_others() -> None:
    line = f"gpu-01,192.0.2.11 {KEY.kind} {KEY.text}\n"
    assert without(line, "192.0.2.11") == f"gpu-01 {KEY.kind} {KEY.text}\n"


def test_a_hashed_line_is_found() -> None:
    hashed = with_pin("|1|x|y ssh-ed25519 AAAA\n", "192.0.2.11", KEY)
    assert without(hashed, "192.0.2.11") == "|1|x|y ssh-ed25519 AAAA\n"
