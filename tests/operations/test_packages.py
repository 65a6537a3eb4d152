"""packages: what differs from dpkg's and apt's own state, in the order in which it must happen."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

from ingot.facts.packages import Apt, AptLook, PackageState, parse_installed, parse_keyrings
from ingot.operations.package_source import Source
from ingot.operations.packages import RUN, SOURCES, Pin, compare

FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
DOCKER = Source(
    "docker", "https://download.docker.com/linux/debian", "trixie", "stable",
    "https://download.docker.com/linux/debian/gpg", "9DC8 5822 9FC7 DD38 854A  E2D8 8D81 803C 0EBF CD88", "amd64",
)  # fmt: skip
PIN = Pin("docker", ("docker-ce", "docker-ce-cli"), "version 5:29.*", 1001)
INSTALL = "--no-install-recommends --allow-downgrades --allow-change-held-packages"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def settled(**installed: str) -> AptLook:
    return AptLook(
        {name.replace("_", "-"): PackageState(version) for name, version in installed.items()},
        digests={DOCKER.path: sha(DOCKER.text), PIN.path: sha(PIN.text)},
        keyrings={DOCKER.keyring: (FINGERPRINT,)},
    )


def test_nothing_differs_nothing_happens():
    look = settled(docker_ce="5:29.0.1-1")
    plan = compare(look, ("docker-ce=5:29.*",), (DOCKER,), (PIN,))
    assert plan.lines == () and plan.sentences == ()


def test_a_bare_host_gets_pin_source_packages_and_hold_in_this_order():
    plan = compare(AptLook({}), ("docker-ce=5:29.0.1-1", "jq"), (DOCKER,), (PIN,), holds=("docker-ce",))
    assert [line.split("\t")[0] for line in plan.lines] == ["file", "source", "removable", "install", "hold"]
    assert plan.lines[3] == f"install\t{INSTALL}\tdocker-ce=5:29.0.1-1 jq"
    assert plan.sentences[1] == (
        f"add package source docker (https://download.docker.com/linux/debian, key {FINGERPRINT})"
    )


def test_a_source_is_written_as_deb822_with_its_own_keyring():
    assert DOCKER.text == (
        "# Written by Ingot.\nTypes: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\n"
        "Components: stable\nArchitectures: amd64\nSigned-By: /etc/apt/keyrings/ingot-docker.gpg\n"
    )
    line = compare(AptLook({}), (), (DOCKER,)).lines[0].split("\t")
    assert line[1:4] == ["docker", "https://download.docker.com/linux/debian/gpg", FINGERPRINT]
    assert base64.b64decode(line[4]).decode() == DOCKER.text


def test_a_flat_repository_has_no_components():
    flat = Source("cuda", "file:/srv/mirror", "./", (), "file:/srv/key", FINGERPRINT)
    assert "Components" not in flat.text


def test_another_key_in_the_keyring_means_fetching_it_again():
    look = settled()
    tampered = AptLook(look.installed, digests=look.digests, keyrings={DOCKER.keyring: (FINGERPRINT, "F" * 40)})
    gone = AptLook(look.installed, digests=look.digests, keyrings={DOCKER.keyring: ()})
    for found in (tampered, gone):
        assert compare(found, (), (DOCKER,)).lines[0].startswith("source\tdocker")


def test_another_version_is_installed_and_an_equal_one_left():
    plan = compare(settled(docker_ce="5:28.5.2-1"), ("docker-ce=5:29.*",))
    assert plan.lines[-1] == f"install\t{INSTALL}\tdocker-ce=5:29.*"
    assert plan.sentences == ("change docker-ce from 5:28.5.2-1 to 5:29.*",)


def test_only_what_is_named_absent_may_be_removed():
    look = settled(docker_io="26.1", docker_doc="26.1")
    plan = compare(look, ("docker-ce",), absent=("docker.io", "docker-i*", "podman"))
    assert plan.lines == ("removable\tdocker-io", f"install\t{INSTALL}\tdocker-ce docker-io-")


def test_a_half_configured_package_is_finished_first():
    plan = compare(AptLook({}, broken=("nvidia-dkms-580",)), ("jq",))
    assert plan.lines[0] == "configure"
    assert plan.sentences[0] == "finish configuring nvidia-dkms-580, left half installed"


def test_a_held_package_is_not_held_again():
    look = AptLook({"a": PackageState("1", held=True), "b": PackageState("1")})
    assert compare(look, (), holds=("a", "b")).lines == ("hold\tb",)


def test_what_changes_its_version_is_held_again_since_apt_lifts_the_hold_of_what_it_changes():
    look = AptLook({"a": PackageState("1", held=True), "b": PackageState("1", held=True)})
    assert compare(look, ("a=2",), holds=("a", "b")).lines[-1] == "hold\ta b"
    assert compare(look, ("a=1",), holds=("a", "b")).lines == ()


def test_what_changes_along_is_only_asked_for_with_something_else():
    look = AptLook({"kernel": PackageState("1"), "modules": PackageState("1")})
    assert compare(look, ("modules",), along=("kernel",)).lines == ()
    plan = compare(AptLook({"kernel": PackageState("1")}), ("modules",), along=("kernel",))
    assert plan.lines[-1] == f"install\t{INSTALL}\tmodules kernel"
    assert plan.sentences == ("install modules", "bring kernel to its newest version")


def test_what_may_give_way_is_removable_and_not_asked_to_go():
    look = AptLook({"old-modules": PackageState("1")})
    assert compare(look, ("driver",), yields=("old-modules",)).lines == (
        "removable\told-modules",
        f"install\t{INSTALL}\tdriver",
    )


def test_dpkg_states_are_read():
    assert parse_installed("ii \tcurl\t8.14\nhi \tdocker-ce\t5:29\nrc \told\t1\nun \tnever\t\n") == {
        "curl": PackageState("8.14"),
        "docker-ce": PackageState("5:29", held=True),
    }


def test_only_primary_keys_count():
    listing = (
        "keyring /etc/apt/keyrings/ingot-a.gpg\npub:-:4096:1:8D81803C0EBFCD88:1487788586:::-:::scSC::::::23::0:\n"
        f"fpr:::::::::{FINGERPRINT}:\nuid:-::::1487792064::AA::Docker::::::::::0:\nsub:-:4096:1:7EA0A9C3F273FCD8:\n"
        f"fpr:::::::::{'D' * 40}:\nkeyring /etc/apt/keyrings/ingot-b.gpg\n"
    )
    assert parse_keyrings(listing) == {
        "/etc/apt/keyrings/ingot-a.gpg": (FINGERPRINT,),
        "/etc/apt/keyrings/ingot-b.gpg": (),
    }


def test_one_command_answers_for_packages_files_and_keyrings():
    lines = (
        "@@ingot-begin broken\nnvidia-dkms-580\n\n@@ingot-end broken 0\n"
        "@@ingot-begin installed\nii \tcurl\t8\n\n@@ingot-end installed 1\n"
        f"@@ingot-begin digests\n{'a' * 64}  /etc/apt/preferences.d/ingot-x\n\n@@ingot-end digests 0\n"
    ).splitlines()
    assert Apt().process(lines) == AptLook(
        {"curl": PackageState("8")}, ("nvidia-dkms-580",), {"/etc/apt/preferences.d/ingot-x": "a" * 64}, {}
    )


def test_what_was_here_before_ingot_is_written_once(tmp_path: Path) -> None:
    """Before the first change; whatever Ingot installs afterwards does not come to it."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/dpkg-query"
    (tmp_path / "plan").write_text("host\tgpu-01\n")
    (tmp_path / "sources.sh").write_text(SOURCES)
    (tmp_path / "before").write_text(f"{tmp_path}/state/before")
    script = RUN.replace("PATH=/usr", f"PATH={tmp_path}/bin:/usr").replace("/var/lib/", f"{tmp_path}/")
    (tmp_path / "docker").mkdir()
    (tmp_path / "containerd/io.containerd").mkdir(parents=True)
    for states in (r"ii \tcurl\nhi \tnvidia-driver\nrc \told\nun \tnever\niU \thalf\n", r"ii \tdocker-ce\n"):
        tool.write_text(f"#!/bin/sh\nprintf '{states}'\n")
        tool.chmod(0o755)
        subprocess.run(["sh", "-c", script, "sh", tmp_path, tmp_path / "log"], check=True, timeout=180)
        kept = (tmp_path / "state/before").read_text()
        assert kept == f"curl\nnvidia-driver\nhalf\n{tmp_path}/containerd\n"
