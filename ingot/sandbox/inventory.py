"""The booted test hosts as a pyinfra inventory: how to reach each, and where its upstreams are."""

import runpy
from pathlib import Path
from typing import Any

from ingot.inventory.errors import InventoryError
from ingot.sandbox import aptrepo, mirror
from ingot.sandbox.host import TestHost
from ingot.sandbox.membership import data_of
from ingot.sandbox.sandbox import Sandbox

GROUP_DATA = Path(__file__).parents[2] / "group_data" / "all.py"


def hosts() -> list[tuple[str, dict[str, Any]]]:
    """Every running test host as `(name, data)`.

    Raises: InventoryError where none runs: a deploy of nobody would call itself a success.
    """
    sandbox = Sandbox()
    running = [host for host in sandbox.hosts() if host.is_running]
    if not running:
        raise InventoryError("no test host runs on this machine: boot one with `ingot sandbox up` or `make demo`")
    shared = {**_values(), "secrets_dir": str(sandbox.secrets_dir)}
    return [(f"@ingot/{host.name}", {**shared, **connection(host), **data_of(host.name, host.pin)}) for host in running]


def connection(host: TestHost) -> dict[str, Any]:
    """pyinfra host data that reaches a test host, its key pinned."""
    return {
        "ssh_hostname": host.address,
        "ssh_user": host.user,
        "ssh_key": str(host.key_path),
        "ssh_known_hosts_file": str(host.known_hosts_path),
        "ssh_strict_host_key_checking": "yes",
        "_sudo": True,
    }


def _values() -> dict[str, Any]:
    """Where packages, engine image and models come from on test hosts.

    Host data replaces a default whole, so that a dict such as `sources` starts as group_data/all.py has it.
    """
    defaults = runpy.run_path(str(GROUP_DATA))
    values: dict[str, Any] = {}
    for made in (aptrepo.source_values(), mirror.engine_values(), mirror.model_values()):
        for key, value in made.items():
            old = values.get(key, defaults.get(key))
            values[key] = {**old, **value} if isinstance(old, dict) else value
    return values
