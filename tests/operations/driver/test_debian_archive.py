"""Debian's own driver: the components that it is in are added beside the host's own description, and only those."""

import hashlib

import pytest

from ingot.facts.apt_sources import Repository, parse_apt_sources
from ingot.facts.packages import AptLook
from ingot.operations.driver.debian_archive import PATH, extension
from ingot.operations.package_source import Extension
from ingot.operations.packages import compare

pytestmark = pytest.mark.driver

DEBIAN = "http://deb.example/debian"
SECURITY = "http://deb.example/debian-security/"


def described(*lines: str, file: str = "/etc/apt/sources.list") -> tuple[Repository, ...]:
    return parse_apt_sources(f"@file {file}\n" + "".join(f"{line}\n" for line in lines))


def text(*lines: str) -> str:
    found = extension(described(*lines))
    assert found
    return found.text


def test_what_is_missing_is_added_for_each_suite_with_main() -> None:
    assert text(f"deb {DEBIAN} trixie main", f"deb {SECURITY} trixie-security main") == (
        "# Written by Ingot.\n"
        f"Types: deb\nURIs: {DEBIAN}\nSuites: trixie\nComponents: contrib non-free non-free-firmware\n\n"
        f"Types: deb\nURIs: {SECURITY}\nSuites: trixie-security\nComponents: contrib non-free non-free-firmware\n"
    )


def test_what_is_there_already_is_not_described_twice() -> None:
    installer = f"deb {DEBIAN} trixie main non-free-firmware"
    assert "\nComponents: contrib non-free\n" in text(installer)
    assert "\nComponents: contrib\n" in text(installer, f"deb {DEBIAN}/ trixie non-free")
    assert extension(described(installer, f"deb {DEBIAN} trixie contrib non-free")) is None


def test_the_host_s_own_way_of_trusting_the_archive_is_kept() -> None:
    signed = "/usr/share/keyrings/debian-archive-keyring.gpg"
    added = text(f"deb [signed-by={signed} arch=amd64] http://mirror.corp/os trixie main")
    assert f"Architectures: amd64\nSigned-By: {signed}\n" in added


@pytest.mark.parametrize(
    "line",
    [
        "deb [signed-by=/usr/share/keyrings/other.gpg] https://pkgs.example/stable/debian trixie main",
        "deb https://packages.example/apt trixie main",
        f"deb {DEBIAN} trixie contrib",
    ],
)
def test_other_repositories_are_left_alone(line: str) -> None:
    assert extension(described(line)) is None


def test_what_ingot_wrote_itself_does_not_count() -> None:
    own = described(f"deb {DEBIAN} trixie contrib non-free non-free-firmware", file=PATH)
    assert extension((*described(f"deb {DEBIAN} trixie main"), *own)) == extension(
        described(f"deb {DEBIAN} trixie main")
    )


def test_it_is_one_step_of_the_packages_plan_without_a_key() -> None:
    more = Extension("debian", "Types: deb\n")
    (line,) = compare(AptLook({}), (), (more,)).lines
    assert line.split("\t")[:4] == ["source", "debian", "-", "-"]
    written = hashlib.sha256(more.text.encode()).hexdigest()
    assert compare(AptLook({}, digests={more.path: written}), (), (more,)).lines == ()
