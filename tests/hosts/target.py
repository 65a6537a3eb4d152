"""One host under test, reached over the connection that a deploy would use."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host as PyinfraHost
from pyinfra.context import ctx_host, ctx_state
from testinfra.backend.paramiko import ParamikoBackend
from testinfra.host import Host

from ingot import keys
from tests.hosts.look import Look, look_at


class DeployConnection(ParamikoBackend):
    """A testinfra backend on a connection that pyinfra opened."""

    def __init__(self, host: PyinfraHost, client: paramiko.SSHClient) -> None:
        super().__init__(host.name, sudo=bool(host.data.get("_sudo")))
        self._client = client

    @property
    def client(self) -> paramiko.SSHClient:  # type: ignore[override]
        return self._client


@dataclass(frozen=True)
class Target:
    """One host under test."""

    host: PyinfraHost
    inventory: str
    key: str | None = field(repr=False)

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def data(self) -> Any:
        return self.host.data

    @property
    def address(self) -> str:
        return str(self.data.get("ssh_hostname") or self.name)

    @property
    def ca(self) -> Path:
        return keys.secrets_dir(self.data.get("secrets_dir"), self.inventory) / "ca.crt"

    def expect(self, good: object, sentence: str) -> None:
        """Fail with the host's name and one sentence unless `good`: who is on call needs no traceback."""
        if not good:
            pytest.fail(f"{self.name}: {sentence}", pytrace=False)

    @cached_property
    def connection(self) -> DeployConnection | str:
        """The connection, made once, or the sentence that says why there is none."""
        with ctx_state.use(self.host.state), ctx_host.use(self.host):
            try:
                self.host.connect(show_errors=False, raise_exceptions=True)
            except ConnectError as error:
                return str(error.args[0])
        return DeployConnection(self.host, self.host.connector.client)

    @cached_property
    def look(self) -> Look:
        """Everything the tests want to know of the host, asked for once."""
        assert isinstance(self.connection, DeployConnection)
        return look_at(Host(self.connection))

    def disconnect(self) -> None:
        if self.host.connected:
            with ctx_state.use(self.host.state), ctx_host.use(self.host):
                self.host.disconnect()
