"""What decides which root file system a host stands on."""

from dataclasses import replace
from pathlib import Path

import pytest

from ingot.sandbox.errors import SandboxError
from ingot.sandbox.image import (
    Mirror,
    Recipe,
    build_command,
    carried_apt_options,
    files,
    mirrors_from_index_targets,
    reason,
    recipe_for,
)

RECIPE = Recipe(
    os="debian13",
    mirrors=(Mirror("http://mirror.example/debian", ""), Mirror("http://mirror.example/security", "-security")),
    apt_options=('Acquire::http::Proxy "http://proxy.example:3128";',),
    certificates=(("site.crt", "PEM"),),
    base=("systemd", "sudo"),
    fetched=("docker.io",),
)


def test_mirrors_are_the_machines_own_sources_of_debian_whatever_its_suite() -> None:
    lines = [
        "Debian|bookworm|bookworm|http://mirror.example/debian/",
        "Debian|bookworm|bookworm|http://other.example/debian/",
        "Debian|bookworm-updates|bookworm-updates|http://mirror.example/debian/",
        "Debian|bookworm-backports|bookworm-backports|http://mirror.example/debian/",
        "Debian|bookworm-security|bookworm-security|http://mirror.example/debian-security/",
        "Docker|bookworm|bookworm|https://docker.example/linux/debian/",
    ]
    assert mirrors_from_index_targets(lines) == (
        Mirror("http://mirror.example/debian", ""),
        Mirror("http://mirror.example/debian-security", "-security"),
        Mirror("http://mirror.example/debian", "-updates"),
    )


def test_an_ubuntu_machine_leaves_the_mirror_to_mmdebstrap() -> None:
    mirrors = mirrors_from_index_targets(["Ubuntu|noble|noble|http://mirror.example/ubuntu/"])
    assert replace(RECIPE, mirrors=mirrors).sources == []


def test_the_suite_is_translated() -> None:
    assert RECIPE.sources == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/security trixie-security main",
    ]


def test_apt_options_that_lead_to_the_mirror_are_carried_and_no_others() -> None:
    dump = """\
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Verify-Peer "true";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
DPkg::Post-Invoke:: "true";
"""
    assert carried_apt_options(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https::Verify-Peer "true";',
        'Acquire::Check-Valid-Until "false";',
    )


@pytest.mark.parametrize(
    "change",
    [
        {"os": "debian12"},
        {"mirrors": ()},
        {"apt_options": ()},
        {"certificates": (("site.crt", "other"),)},
        {"base": ("systemd",)},
        {"fetched": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_changes_with_everything_that_goes_in(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).key != RECIPE.key


def test_the_key_is_the_same_for_the_same() -> None:
    assert replace(RECIPE).key == RECIPE.key


def test_a_build_ends_with_its_caller_and_keeps_its_mounts_to_itself() -> None:
    command = build_command(RECIPE, Path("/images/root"), Path("/images/work"))
    assert command[: command.index("mmdebstrap")] == [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    assert command[-4:] == ["trixie", "/images/root", *RECIPE.sources]


def test_only_newer_sshd_is_told_not_to_punish() -> None:
    sshd = "etc/ssh/sshd_config.d/ingot.conf"
    assert "PerSourcePenalties no" in files(RECIPE)[sshd]
    assert "PerSourcePenalties" not in files(replace(RECIPE, os="debian12"))[sshd]


def test_a_failed_build_is_explained_by_its_first_error() -> None:
    output = "I: running\nE: Failed to fetch x  Temporary failure\nE: setup failed\nE: mmdebstrap failed to run\n"
    assert reason(output) == "E: Failed to fetch x  Temporary failure"
    assert reason("no space left on device\n") == "no space left on device"


def test_an_unknown_os_is_refused_with_what_there_is() -> None:
    with pytest.raises(SandboxError, match="there is no test host with 'debian11': choose one of debian13, debian12"):
        recipe_for("debian11")
