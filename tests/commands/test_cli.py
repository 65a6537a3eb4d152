"""A user's mistake on the command line is one sentence on stderr and exit status 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingot.secrets import files


def said(*arguments: object) -> str:
    """What `ingot` says on stderr when it fails."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ingot", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ingot: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_an_inventory_that_raises_is_named(tmp_path: Path) -> None:
    inventory = tmp_path / "lab.py"
    inventory.write_text("gpu = [undefined]\n")
    assert f"{inventory}: cannot be loaded (NameError: name 'undefined' is not defined); correct it." in said(
        "keys", "list", "--inventory", inventory
    )


def test_an_inventory_that_says_what_is_wrong_is_quoted(tmp_path: Path) -> None:
    inventory = tmp_path / "lab.py"
    inventory.write_text(
        f"from ingot.inventory.host_files import load\ngpu = load({str(tmp_path / 'absent')!r}).group('gpu')\n"
    )
    assert said("keys", "list", "--inventory", inventory).startswith(
        f"ingot: inventory {tmp_path / 'absent'}: no such directory"
    )


def test_what_this_machine_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the directory of secrets should be")
    inventory = tmp_path / "lab.py"
    inventory.write_text(f"gpu = [('a', {{'secrets_dir': {str(tmp_path / 'occupied')!r}}})]\n")
    sentence = said("keys", "create", "research", "--inventory", inventory)
    assert str(tmp_path / "occupied") in sentence and "mend that and run it again" in sentence


def test_a_full_disk_leaves_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "keys.yaml", "secret", mode=0o600)
    assert list(tmp_path.iterdir()) == []
