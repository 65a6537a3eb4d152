"""Files of model directories over mutual TLS, for other hosts of the fleet: standard library only.

    python3 -I peer_on_host.py CACHE_ROOT HOME PORT IDLE_S [SWARM_PORT BYTES_PER_S OWN ADDRESS,PORT...]

With a SWARM_PORT, and where the distribution's libtorrent is there, files also go to many hosts at once
(swarm_on_host.py): OWN is this host's place in the inventory, after it come the others from the next one on.

HOME has `peer.pem` (certificate and key), `peer-ca.pem`, and below `at-work` what models.sh says of the directories
that it fetches: `NAME.wants` is locked while one is wanted, `NAME.leads` is there while this host fetches it from
outside; NAME is the sha256 of the directory's path. A GET of `/DIRECTORY/FILE` is answered with

- 200 or 206 and the file, once it is whole: its reader proves it, and need not trust this host
- 429 where others are sent files just now: two at a time, those first that were given away least, so that a host which
  has what nobody else has spreads all of it once before it sends anything twice
- 503 while this host fetches the directory from outside, so that the file will come; it is waited for a while first
- 409 while this host waits for the directory itself
- 404 otherwise

`/DIRECTORY/FILE?digests` is answered in the same way with the list of digests by which a swarm takes the file, or with
501 where there is no swarm here. At HOME/swarm.sock root alone orders this host's swarm to take a file: a POST of
such a list, with headers Part, Bytes and Giver, is answered once the file has come (200) or cannot (502, and why).

Callers without a certificate of the CA get no answer at all. It ends when nobody has asked for IDLE_S seconds.
"""

import fcntl
import hashlib
import http.server
import os
import re
import select
import shutil
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from ingot.operations.weights.swarm_on_host import Swarm

#: What proves that a directory is of Ingot's making.
MADE = ".ingot-made"
NOBODY = 65534
TIMEOUT_S = 60
#: Files that are sent at a time.
AT_ONCE = 2
#: How long a caller waits for its turn, and for a file that this host is fetching, seconds.
TURN_S, COMING_S = 2.0, 5.0


class Turns:
    """Who is sent a file next: at most so many at a time, and of those who wait, who wants what was given least."""

    def __init__(self, at_once: int) -> None:
        self.free = at_once
        self.given: Counter[str] = Counter()
        self.waiting: list[list[str]] = []
        self.changed = threading.Condition()

    @contextmanager
    def turn(self, path: str, patience_s: float) -> Iterator[bool]:
        """Wait for the turn of a path. Yields: whether it came in time."""
        mine, until = [path], time.monotonic() + patience_s
        with self.changed:
            self.waiting.append(mine)
            while not (self.free and self._next() is mine) and time.monotonic() < until:
                self.changed.wait(until - time.monotonic())
            came = bool(self.free) and self._next() is mine
            self.waiting = [one for one in self.waiting if one is not mine]
            if came:
                self.free -= 1
                self.given[path] += 1
            self.changed.notify_all()
        try:
            yield came
        finally:
            if came:
                with self.changed:
                    self.free += 1
                    self.changed.notify_all()

    def _next(self) -> list[str]:
        return min(self.waiting, key=lambda one: self.given[one[0]])


class Peer(http.server.ThreadingHTTPServer):
    """The directories of one cache."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, root: Path, at_work: Path, port: int, context: ssl.SSLContext) -> None:
        self.root, self.at_work, self.context = root, at_work, context
        self.asked_at = time.monotonic()
        self.turns = Turns(AT_ONCE)
        self.swarm: Swarm | None = None
        super().__init__(("", port), Handler)

    def finish_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """In the request's own thread: one who does not end the handshake holds up nobody."""
        request.settimeout(TIMEOUT_S)
        with self.context.wrap_socket(request, server_side=True) as secure:
            self.asked_at = time.monotonic()
            super().finish_request(secure, client_address)

    def handle_error(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """A peer that went away, or a stranger: a line for the log."""
        print(f"{client_address[0]}: {sys.exc_info()[1]}", flush=True)

    def found(self, path: str) -> tuple[int, Path | None]:
        """The status of a path below the root, and its file."""
        parts = path.strip("/").split("/")
        if not all(re.fullmatch(r"(?!\.)[\w.+=@-]+", part) for part in parts) or path.endswith(".part"):
            return 404, None
        status = 404
        for index in range(1, len(parts)):
            directory = self.root.joinpath(*parts[:index])
            status = self.status(directory) or status
            for made in (directory, directory.with_name(f"{directory.name}.incomplete")):
                file = made.joinpath(*parts[index:])
                proof = made / MADE
                if proof.is_file() and proof.read_text().strip() == str(directory) and file.is_file():
                    # No link leads out of the directory.
                    return (200, file) if file.resolve() == made.resolve().joinpath(*parts[index:]) else (404, None)
        return status, None

    def status(self, directory: Path) -> int | None:
        """What this host does about a directory that lacks a file; None where nothing is known of it."""
        name = self.at_work / hashlib.sha256(str(directory).encode()).hexdigest()
        try:
            with name.with_suffix(".wants").open() as wants:
                fcntl.flock(wants, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return 503 if name.with_suffix(".leads").exists() else 409
        except OSError:
            pass
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Peer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A file, or the part of it from where the reader stopped."""
        path, _, asked = unquote(self.path).partition("?")
        for _ in range(3):
            # A directory gets its own name when its last file came: then the file is there by that.
            with suppress(FileNotFoundError):
                return self._answer(path, asked)
        return self._head(503, 0)

    def _answer(self, path: str, asked: str) -> None:
        until = time.monotonic() + COMING_S
        while True:
            status, file = self.server.found(path)
            digests = b""
            if file and asked:
                digests = self.server.swarm.digests(file) if self.server.swarm else b""
                status = 501 if not self.server.swarm else 200 if digests else 503
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(0.2)
        if file is None or asked:
            self._head(status, len(digests))
            self.wfile.write(digests)
            return
        with self.server.turns.turn(self.path, TURN_S) as came:
            if came:
                self._send(file)
            else:
                self._head(429, 0)

    def _send(self, file: Path) -> None:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(asked[1]) if asked else 0
            if asked and start >= size:
                self._head(416, 0)
                return
            self._head(206 if asked else 200, size - start, f"bytes {start}-{size - 1}/{size}" if asked else None)
            opened.seek(start)
            shutil.copyfileobj(opened, self.wfile, 1 << 20)
        self.server.asked_at = time.monotonic()

    def _head(self, status: int, length: int, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: each waiting peer asks every other second."""


class Orders(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """What root of this host orders its swarm to take."""

    daemon_threads = True

    def __init__(self, at: Path, swarm: "Swarm") -> None:
        self.swarm = swarm
        at.unlink(missing_ok=True)
        super().__init__(str(at), Order)
        at.chmod(0o600)


class Order(http.server.BaseHTTPRequestHandler):
    """One file to take."""

    server: Orders

    def do_POST(self) -> None:
        """Answer once it came; who does not wait for the answer wants it no more."""
        text = self.rfile.read(int(self.headers["Content-Length"]))
        part, size = Path(self.headers["Part"]), int(self.headers["Bytes"])
        why = self.server.swarm.fetch(text, part, size, self.headers["Giver"], self._left)
        self.send_response(502 if why else 200)
        self.end_headers()
        self.wfile.write(why.encode())

    def _left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def log_message(self, *_: object) -> None:
        """Nothing: models.sh says what came of it."""


def joined(home: str, port: str, bytes_per_s: str, own: str, *others: str) -> "Swarm | None":
    """The swarm, where this host can be in one."""
    # An isolated interpreter does not look beside the script.
    sys.path.insert(0, str(Path(__file__).parent))
    pem, ca = Path(home, "peer.pem").read_bytes(), Path(home, "peer-ca.pem").read_text()
    places = [(address, int(each)) for address, _, each in (one.rpartition(",") for one in others)]
    try:
        import swarm_on_host  # type: ignore[import-not-found]

        swarm: Swarm = swarm_on_host.Swarm(int(port), pem, ca, int(own), places, int(bytes_per_s))
    except (ImportError, OSError) as error:
        print(f"no swarm: {error}", flush=True)
        return None
    threading.Thread(target=Orders(Path(home, "swarm.sock"), swarm).serve_forever, daemon=True).start()
    return swarm


def main(root: str, home: str, port: str, idle_s: str, *swarm: str) -> None:
    """Serve until nobody has asked for a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(f"{home}/peer.pem")
    context.load_verify_locations(f"{home}/peer-ca.pem")
    peer = Peer(Path(root), Path(home) / "at-work", int(port), context)
    peer.swarm = joined(home, *swarm) if swarm else None
    if os.getuid() == 0:
        # Whoever may read models may serve them: the key is read, and nothing else is needed.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    print(f"serving {root} on port {peer.server_address[1]}", flush=True)
    while time.monotonic() - peer.asked_at < float(idle_s):
        time.sleep(1)
        if peer.swarm and peer.swarm.is_busy():
            peer.asked_at = time.monotonic()


if __name__ == "__main__":
    main(*sys.argv[1:])
