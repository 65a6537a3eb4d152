"""Objects are fetched whole or not at all, from real servers that cut off, deny and lie."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingot.bundle.store import Missing, Store
from ingot.errors import IngotError

CONTENT = bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What it was asked, and how it answers the next requests: a status, or the number of bytes after which it cuts."""

    url: str = ""
    asked: list[str | None] = field(default_factory=list)
    next: list[int] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            range_ = self.headers.get("Range")
            told.asked.append(range_)
            how = told.next.pop(0) if told.next else 200
            if 400 <= how < 600:
                self.send_response(how)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            begin = int(range_.removeprefix("bytes=").rstrip("-")) if range_ else 0
            body = CONTENT[begin:]
            self.send_response(206 if range_ else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if how == 200 else body[:how])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        told.url = f"http://127.0.0.1:{serving.server_address[1]}/a"
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield told
        serving.shutdown()


def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "bundle", wait=lambda seconds: None)


def test_what_is_cut_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.next = [1000, 700]
    entry = store(tmp_path).fetch(server.url, "a", SHA256, len(CONTENT))
    assert server.asked == [None, "bytes=1000-", "bytes=1700-"]
    assert store(tmp_path).object(entry.sha256).read_bytes() == CONTENT


def test_a_run_that_was_killed_is_taken_up_by_the_next(server: Server, tmp_path: Path) -> None:
    server.next = [1000, 404]
    with pytest.raises(Missing):
        store(tmp_path).fetch(server.url, "a", SHA256, len(CONTENT))
    store(tmp_path).fetch(server.url, "a", SHA256, len(CONTENT))
    assert server.asked[-1] == "bytes=1000-"
    store(tmp_path).fetch(server.url, "b", SHA256, len(CONTENT))
    assert len(server.asked) == 3, "and nothing is fetched twice"


def test_other_bytes_are_refused_and_nothing_of_them_stays(server: Server, tmp_path: Path) -> None:
    wanted = "0" * 64
    with pytest.raises(IngotError, match=f"with SHA-256 {SHA256}, expected .* with {wanted}"):
        store(tmp_path).fetch(server.url, "a", wanted, len(CONTENT))
    assert not [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("answers", "words"), [([403], "answered 403"), ([503] * 4, "answered 503")])
def test_a_server_that_denies_is_one_sentence(server: Server, tmp_path: Path, answers: list[int], words: str) -> None:
    server.next = list(answers)
    with pytest.raises(IngotError, match=words):
        store(tmp_path).fetch(server.url, "a")
    assert len(server.asked) == len(answers)


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.next = [429, 503]
    assert store(tmp_path).fetch(server.url, "a").sha256 == SHA256


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(IngotError, match=r"^http://127\.0\.0\.1:1/a cannot be fetched \(.*refused"):
        store(tmp_path).fetch("http://127.0.0.1:1/a", "a")


def test_what_the_site_has_is_named_and_not_fetched(server: Server, tmp_path: Path) -> None:
    having = Store(tmp_path / "bundle", known=frozenset({SHA256}))
    assert having.name(server.url, "a", SHA256, len(CONTENT)).bytes == len(CONTENT)
    assert server.asked == []


def test_files_of_this_machine_are_linked_under_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a+b").write_bytes(CONTENT)
    objects = store(tmp_path)
    entries = [objects.fetch(f"file:{tmp_path}/a%2Bb", path) for path in ("x/1", "y/z/2")]
    tree = objects.tree(entries, tmp_path / "tree")
    assert {path.stat().st_ino for path in tree.rglob("*") if path.is_file()} == {objects.object(SHA256).stat().st_ino}
    with pytest.raises(Missing):
        objects.fetch(f"file://{tmp_path}/none", "x")
