"""What a test host cannot do to the machine it runs on, and what it still can within itself."""

import os
import time
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost, confinement

pytestmark = pytest.mark.e2e

DISK = Path("/").stat().st_dev
#: A new mount of /proc has none of the covers that systemd-nspawn lays over the first.
NEW_PROC = "mount -t proc proc /mnt; trap 'umount /mnt' EXIT; "


@pytest.fixture(scope="module")
def host(shared: Sandbox) -> TestHost:
    return shared.up("gpu-01")


def python(code: str) -> str:
    """A shell command that calls the C library: prints what the call returned and the error it left."""
    return f"python3 -c 'import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); {code}; " + (
        'print("returned", done, os.strerror(ctypes.get_errno()))\''
    )


@pytest.mark.parametrize(
    "command",
    [
        "date --set 2001-01-01",
        python("done = libc.adjtimex(b'\\1' + bytes(255))".replace("'", '"')),
        "insmod /etc/hostname",
        python("done = libc.iopl(3)"),
        python("done = libc.klogctl(3, bytes(9), 9)"),
        python("done = libc.acct(0)"),
        python('done = libc.swapoff(b"/none")'),
        f"mknod /root/disk b {os.major(DISK)} {os.minor(DISK)}",
        "mknod /root/memory c 1 1",
        "mknod /root/log c 1 11",
    ],
    ids=[
        "clock",
        "clock's rate",
        "modules",
        "ports",
        "kernel log",
        "accounting",
        "swap",
        "disk",
        "memory",
        "log device",
    ],
)
def test_what_reaches_the_machine_is_forbidden(host: TestHost, command: str) -> None:
    assert "not permitted" in host.run(command)[1]


def test_a_disk_that_is_there_cannot_be_read_either(host: TestHost) -> None:
    # As if the node had come with an archive: made from outside, where it may be made.
    node = host.paths.host(host.name) / "docker/disk"
    os.mknod(node, 0o666 | 0o060000, DISK if os.major(DISK) else os.makedev(7, 0))
    assert "not permitted" in host.fails("head --bytes 1 /var/lib/docker/disk")


def test_the_clock_of_the_machine_stays(host: TestHost) -> None:
    before = time.time() - time.monotonic()
    host.fails("date --set 2001-01-01")
    host.fails("hwclock --systohc || timedatectl set-time 2001-01-01")
    assert abs(time.time() - time.monotonic() - before) < 1


def test_settings_of_the_kernel_are_read_only_but_for_its_own_network(host: TestHost) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    assert host.succeeds(f"{NEW_PROC}cat /mnt/sys/kernel/core_pattern") == pattern
    host.fails(f"{NEW_PROC}printf %s '|/bin/false' >/mnt/sys/kernel/core_pattern")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    host.succeeds(f"{NEW_PROC}echo 7 >/mnt/sys/net/ipv4/ip_default_ttl")
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() != "7\n"


def test_it_shares_no_namespace_that_it_could_leave(host: TestHost) -> None:
    # Those of users and of clocks' offsets are the machine's: neither names anything beyond the host.
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    own = host.succeeds(f"readlink {' '.join(f'/proc/1/ns/{kind}' for kind in kinds)}").split()
    assert not {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds} & set(own)
    seen = host.succeeds("ps -e -o args=")
    assert "pytest" not in seen


def test_a_file_beside_its_own_cannot_be_opened_by_its_number(host: TestHost) -> None:
    # A handle of ext4's kind (1): the number of the root directory (2) on the file system that /var/lib/docker is on.
    code = (
        'handle = bytes([8, 0, 0, 0, 1, 0, 0, 0, 2]) + bytes(7); there = os.open("/var/lib/docker", 0); '
        "done = libc.open_by_handle_at(there, handle, 0)"
    )
    assert "returned -1 Operation not permitted" in host.succeeds(python(code))


def test_a_shifted_clock_is_seen_inside_alone(host: TestHost) -> None:
    host.shift_clock(-7200)
    try:
        assert -7260 < int(host.succeeds("date +%s")) - time.time() < -7140
    finally:
        host.shift_clock(0)
    assert abs(int(host.succeeds("date +%s")) - time.time()) < 60


def test_the_allowed_devices_are_those_that_mean_nothing_outside(host: TestHost) -> None:
    host.succeeds(
        "head --bytes 9 /dev/urandom >/dev/null; test -c /dev/net/tun; tty; script --quiet --command true /dev/null"
    )
    assert all(major in (1, 5, 10, *range(136, 144)) for major, _ in confinement.DEVICES)
