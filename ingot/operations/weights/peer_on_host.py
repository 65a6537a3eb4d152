"""Files of model directories over mutual TLS, for other hosts of the fleet: standard library only.

    python3 -I peer_on_host.py CACHE_ROOT HOME PORT IDLE_S

HOME has `peer.pem` (certificate and key), `peer-ca.pem`, and below `at-work` what models.sh says of the directories
that it fetches: `NAME.wants` is locked while one is wanted, `NAME.leads` is there while this host fetches it from
outside; NAME is the sha256 of the directory's path. A GET of `/DIRECTORY/FILE` is answered with

- 200 or 206 and the file, once it is whole: its reader proves it, and need not trust this host
- 429 where others are sent files just now: two at a time, those first that were given away least, so that a host which
  has what nobody else has spreads all of it once before it sends anything twice
- 503 while this host fetches the directory from outside, so that the file will come; it is waited for a while first
- 409 while this host waits for the directory itself
- 404 otherwise

Callers without a certificate of the CA get no answer at all. It ends when nobody has asked for IDLE_S seconds.
"""

import fcntl
import hashlib
import http.server
import os
import re
import shutil
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

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
        status, file = self.server.found(unquote(self.path))
        until = time.monotonic() + COMING_S
        while status == 503 and time.monotonic() < until:
            time.sleep(0.2)
            status, file = self.server.found(unquote(self.path))
        if file is None:
            self._head(status, 0)
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


def main(root: str, home: str, port: str, idle_s: str) -> None:
    """Serve until nobody has asked for a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(f"{home}/peer.pem")
    context.load_verify_locations(f"{home}/peer-ca.pem")
    peer = Peer(Path(root), Path(home) / "at-work", int(port), context)
    if os.getuid() == 0:
        # Whoever may read models may serve them: the key is read, and nothing else is needed.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    print(f"serving {root} on port {peer.server_address[1]}", flush=True)
    while time.monotonic() - peer.asked_at < float(idle_s):
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
