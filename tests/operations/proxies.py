"""Real proxies on this machine (proxy.py): with a login, opening TLS, refusing; and servers that lie behind them."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.common.types import HostPort
from proxy.http.proxy import HttpProxyBasePlugin

from ingot.sandbox import docker_archive

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
        process.wait(timeout=180)


def _wait_for(address: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the proxy does not listen on {address}: {log.read_text()}")


@dataclass(frozen=True)
class Site:
    """A proxy on this `machine` that asks for a login and opens TLS by a CA of its own; `files` lie on an https server
    `behind` it."""

    machine: str
    proxy: str
    ca: Path
    log: Path
    behind: str
    files: dict[str, bytes]


def opening(home: Path) -> tuple[Path, tuple[str | Path, ...]]:
    """A new CA, and the words by which a proxy opens TLS with certificates of it."""
    ca, key, signing = authority(home)
    files = ("--ca-key-file", key, "--ca-cert-file", ca, "--ca-signing-key-file", signing)
    return ca, (*files, "--ca-cert-dir", home / "made")


@contextmanager
def site(home: Path, machine: str, login: str) -> Iterator[Site]:
    """Such a proxy, and the server behind it, until the block ends."""
    ca, opens = opening(home)
    both, files = certificate(home), dict[str, bytes]()
    words = (*opens, "--ca-file", home / "server.crt", "--basic-auth", login)
    with (
        running(*map(str, words), log=home / "log", on=machine) as port,
        server(files, [], both) as behind,
    ):
        yield Site(machine, f"http://{machine}:{port}", ca, home / "log", behind, files)


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
        def do_HEAD(self) -> bytes:
            seen.append(self.headers.get("Via") or "")
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            if "/manifests/" in self.path:
                self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            self.end_headers()
            return data or b""

        def do_GET(self) -> None:
            self.wfile.write(self.do_HEAD())

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


def registry(name: str, home: Path) -> tuple[str, dict[str, bytes]]:
    """An image with one small file: the digest of its manifest, and what a registry answers that has it, by path."""
    (home / "root").mkdir()
    (home / "root/model").write_text("none")
    layer = docker_archive.write_layer(home / "layer.tar", home / "root")
    docker_archive.write_archive(home / "image.tar", f"{name}:1", [layer], {})
    with tarfile.open(home / "image.tar") as packed:
        held = {one.name: packed.extractfile(one).read() for one in packed}  # type: ignore[union-attr]
    digest = str(json.loads(held["index.json"])["manifests"][0]["digest"])
    blobs = {path.rpartition("/")[2]: data for path, data in held.items() if path.startswith("blobs/")}
    answers = {f"/v2/{name}/blobs/sha256:{sha256}": data for sha256, data in blobs.items()}
    manifest = {f"/v2/{name}/manifests/{digest}": blobs[digest.removeprefix("sha256:")]}
    return digest, {"/v2/": b"{}", **manifest, **answers}


def certificate(directory: Path) -> Path:
    """A certificate for NAME that nobody signed, with its key."""
    both = directory / "server.pem"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", both, "-out", directory / "server.crt",
             "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")  # fmt: skip
    both.write_text(both.read_text() + (directory / "server.crt").read_text())
    return both


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=180)
