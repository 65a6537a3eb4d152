"""What a machine must have to boot test hosts, and getting what is merely not installed."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ingot.sandbox import machine
from ingot.sandbox.commands import run, succeeds
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.paths import Paths

# Debian package by the file that shows it is there.
PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "gpg": "gnupg",
    "gpg-agent": "gpg-agent",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
CPUINFO = Path("/proc/cpuinfo")
INSTALL_LIMIT_S = 900
#: A machine that has just booted updates itself first, and apt has one user at a time.
LOCK_LIMIT_S = 300


def check_root() -> None:
    """Raise SandboxError unless this is root on Linux."""
    if sys.platform != "linux":
        raise SandboxError(f"test hosts need Linux, this is {sys.platform}: run it on a Debian or Ubuntu machine")
    if os.geteuid() != 0:
        raise SandboxError("test hosts need root (namespaces, mounts, a bridge): run it as root or with sudo")


def check(paths: Paths) -> None:
    """Raise SandboxError, one sentence, on a machine that cannot boot test hosts."""
    check_root()
    if not succeeds(["unshare", "--mount", "--pid", "--net", "--fork", "true"]):
        raise SandboxError(
            "this machine forbids namespaces (an unprivileged container?): use a machine or VM where root may "
            "run `unshare --mount --pid --net true`"
        )
    if "\toverlay\n" not in Path("/proc/filesystems").read_text() and not succeeds(["modprobe", "overlay"]):
        raise SandboxError("this machine's kernel has no overlay file system: test hosts need one that has")
    machine.cgroup_root()
    kind = file_system(paths.state, Path("/proc/self/mountinfo").read_text())
    if kind == "overlay":
        raise SandboxError(
            f"{paths.state} lies on an overlay file system, where test hosts' disks cannot: "
            "set INGOT_SANDBOX_STATE to a directory on a plain one (ext4, xfs)"
        )


def check_processor() -> None:
    """Raise SandboxError where the engine image's programs cannot run: they are made for x86-64 with AVX2."""
    kind = platform.machine()
    if kind != "x86_64":
        raise SandboxError(
            f"the engine image is made of x86-64 packages and this machine is {kind}: "
            "use an x86-64 machine with AVX2 for test hosts"
        )
    cpuinfo = CPUINFO.read_text()
    if "avx2" not in cpuinfo.split():
        raise SandboxError(
            f"vLLM's CPU build needs AVX2 and this machine's processor ({processor(cpuinfo)}) has none, or its "
            "hypervisor hides it: use another machine, or give this one the host's processor model"
        )


def processor(cpuinfo: str) -> str:
    """The name of the processor, as /proc/cpuinfo tells it."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, "without a name")


def file_system(path: Path, mountinfo: str) -> str:
    """The type of the file system that `path` lies on, or will when it is made."""
    best, kind = Path("/"), ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        # The last line wins where one mount covers another.
        where = Path(before.split()[4].replace("\\040", " "))
        if path.is_relative_to(where) and where.is_relative_to(best):
            best, kind = where, after.split()[0]
    return kind


def missing() -> list[str]:
    """Debian packages that are not installed yet."""
    return [
        package
        for needed, package in PACKAGES.items()
        if not (Path(needed).exists() if needed.startswith("/") else shutil.which(needed))
    ]


def prepare(paths: Paths, say: Callable[[str], None]) -> None:
    """Have all that images of test hosts and engines are made with.

    Raises: SandboxError, one sentence, on a machine that cannot have it.
    """
    check(paths)
    check_processor()
    install(say)


def install(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get."""
    packages = missing()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise SandboxError(f"test hosts need {', '.join(packages)}, and this machine has no apt-get to install them")
    say(f"installing {', '.join(packages)}")
    try:
        _apt_get("update", "-q")
        _apt_get("install", "-q", "--yes", "--no-install-recommends", *packages)
    except CommandFailed as failed:
        raise SandboxError(
            f"{', '.join(packages)} could not be installed ({str(failed).splitlines()[-1]}): "
            "install them with apt-get, then run this again"
        ) from failed


def _apt_get(*words: str) -> None:
    """Run apt-get; while another one holds its locks, wait (apt itself waits for dpkg's lock only)."""
    argv = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_LIMIT_S}", *words]
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            run(argv, timeout_s=INSTALL_LIMIT_S)
            return
        except CommandFailed as failed:
            if "Could not get lock" not in str(failed) or time.monotonic() > deadline:
                raise
        time.sleep(2)
