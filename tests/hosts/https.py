"""HTTPS as a caller does it: to the host's address, by its name, trusting the internal CA and the public ones."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingot.secrets.certificate_names import normal

TIMEOUT_S = 20
#: How long a port that should be closed is tried.
CLOSED_S = 3


class CallError(ConnectionError):
    """Why a call got no whole answer, in one sentence."""


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
class Session:
    """What a TLS handshake agreed on, and the names and the end (seconds since 1970) of the host's certificate.

    Addresses among the names are written in one way, however a certificate or a library writes them.
    """

    version: str
    cipher: str
    alpn: str | None
    names: frozenset[str]
    ends_at: float


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

    def transcribe(self, path: str, fields: Mapping[str, str], sound: bytes) -> Answer:
        """A sound sent as a form does it."""
        mark = secrets.token_hex(12)
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}' for key, value in fields.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'
        body = "\r\n".join([*parts, head, "", ""]).encode() + sound + f"\r\n--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}", "Authorization": f"Bearer {self.key}"}
        connection = self._connection()
        try:
            connection.request("POST", path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        connection = self._connection()
        try:
            response = self._send(connection, method, path, body)
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            connection.close()

    def stream(self, path: str, body: object) -> Iterator[tuple[float, str]]:
        """Server-sent events as they come in: seconds since the request, and the event's data.

        Raises: CallError when the answer is none.
        """
        connection = self._connection()
        began = time.monotonic()
        try:
            response = self._send(connection, "POST", path, body)
            if response.status != 200:
                said = response.read().decode()
                raise CallError(f"{self.name}: POST {path} answered {response.status}: {said}")
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield time.monotonic() - began, line.removeprefix(b"data: ").decode().strip()
        finally:
            connection.close()

    def raw(self, request: bytes, port: int = 443, name: str | None = None) -> Answer:
        """The answer to bytes that no client library would send. Raises: OSError, http.client.HTTPException."""
        with (
            self._plain(port) as plain,
            self.trusting().wrap_socket(plain, server_hostname=name or self.name) as secure,
        ):
            secure.sendall(request)
            return _answer(secure)

    def in_clear(self, request: bytes, port: int) -> Answer:
        """The answer to a request without TLS. Raises: OSError, http.client.HTTPException."""
        with socket.create_connection((self.address, port), timeout=CLOSED_S) as plain:
            plain.sendall(request)
            return _answer(plain)

    def handshake(self, name: str, context: ssl.SSLContext | None = None) -> str:
        """The TLS version that the host agrees to for a server name. Raises: ssl.SSLError when it refuses."""
        return self.session(name, context).version

    def session(self, name: str, context: ssl.SSLContext | None = None) -> Session:
        """What the host agrees to for a server name. Raises: ssl.SSLError when it refuses."""
        trusting = context or self.trusting("h2", "http/1.1")
        with self._plain() as plain, trusting.wrap_socket(plain, server_hostname=name) as secure:
            certificate: Any = secure.getpeercert() or {}
            cipher = secure.cipher()
            return Session(
                version=secure.version() or "",
                cipher=cipher[0] if cipher else "",
                alpn=secure.selected_alpn_protocol(),
                names=frozenset(normal(value) for _, value in certificate.get("subjectAltName", ())),
                ends_at=ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else 0.0,
            )

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        """Verifies as callers do: by the internal CA, or by a public one where a site's certificate is of one."""
        return _trusting(self.ca, self.ca.stat().st_mtime_ns if self.ca.is_file() else None, protocols or ("http/1.1",))

    def _plain(self, port: int = 443) -> socket.socket:
        return socket.create_connection((self.address, port), timeout=TIMEOUT_S)

    def _connection(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self.name, timeout=TIMEOUT_S)
        try:
            connection.sock = self.trusting().wrap_socket(self._plain(), server_hostname=self.name)
        except OSError as error:
            raise CallError(f"{self.name}: no TLS connection to {self.address} port 443: {error}") from error
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


@lru_cache(maxsize=8)
def _trusting(ca: Path, written_ns: int | None, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Reading the system's own store takes longer than a handshake."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(list(protocols))
    if written_ns is not None:
        context.load_verify_locations(cafile=str(ca))
    return context


def _answer(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, dict(response.getheaders()), response.read().decode())
