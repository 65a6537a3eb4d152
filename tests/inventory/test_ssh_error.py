"""Why a connection did not come about, as a person is told."""

import errno
import os

import pytest
from paramiko.ssh_exception import NoValidConnectionsError, SSHException

from ingot.inventory.ssh_error import in_words


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused(errno.ECONNRESET), "connection reset by peer"),
        (TimeoutError("timed out"), "timed out"),
        (EOFError(), "EOFError"),
        (SSHException("Error reading SSH protocol banner"), "error reading SSH protocol banner"),
        (
            NoValidConnectionsError(
                {
                    ("::1", 22): refused(errno.EHOSTUNREACH),
                    ("127.0.0.1", 22): refused(errno.ECONNREFUSED),
                    ("127.0.0.2", 22): refused(errno.ECONNREFUSED),
                }
            ),
            "no route to host or connection refused",
        ),
    ],
    ids=["system", "time", "no-words", "paramiko", "several-addresses"],
)
def test_an_error_is_told_in_its_own_words(error: BaseException, words: str) -> None:
    assert in_words(error) == words
