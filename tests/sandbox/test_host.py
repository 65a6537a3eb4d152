"""A test host keeps its promises."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from ingot.sandbox import CommandFailed, Sandbox, SandboxError, TestHost

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def host(shared: Sandbox) -> TestHost:
    return shared.up("gpu-01", profile="rtx4090x1")


def test_it_is_a_booted_debian(host: TestHost) -> None:
    assert host.succeeds("systemctl is-system-running") == "running\n"
    assert host.succeeds(". /etc/os-release; echo $VERSION_CODENAME; hostname; id -un") == "trixie\ngpu-01\nroot\n"


def test_it_reaches_what_the_machine_reaches(host: TestHost) -> None:
    host.succeeds("apt-get update --error-on=any", timeout_s=600)


def test_what_the_roles_install_is_in_its_archive_cache(host: TestHost) -> None:
    packages = "docker.io docker-cli docker-compose nginx libnginx-mod-http-js"
    plan = host.succeeds(f"apt-get install --yes --no-install-recommends --no-download --print-uris {packages}")
    assert "'http" not in plan


def test_docker_gets_a_plain_file_system(host: TestHost) -> None:
    assert host.succeeds("stat -f -c %T /") != host.succeeds("stat -f -c %T /var/lib/docker")


def test_the_mirror_is_there_and_cannot_be_written(host: TestHost) -> None:
    host.succeeds("test -e /srv/ingot-mirror/apt/ingot-sandbox.asc")
    assert "Read-only" in host.fails("touch /srv/ingot-mirror/x")


def test_it_has_the_hardware_of_its_profile(host: TestHost) -> None:
    assert "0x10de" in host.succeeds("cat /sys/bus/pci/devices/*/vendor")


def test_its_login_needs_the_pinned_key(host: TestHost, tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEhlcmUgaXMgYW5vdGhlciBrZXkgLi4uIDEyMw=="
    wrong = tmp_path / "wrong_known_hosts"
    wrong.write_text(f"{host.address} {key}\n")
    command = [word.replace(str(host.known_hosts_path), str(wrong)) for word in host.ssh_command("true")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 255
    assert subprocess.run(host.ssh_command("true"), capture_output=True, check=False).returncode == 0


def test_a_broken_promise_names_host_command_status_and_output(host: TestHost) -> None:
    with pytest.raises(CommandFailed, match="gpu-01: `echo no; exit 7` ended with status 7: no"):
        host.succeeds("echo no; exit 7")
    with pytest.raises(CommandFailed, match="gpu-01: `echo yes` succeeded, expected a failure: yes"):
        host.fails("echo yes")
    with pytest.raises(CommandFailed, match=r"gpu-01: `sleep 9` did not end within 0.5 s"):
        host.succeeds("sleep 9", timeout_s=0.5)


def test_a_file_is_put_with_its_mode(host: TestHost) -> None:
    host.put("/etc/ingot-test/a file", "one\ntwo", mode="0600")
    assert (
        host.succeeds("stat -c '%a %U' '/etc/ingot-test/a file'; cat '/etc/ingot-test/a file'") == "600 root\none\ntwo"
    )


def test_waits_end_with_what_they_wait_for(host: TestHost) -> None:
    host.succeeds("systemd-run --quiet --unit later sh -c 'sleep 0.5; touch /run/later; exec sleep 100'")
    host.wait_until_succeeds("test -e /run/later")
    host.wait_for_unit("later")
    host.wait_for_port(22)


def test_waits_have_a_limit(host: TestHost) -> None:
    with pytest.raises(CommandFailed, match=re.escape("`test -e /never` did not succeed within 0.5 s")):
        host.wait_until_succeeds("test -e /never", timeout_s=0.5)


def test_a_failed_unit_is_reported_at_once_with_its_journal(host: TestHost) -> None:
    host.fails("systemd-run --quiet --wait --unit broken sh -c 'echo why it broke; exit 1'")
    started = time.monotonic()
    with pytest.raises(SandboxError, match=r"gpu-01: unit broken.service is failed.*(?s:.*)why it broke"):
        host.wait_for_unit("broken.service", timeout_s=600)
    # Waiting to the end would take its limit.
    assert time.monotonic() - started < 300


def test_a_reboot_keeps_address_and_files_and_is_a_new_boot(host: TestHost) -> None:
    before = host.boot_id()
    host.put("/var/lib/kept", "kept")
    host.reboot()
    assert host.boot_id() != before
    assert host.succeeds("cat /var/lib/kept") == "kept"
    assert f" {host.address}/24" in host.succeeds("ip -4 address show host0")


def test_a_cut_cable_cuts_and_a_restored_one_restores(host: TestHost) -> None:
    host.cut_network()
    with pytest.raises(CommandFailed, match="ended with status 255"):
        host.succeeds("true")
    host.restore_network()
    host.wait_until_succeeds("true")


def test_power_loss_and_power_on(host: TestHost) -> None:
    before = host.boot_id()
    host.kill()
    assert not host.is_running
    host.start()
    assert host.boot_id() != before
    assert host.succeeds("systemctl is-system-running") == "running\n"


def test_hosts_reach_each_other_by_address(shared: Sandbox, host: TestHost) -> None:
    other = shared.up("gpu-02")
    other.succeeds(f"ping -c 1 -W 5 {host.address}")
    assert [one.name for one in shared.hosts()] == ["gpu-01", "gpu-02"]
    shared.down("gpu-02")
    assert [one.name for one in shared.hosts()] == ["gpu-01"]
