"""The distribution's own archive of a site: described by Ingot, and the host's own descriptions of it switched off."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from ingot.facts.apt_sources import SourceFile
from ingot.facts.archive import Archive, ArchiveState
from ingot.facts.packages import DescribedSources
from ingot.operations.archive import PATH, compare, switched_off_files, text
from ingot.settings.sources import Archive as Value

SITE = Value(uri="https://mirror.site/{os}", security_uri="https://mirror.site/{os}-security", check_valid_until=False)
LIST = "/etc/apt/sources.list"
SOURCES = "/etc/apt/sources.list.d/debian.sources"
STANZA = (
    "Types: deb deb-src\nURIs: http://archive.example/debian\nSuites: trixie trixie-updates\n"
    "Components: main non-free-firmware\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
)


def look(*files: tuple[str, str], sha256: str = "", pending: tuple[str, ...] = ()) -> ArchiveState:
    described = DescribedSources(tuple(SourceFile(*one) for one in files), {}, "amd64", pending)
    return ArchiveState("debian", "trixie", described, sha256)


def edits(*files: tuple[str, str]) -> dict[str, str]:
    found = (line.split("\t") for line in compare(look(*files), SITE).lines)
    return {cells[2]: base64.b64decode(cells[4]).decode() for cells in found if cells[0] == "theirs"}


def read(tmp_path: Path, **files: str) -> str:
    """What apt itself makes of such files."""
    for name, content in files.items():
        (tmp_path / name.replace("_", ".")).write_text(content)
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={tmp_path}"]
    done = subprocess.run(["apt-get", "update", "--print-uris", *options], capture_output=True, text=True, check=True)
    return " ".join(line.split("'")[1] for line in done.stdout.splitlines())


def test_apt_reads_the_release_its_updates_and_security_updates(tmp_path: Path) -> None:
    found = read(tmp_path, ingot_sources=text(SITE, "debian", "trixie", "amd64"))
    suites = ("debian/dists/trixie", "debian/dists/trixie-updates", "debian-security/dists/trixie-security")
    assert {one.partition("Packages")[0] for one in found.split()} == {
        f"https://mirror.site/{suite}/{what}"
        for suite in suites
        for what in ("InRelease", "main/binary-amd64/", "main/binary-all/")
    }, "and neither translations nor further components"


def test_one_address_has_all_suites_and_dates_are_checked_by_default() -> None:
    said = text(Value(uri="http://mirror.site/apt"), "ubuntu", "noble", "arm64")
    assert "Suites: noble noble-updates noble-security\n" in said and said.count("Types:") == 1
    assert "Check-Valid-Until" not in said and "ubuntu-archive-keyring" in said
    assert "Components: main restricted universe\n" in said


def test_what_the_host_describes_of_it_is_switched_off_and_nothing_else(tmp_path: Path) -> None:
    other = "deb [signed-by=/etc/apt/keyrings/x.gpg] https://packages.example/debian trixie main\n"
    vendor = "deb https://download.example.com/repos/debian trixie main\n"
    line = "deb http://archive.example/debian trixie main\n"
    found = edits((SOURCES, STANZA), (LIST, line + other + vendor))
    assert found[SOURCES].startswith(f"# Changed by Ingot, see {PATH}.\n") and "Enabled: no\n" in found[SOURCES]
    assert found[LIST] == f"# Switched off by Ingot, see {PATH}: {line}{other}{vendor}"
    assert read(tmp_path, debian_sources=found[SOURCES]) == ""


@pytest.mark.parametrize(
    "description",
    [
        STANZA.replace("trixie", "bookworm"),
        STANZA.replace("debian-archive-keyring", "other"),
        STANZA + "Enabled: no\n",
    ],
)
def test_another_release_another_key_and_what_is_off_stay(description: str) -> None:
    assert edits((SOURCES, description)) == {}
    assert switched_off_files(look((SOURCES, description)), SITE) == []


def test_ingots_own_description_of_another_archive_goes() -> None:
    path = "/etc/apt/sources.list.d/ingot-debian.sources"
    change = compare(look((path, "# Written by Ingot.\n" + STANZA)), SITE)
    assert f"stale\tdistribution\t{path}" in change.lines and not any(
        line.startswith("theirs") for line in change.lines
    )


def test_a_second_run_does_nothing_and_one_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    said = text(SITE, "debian", "trixie", "amd64")
    there = tmp_path / "there"
    there.write_text(said)
    command = Archive().command(str(there))
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    sha256 = Archive().process(output.splitlines()).sha256
    assert compare(look((PATH, said), sha256=sha256), SITE).lines == ()
    assert compare(look((PATH, said), sha256=sha256, pending=("distribution",)), SITE).lines
    assert compare(look((PATH, said), (SOURCES, STANZA), sha256=sha256), SITE).lines


def test_without_a_value_the_hosts_own_sources_stay() -> None:
    assert compare(look((SOURCES, STANZA)), None).lines == ()
    assert switched_off_files(look((SOURCES, STANZA)), None) == []
