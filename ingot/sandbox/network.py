"""The test hosts' network: one bridge, one subnet, masquerading, and nothing left when it is taken down.

The bridge itself says whose it is (its alias holds the state directory) and how the kernel was set before, so
that sandboxes with other state directories get the next bridge, and a lost state directory loses nothing.
"""

import ipaddress
import json
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ingot.sandbox.commands import run, succeeds
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.state import locked

BRIDGES = 8
FIRST_SUBNET = ipaddress.IPv4Network("10.213.77.0/24")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
#: Each booted systemd takes about ten of these from one limit, which is 128 on most machines.
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES_WANTED = 1024
ROUTES = Path("/proc/net/route")
INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True)
class Network:
    """Bridge number `index` of this machine, owned by the sandbox in `owner`; kernel settings as they were before."""

    index: int
    owner: str
    forward_before: str
    inotify_before: str

    @property
    def bridge(self) -> str:
        """The interface's name, which is also its nft table's."""
        return f"ingot{self.index}"

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The hosts' addresses: 10.213.77.0/24, and the ones after it for further sandboxes."""
        step = self.index * FIRST_SUBNET.num_addresses
        return ipaddress.IPv4Network((int(FIRST_SUBNET.network_address) + step, FIRST_SUBNET.prefixlen))

    @property
    def gateway(self) -> str:
        """The bridge's own address, the hosts' way out."""
        return str(self.subnet[1])

    def address(self, number: int) -> str:
        """The address of host `number`."""
        return str(self.subnet[number])

    @property
    def alias(self) -> str:
        """What the bridge says about itself."""
        return json.dumps({"sandbox": self.owner, "ip_forward": self.forward_before, "inotify": self.inotify_before})


def from_alias(index: int, alias: str) -> Network | None:
    """The network that a bridge's alias tells of; None for a bridge that is not ours."""
    try:
        said = json.loads(alias)
        return Network(index, said["sandbox"], forward_before=said["ip_forward"], inotify_before=said["inotify"])
    except (ValueError, KeyError, TypeError):
        return None


def existing() -> list[Network]:
    """Every sandbox network on this machine, whoever owns it."""
    found = (from_alias(index, alias) for index, alias in _aliases().items())
    return [network for network in found if network is not None]


def find(owner: Path) -> Network | None:
    """The network of the sandbox whose state directory is `owner`, if it is up."""
    return next((network for network in existing() if network.owner == str(owner)), None)


def _aliases() -> dict[int, str]:
    """What each bridge with one of our names says about itself, by number."""
    paths = {index: INTERFACES / f"ingot{index}" / "ifalias" for index in range(BRIDGES)}
    return {index: path.read_text().strip() for index, path in paths.items() if path.exists()}


def rules(network: Network) -> str:
    """The nft script that lets hosts reach what this machine reaches, whatever was there of it before."""
    return f"""table ip {network.bridge}
delete table ip {network.bridge}
table ip {network.bridge} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {network.subnet} ip daddr != {network.subnet} masquerade
  }}
}}
"""


def forward_rules(network: Network) -> list[list[str]]:
    """iptables rules for a machine that forwards nothing by default, as docker and ufw leave it."""
    return [["FORWARD", flag, network.bridge, "-j", "ACCEPT"] for flag in ("-i", "-o")]


def up(owner: Path) -> Network:
    """Make the owner's network, or complete one that was made in part."""
    with _machine_locked():
        network = find(owner) or _add_bridge(owner)
        address = f"{network.gateway}/{network.subnet.prefixlen}"
        run(["ip", "address", "replace", address, "dev", network.bridge])
        run(["ip", "link", "set", network.bridge, "up"])
        run(["nft", "-f", "-"], stdin=rules(network))
        if _forwards_nothing():
            for rule in forward_rules(network):
                if not succeeds(["iptables", "-w", "-C", *rule]):
                    run(["iptables", "-w", "-I", *rule])
        _set(IP_FORWARD, "1")
        # In a container this one is read-only; a few hosts can do without.
        with suppress(OSError):
            _set(INOTIFY_INSTANCES, str(max(int(INOTIFY_INSTANCES.read_text()), INOTIFY_INSTANCES_WANTED)))
    return network


def down(owner: Path) -> None:
    """Remove the owner's bridge, cables and rules; kernel settings go back as they were when the last one ends."""
    with _machine_locked():
        network = find(owner)
        if network is not None:
            _remove(network)
        # A bridge without an alias is what a killed `up` left: everyone who makes one holds the lock.
        for index in [index for index, alias in _aliases().items() if not alias]:
            _remove(_as_it_is(index, ""))


def _add_bridge(owner: Path) -> Network:
    others = existing()
    before = others[0] if others else _as_it_is(0, "")
    aliases = _aliases()
    for index in range(BRIDGES):
        network = replace(before, index=index, owner=str(owner))
        if is_taken(network.subnet, ROUTES.read_text(), network.bridge):
            continue
        if index not in aliases:
            run(["ip", "link", "add", network.bridge, "type", "bridge"])
        elif aliases[index]:
            continue
        run(["ip", "link", "set", network.bridge, "alias", network.alias])
        return network
    raise SandboxError(
        f"this machine has {BRIDGES} sandbox bridges (ingot0 … ingot{BRIDGES - 1}) or routes to their subnets, "
        f"{FIRST_SUBNET} and following: end a sandbox with `ingot sandbox down --all`"
    )


def is_taken(subnet: ipaddress.IPv4Network, routes: str, bridge: str) -> bool:
    """Whether /proc/net/route has others than `bridge` in the subnet: neighbours, or a route just as narrow."""
    for line in routes.splitlines()[1:]:
        interface, destination, gateway, _, _, _, _, mask = line.split()[:8]
        # The kernel prints addresses as the bytes lie in memory, on every machine we run on the low one first.
        address, netmask = (int.from_bytes(bytes.fromhex(word)[::-1], "big") for word in (destination, mask))
        route = ipaddress.IPv4Network((address, netmask.bit_count()))
        narrow = route.prefixlen >= subnet.prefixlen or (gateway == "00000000" and route.prefixlen > 0)
        if interface != bridge and narrow and route.overlaps(subnet):
            return True
    return False


def _as_it_is(index: int, owner: str) -> Network:
    return Network(index, owner, IP_FORWARD.read_text().strip(), INOTIFY_INSTANCES.read_text().strip())


def _remove(network: Network) -> None:
    """Remove the rules first and the bridge last: as long as it exists, the next call knows that something is left."""
    if succeeds(["nft", "list", "table", "ip", network.bridge]):
        run(["nft", "delete", "table", "ip", network.bridge])
    for rule in forward_rules(network):
        while shutil.which("iptables") and succeeds(["iptables", "-w", "-C", *rule]):
            run(["iptables", "-w", "-D", *rule])
    for port in (INTERFACES / network.bridge / "brif").iterdir():
        # The kernel is taking the cables of dead hosts away at the same time.
        succeeds(["ip", "link", "delete", port.name])
    if [other for other in existing() if other != network] == []:
        _set(IP_FORWARD, network.forward_before)
        _set(INOTIFY_INSTANCES, network.inotify_before)
    run(["ip", "link", "delete", network.bridge])


def _set(switch: Path, value: str) -> None:
    if switch.read_text().strip() != value:
        switch.write_text(f"{value}\n")


def _forwards_nothing() -> bool:
    """Whether iptables drops forwarded packets unless told otherwise."""
    return bool(shutil.which("iptables")) and "-P FORWARD DROP" in run(["iptables", "-w", "-S", "FORWARD"])


def _machine_locked() -> AbstractContextManager[int]:
    """One at a time on this machine: the very switch that sandboxes share is the lock."""
    return locked(IP_FORWARD)


def nameservers(*resolv_confs: str) -> list[str]:
    """IPv4 servers of the first resolv.conf that names one which a guest can reach (none on loopback)."""
    for text in resolv_confs:
        words = [line.split() for line in text.splitlines()]
        found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
        usable = [address for address in found if _reachable_from_guest(address)]
        if usable:
            return usable
    return []


def _reachable_from_guest(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.version == 4 and not parsed.is_loopback
