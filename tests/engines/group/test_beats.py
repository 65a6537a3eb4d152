"""What hosts of a group tell each other counts only from each other, and only while it is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from ingot.engines.group.beats import Beats, Peer, opened, sealed, take

KEY = b"k" * 32


def message(**given: object) -> dict[str, object]:
    told: dict[str, object] = {
        "session": "s1", "repeats": "mine", "number": 5, "epoch": 3, "phase": "running", "digest": "d",
        "answered": False, "failures": 0,
    }  # fmt: skip
    return {**told, **given}


def test_a_packet_of_another_key_or_a_changed_one_is_none() -> None:
    packet = sealed(KEY, message())
    assert opened(KEY, packet) == message()
    assert opened(b"x" * 32, packet) is None
    assert opened(KEY, packet.replace(b"running", b"stopped")) is None
    assert opened(KEY, b"") is None


def test_what_does_not_repeat_this_process_session_is_answered_and_not_believed() -> None:
    peer = Peer()
    assert not take(peer, message(repeats="another"), "mine", 1.0)
    assert peer.heard is None
    assert peer.session == "s1"


def test_a_message_that_was_recorded_counts_no_second_time() -> None:
    peer = Peer()
    assert take(peer, message(), "mine", 1.0)
    assert not take(peer, message(), "mine", 2.0)
    assert not take(peer, message(number=4), "mine", 2.0)
    assert take(peer, message(session="s2", number=0), "mine", 3.0)
    # The session before is over, whatever number its messages have.
    assert not take(peer, message(number=99), "mine", 4.0)
    assert peer.heard is not None
    assert peer.heard.at == 3.0


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def both(port: int) -> Iterator[tuple[Beats, Beats]]:
    hosts = {"a": "127.0.0.1", "b": "127.0.0.2"}
    one, other = Beats("a", hosts, port, KEY, "d"), Beats("b", hosts, port, KEY, "d")
    one.start()
    other.start()
    yield one, other


def test_two_hosts_hear_each_other_over_real_sockets(both: tuple[Beats, Beats]) -> None:
    one, other = both
    one.say(4, "run", answered=True)
    other.say(4, "running")
    deadline = time.monotonic() + 60
    while not ((heard := other.heard()["a"]) and heard.answered and one.heard()["b"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = one.heard()["b"]
    assert found is not None
    assert (found.epoch, found.phase) == (4, "running")
