"""What a machine must have to boot test hosts, and getting what is merely not installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ingot.sandbox.commands import succeeds
from ingot.sandbox.errors import SandboxError

# Debian package by the file that shows it is there.
PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
INSTALL_LIMIT_S = 900


def check() -> None:
    """Raise SandboxError, one sentence, on a machine that cannot boot test hosts."""
    if sys.platform != "linux":
        raise SandboxError(f"test hosts need Linux, this is {sys.platform}: run it on a Debian or Ubuntu machine")
    if os.geteuid() != 0:
        raise SandboxError("test hosts need root (namespaces, mounts, a bridge): run it as root or with sudo")
    if not succeeds(["unshare", "--mount", "--pid", "--net", "--fork", "true"]):
        raise SandboxError(
            "this machine forbids namespaces (an unprivileged container?): use a machine or VM where root may "
            "run `unshare --mount --pid --net true`"
        )


def missing() -> list[str]:
    """Debian packages that are not installed yet."""
    return [
        package
        for needed, package in PACKAGES.items()
        if not (Path(needed).exists() if needed.startswith("/") else shutil.which(needed))
    ]


def install(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get."""
    packages = missing()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise SandboxError(f"test hosts need {', '.join(packages)}, and this machine has no apt-get to install them")
    say(f"installing {', '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-q", "--yes", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(
            argv, check=False, env=environment, capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
        if done.returncode != 0:
            raise SandboxError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-500:]}")
