"""The connected machine's own archive, read from its apt."""

from __future__ import annotations

import pytest

from ingot.bundle import machine_archive
from ingot.errors import IngotError
from ingot.settings.sources import Archive

pytestmark = pytest.mark.cache


def test_each_distribution_has_one_archive_and_its_own_for_security() -> None:
    lines = (
        "Debian|bookworm-security|http://mirror.example/debian-security/",
        "Debian|bookworm-updates|http://mirror.example/debian/",
        "Debian|bookworm|http://mirror.example/debian/",
        "Else|stable|http://else.example/",
        "|unread|http://unread.example/",
    )
    assert machine_archive.parse_archives(lines) == {
        "debian": Archive(uri="http://mirror.example/debian", security_uri="http://mirror.example/debian-security"),
        "else": Archive(uri="http://else.example"),
    }


def test_a_distribution_that_this_machine_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_archive, "_archives", dict)
    with pytest.raises(IngotError, match=r'no archive of ubuntu, .* name the archive as "distribution" of sources'):
        machine_archive.machine_archive("ubuntu")
