"""The bad link: what arrives, when, and how it ends."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ingot.sandbox.proxy import Proxy


@contextmanager
def echo_server() -> Iterator[int]:
    """A server that sends back what it gets."""

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except ConnectionResetError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=30)


def ask(connection: socket.socket, data: bytes) -> float:
    """Seconds until `data` is back."""
    started = time.monotonic()
    connection.sendall(data)
    received = b""
    while len(received) < len(data):
        received += connection.recv(65536)
    assert received == data
    return time.monotonic() - started


def test_a_round_trip_takes_twice_the_delay() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port, delay_s=0.05) as proxy, connect(proxy) as connection:
        assert ask(connection, b"hello") >= 0.1


def test_delayed_chunks_do_not_wait_for_each_other() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port, delay_s=0.5) as proxy, connect(proxy) as connection:
        started = time.monotonic()
        for _ in range(20):
            connection.sendall(b"x")
            time.sleep(0.002)
        received = 0
        while received < 20:
            received += len(connection.recv(100))
        # One after the other they would take 20 x 1 s; a busy machine adds some.
        assert time.monotonic() - started < 15


def test_a_throttled_link_passes_no_more_than_told() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port, bytes_per_s=1e6) as proxy, connect(proxy) as connection:
        assert ask(connection, bytes(300_000)) >= 0.29


def test_a_black_hole_keeps_the_connection_and_delivers_after_it_ends() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port) as proxy, connect(proxy) as connection:
        ask(connection, b"before")
        proxy.black_hole()
        connection.settimeout(0.2)
        connection.sendall(b"into the dark")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.restore()
        connection.settimeout(30)
        assert connection.recv(100) == b"into the dark"


def test_a_reset_ends_running_connections_but_not_new_ones() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port) as proxy, connect(proxy) as connection:
        ask(connection, b"before")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
        with connect(proxy) as again:
            ask(again, b"after")


def test_a_closed_side_closes_the_other() -> None:
    with echo_server() as port, Proxy("127.0.0.1", port, delay_s=0.01) as proxy:
        with connect(proxy) as connection:
            ask(connection, b"hello")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        deadline = time.monotonic() + 30
        while proxy.connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_nobody_behind_the_proxy_shows_as_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    # The reset may come before `connect` is back.
    with Proxy("127.0.0.1", port) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(100)
