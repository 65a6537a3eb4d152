"""Test hosts that were onboarded: their host files lie in the checkout, as those of any inventory, and go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingot.inventory.host_files import load
from ingot.secrets import files

#: Beside inventories/sandbox.py; git ignores it.
HOST_FILES = Path(__file__).parents[2] / "inventories" / "sandbox"


def data_of(name: str, pin: str, directory: Path = HOST_FILES) -> dict[str, Any]:
    """What the host file of a test host says; nothing for one of an earlier host of that name.

    `pin`: the host's own line of known_hosts.
    """
    if not _is_of(name, pin, directory):
        return {}
    return next(dict(data) for member, _, data in load(directory).members if member == name)


def forget(name: str, pin: str, directory: Path = HOST_FILES) -> None:
    """Remove the host file and the pin of a test host that ends; those of others stay."""
    if not _is_of(name, pin, directory):
        return
    _file(name, directory).unlink()
    known_hosts = directory / "known_hosts"
    kept = [line for line in known_hosts.read_text().splitlines() if line != pin]
    files.replace(known_hosts, "".join(f"{line}\n" for line in kept), 0o644)


def _is_of(name: str, pin: str, directory: Path) -> bool:
    known_hosts = directory / "known_hosts"
    return _file(name, directory).is_file() and known_hosts.is_file() and pin in known_hosts.read_text().splitlines()


def _file(name: str, directory: Path) -> Path:
    return directory / f"{name}.yaml"
