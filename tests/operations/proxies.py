"""Real proxies on this machine (proxy.py): with a login, opening TLS, refusing; and servers that lie behind them."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.common.types import HostPort
from proxy.http.proxy import HttpProxyBasePlugin

ROOT = Path(__file__).parents[2]
#: What lies behind the proxies: a name that nobody but they knows, and its address.
NAME, ADDRESS = "hub.example", "127.0.0.2"


class Names(HttpProxyBasePlugin):
    """Tells a proxy where NAME is."""

    def resolve_dns(self, host: str, port: int) -> tuple[str | None, HostPort | None]:
        return (ADDRESS if host == NAME else None), None


@contextmanager
def running(*words: str, log: Path, on: str = "127.0.0.1") -> Iterator[int]:
    """A proxy with these arguments, listening `on` an address of this machine, until the block ends: its port."""
    with socket.socket() as free:
        free.bind((on, 0))
        port = free.getsockname()[1]
    names = ("--plugins", f"{__name__}.Names")
    line = [sys.executable, "-m", "proxy", "--hostname", on, "--port", str(port), "--num-workers", "1"]
    with log.open("w") as said:
        process = subprocess.Popen([*line, "--num-acceptors", "1", *names, *words], stdout=said, stderr=said, cwd=ROOT)
    try:
        _wait_for((on, port), process, log)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(address: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the proxy does not listen on {address}: {log.read_text()}")


def authority(directory: Path) -> tuple[Path, Path, Path]:
    """A CA, its key, and a key for what it signs."""
    key, certificate, signing = (directory / name for name in ("ca.key", "ca.pem", "signing.key"))
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
             "-subj", "/CN=Site proxy")  # fmt: skip
    _openssl("genrsa", "-out", signing, "2048")
    return certificate, key, signing


@contextmanager
def server(files: dict[str, bytes], seen: list[str], tls: Path | None = None) -> Iterator[str]:
    """A web server behind the proxies with these files: its address. `seen` gets the Via of each request, or ""."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Via") or "")
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer((ADDRESS, 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://{NAME}:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()


def certificate(directory: Path) -> Path:
    """A certificate for NAME that nobody signed, with its key."""
    both = directory / "server.pem"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", both, "-out", directory / "server.crt",
             "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")  # fmt: skip
    both.write_text(both.read_text() + (directory / "server.crt").read_text())
    return both


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)
