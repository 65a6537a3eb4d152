"""The repositories that a host has described, in both of apt's formats."""

import pytest

from ingot.facts.apt_sources import AptSources, Repository, parse_apt_sources
from ingot.facts.errors import Unread

pytestmark = pytest.mark.driver

ONE_LINE = """@file /etc/apt/sources.list
deb http://deb.example/debian trixie main non-free-firmware # installer
# deb http://deb.example/debian trixie-backports main
deb-src http://deb.example/debian trixie main
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/x.gpg trusted=yes] https://x.example/debian stable main
deb [ signed-by=/k.gpg ] file:/mirror ./
"""
DEB822 = """@file /etc/apt/sources.list.d/debian.sources
Types: deb deb-src
# a comment in between
URIs: http://deb.example/debian
 http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/debian
Suites: trixie
Components: main
"""


def test_lines_are_read_with_their_options() -> None:
    assert parse_apt_sources(ONE_LINE) == (
        Repository(
            "/etc/apt/sources.list",
            ("http://deb.example/debian",),
            ("trixie",),
            ("main", "non-free-firmware"),
            {},
        ),
        Repository(
            "/etc/apt/sources.list",
            ("https://x.example/debian",),
            ("stable",),
            ("main",),
            {"architectures": "amd64 arm64", "signed-by": "/usr/share/keyrings/x.gpg", "trusted": "yes"},
        ),
        Repository("/etc/apt/sources.list", ("file:/mirror",), ("./",), (), {"signed-by": "/k.gpg"}),
    )


def test_stanzas_are_read_with_the_keys_that_stand_in_them() -> None:
    (one,) = parse_apt_sources(DEB822)
    assert one.uris == ("http://deb.example/debian", "http://mirror.example/debian")
    assert (one.suites, one.components) == (("trixie", "trixie-updates"), ("main",))
    assert one.fields["signed-by"].splitlines()[1:3] == [" -----BEGIN PGP PUBLIC KEY BLOCK-----", " ."]


def test_several_files_come_in_one_look() -> None:
    lines = ["@@ingot-begin apt_sources", *(ONE_LINE + DEB822).splitlines(), "@@ingot-end apt_sources 0"]
    found = AptSources().process(lines)
    assert not isinstance(found, Unread)
    assert [one.file.rpartition("/")[2] for one in found] == ["sources.list"] * 3 + ["debian.sources"]
    assert isinstance(AptSources().process(lines[:-1]), Unread)
