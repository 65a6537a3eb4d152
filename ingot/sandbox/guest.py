"""The files that make a clone of an image one host: its name, address, keys and hardware."""

import os
import uuid
from pathlib import Path

from ingot.sandbox import simulated
from ingot.sandbox.commands import run
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.image import USER, USER_ID
from ingot.sandbox.network import Network, nameservers
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import HostRecord, write_file

RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def files(network: Network, record: HostRecord, servers: list[str], mtu: int) -> dict[str, str]:
    """What every host has of its own, by path."""
    return {
        "etc/hostname": f"{record.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {record.name}\n",
        "etc/machine-id": uuid.uuid5(uuid.NAMESPACE_DNS, f"{network.owner}/{record.name}").hex + "\n",
        "etc/resolv.conf": "".join(f"nameserver {server}\n" for server in servers),
        "etc/systemd/network/10-host0.network": (
            "[Match]\nName=host0\n\n"
            f"[Link]\nMTUBytes={mtu}\n\n"
            f"[Network]\nAddress={record.address}/{network.subnet.prefixlen}\nGateway={network.gateway}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        ),
    }


def install(paths: Paths, network: Network, record: HostRecord) -> None:
    """Write a host's own files and simulated hardware into its (empty) upper directory."""
    host = paths.host(record.name)
    upper = host / "upper"
    servers = nameservers(*(path.read_text() for path in RESOLV_CONFS if path.exists()))
    if not servers:
        raise SandboxError(
            "this machine's DNS servers (/etc/resolv.conf) are all on loopback, where a test host cannot reach "
            "them: name another one there"
        )
    for name, text in files(network, record, servers, uplink_mtu()).items():
        write_file(upper / name, text)
    _install_keys(paths, host, upper, record)
    simulated.install(upper, record.profile, os.uname().release)


def _install_keys(paths: Paths, host: Path, upper: Path, record: HostRecord) -> None:
    key = upper / "etc/ssh/ssh_host_ed25519_key"
    key.parent.mkdir(parents=True, exist_ok=True)
    make_key(key, comment=record.name)
    public = key.with_suffix(".pub").read_text().split()[:2]
    write_file(host / "known_hosts", f"{record.address} {' '.join(public)}\n")
    home = upper / "home" / USER
    write_file(home / ".ssh/authorized_keys", paths.key.with_suffix(".pub").read_text(), 0o600, USER_ID)
    for directory in (home, home / ".ssh"):
        directory.chmod(0o700)
        os.chown(directory, USER_ID, USER_ID)


def make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair without a passphrase."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def uplink_mtu() -> int:
    """The MTU of this machine's default route: guests must not send larger packets than it passes."""
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    uplinks = [fields[0] for line in routes if (fields := line.split())[1] == "00000000"]
    mtus = [int(Path(f"/sys/class/net/{name}/mtu").read_text()) for name in uplinks]
    return min([1500, *mtus])
