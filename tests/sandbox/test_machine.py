"""How a host is booted, as the command that boots it says."""

from pathlib import Path

import pytest

from ingot.sandbox import machine
from ingot.sandbox.errors import CommandFailed
from ingot.sandbox.guest import files
from ingot.sandbox.machine import link, nspawn_command, supervisor_script
from ingot.sandbox.network import Network
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import HostRecord

PATHS = Paths(cache=Path("/cache"), state=Path("/my state"))
NETWORK = Network(index=7, owner="/my state", forward_before="0", inotify_before="128")
RECORD = HostRecord("gpu-01", 250, "10.213.84.250", "none", "debian13", "debian13-0123", made=True)


def test_the_cable_of_the_last_host_of_the_last_network_has_a_legal_name() -> None:
    assert link(NETWORK, RECORD) == "vb-ingot7-250"
    assert len(link(NETWORK, RECORD)) <= 15


@pytest.mark.parametrize("gone", [True, False], ids=["the kernel was first", "it stays"])
def test_a_cable_that_the_kernel_takes_away_at_this_moment_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    cable = tmp_path / link(NETWORK, RECORD)
    cable.mkdir()

    def delete(command: list[str]) -> str:
        if gone:
            cable.rmdir()
        raise CommandFailed(f"{command} ended with status 1")

    monkeypatch.setattr(machine, "INTERFACES", tmp_path)
    monkeypatch.setattr(machine, "run", delete)
    if gone:
        machine._free_cable(cable.name)
    else:
        with pytest.raises(CommandFailed):
            machine._free_cable(cable.name)


def test_docker_has_a_plain_directory_and_the_mirror_is_read_only() -> None:
    command = nspawn_command(PATHS, NETWORK, RECORD)
    assert "--bind=/my state/hosts/gpu-01/docker:/var/lib/docker" in command
    assert "--bind-ro=/cache/mirror:/srv/ingot-mirror" in command


def test_the_supervisor_boots_again_only_when_the_guest_asked_for_it() -> None:
    script = supervisor_script(PATHS, NETWORK, RECORD)
    overlay = next(line for line in script.splitlines() if "overlay" in line)
    assert "lowerdir=/cache/images/debian13-0123,upperdir='/my state/hosts/gpu-01'/upper" in overlay
    assert "[ $status = 133 ] || break" in script


def test_a_host_has_its_own_name_address_and_resolver() -> None:
    made = files(NETWORK, RECORD, ["192.0.2.53"], mtu=1400)
    assert made["etc/hostname"] == "gpu-01\n"
    assert made["etc/resolv.conf"] == "nameserver 192.0.2.53\n"
    assert (
        made["etc/systemd/network/10-host0.network"]
        == """[Match]
Name=host0

[Link]
MTUBytes=1400

[Network]
Address=10.213.84.250/24
Gateway=10.213.84.1
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
    )
    assert len(made["etc/machine-id"].strip()) == 32
