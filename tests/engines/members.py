"""Test hosts that are members of the sandbox's inventory by a file of their own, as onboarding writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import yaml

from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.membership import HOST_FILES


@contextmanager
def member(
    name: str, profile: str, serve: Sequence[Mapping[str, object]], values: Mapping[str, object]
) -> Iterator[TestHost]:
    """A new host of this name until the block ends, whose file says what it serves and its values."""
    sandbox = Sandbox()
    if any(one.name == name for one in sandbox.hosts()):
        sandbox.down(name)
    host = sandbox.up(name, profile=profile)
    HOST_FILES.mkdir(exist_ok=True)
    with (HOST_FILES / "known_hosts").open("a") as pins:
        pins.write(f"{host.pin}\n")
    login = {"address": host.address, "user": host.user, "ssh_key": str(host.key_path)}
    said = {**login, "serve": list(serve), "values": dict(values)}
    (HOST_FILES / f"{name}.yaml").write_text(yaml.safe_dump(said))
    yield host
    sandbox.down(name)
