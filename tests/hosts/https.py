"""HTTPS as a caller does it: to the host's address, by its name, trusting the internal CA alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 20


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Caller:
    """One who calls a host's gateway: with a key, or without."""

    address: str
    name: str
    ca: Path
    key: str | None = field(default=None, repr=False)

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> Answer:
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        connection = self._connection()
        try:
            response = self._send(connection, method, path, body)
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def stream(self, path: str, body: object) -> Iterator[tuple[float, str]]:
        """Server-sent events as they come in: seconds since the request, and the event's data."""
        connection = self._connection()
        began = time.monotonic()
        try:
            response = self._send(connection, "POST", path, body)
            if response.status != 200:
                said = response.read().decode()
                pytest.fail(f"{self.name}: POST {path} answered {response.status}: {said}", pytrace=False)
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield time.monotonic() - began, line.removeprefix(b"data: ").decode().strip()
        finally:
            connection.close()

    def handshake(self, name: str, context: ssl.SSLContext | None = None) -> str:
        """The TLS version that the host agrees to for a server name. Raises: ssl.SSLError when it refuses."""
        trusting = context or self._trusting()
        with (
            socket.create_connection((self.address, 443), timeout=TIMEOUT_S) as plain,
            trusting.wrap_socket(plain, server_hostname=name) as secure,
        ):
            # With TLS 1.3 a refusal may come only after the client believes to be through.
            secure.settimeout(TIMEOUT_S)
            return secure.version() or ""

    def _trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def _connection(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self.name, timeout=TIMEOUT_S)
        try:
            plain = socket.create_connection((self.address, 443), timeout=TIMEOUT_S)
            connection.sock = self._trusting().wrap_socket(plain, server_hostname=self.name)
        except OSError as error:
            pytest.fail(f"{self.name}: no TLS connection to {self.address} port 443: {error}", pytrace=False)
        return connection

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        payload = json.dumps(body) if body is not None else None
        connection.request(method, path, body=payload, headers=headers)
        return connection.getresponse()
