"""The test hosts' network: one bridge, one subnet, masquerading, and nothing left when it is taken down.

The bridge itself says whose it is (its alias holds the state directory) and what `ip_forward` was before, so
that sandboxes with other state directories get the next bridge, and a lost state directory loses nothing.
"""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from ingot.sandbox.commands import run, succeeds
from ingot.sandbox.errors import SandboxError

BRIDGES = 8
FIRST_SUBNET = ipaddress.IPv4Network("10.213.77.0/24")
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True)
class Network:
    """Bridge number `index` of this machine, owned by the sandbox in `owner`."""

    index: int
    owner: str
    forward_before: str

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
        return json.dumps({"sandbox": self.owner, "ip_forward": self.forward_before})


def from_alias(index: int, alias: str) -> Network | None:
    """The network that a bridge's alias tells of; None for a bridge that is not ours."""
    try:
        said = json.loads(alias)
        return Network(index=index, owner=said["sandbox"], forward_before=said["ip_forward"])
    except (ValueError, KeyError, TypeError):
        return None


def existing() -> list[Network]:
    """Every sandbox network on this machine, whoever owns it."""
    found = []
    for index in range(BRIDGES):
        alias = INTERFACES / f"ingot{index}" / "ifalias"
        if alias.exists() and (network := from_alias(index, alias.read_text())) is not None:
            found.append(network)
    return found


def find(owner: Path) -> Network | None:
    """The network of the sandbox whose state directory is `owner`, if it is up."""
    return next((network for network in existing() if network.owner == str(owner)), None)


def rules(network: Network) -> str:
    """The nft table that lets hosts reach what this machine reaches."""
    return f"""table ip {network.bridge} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {network.subnet} ip daddr != {network.subnet} masquerade
  }}
}}
"""


def up(owner: Path) -> Network:
    """Make the owner's network, or make whole what is there of it."""
    others = existing()
    network = find(owner) or _add_bridge(owner, others)
    run(["ip", "address", "replace", f"{network.gateway}/{network.subnet.prefixlen}", "dev", network.bridge])
    run(["ip", "link", "set", network.bridge, "up"])
    run(["nft", "-f", "-"], stdin=f"table ip {network.bridge}\ndelete table ip {network.bridge}\n" + rules(network))
    IP_FORWARD.write_text("1\n")
    return network


def _add_bridge(owner: Path, others: list[Network]) -> Network:
    before = others[0].forward_before if others else IP_FORWARD.read_text().strip()
    for index in range(BRIDGES):
        network = Network(index, str(owner), before)
        if (INTERFACES / network.bridge).exists():
            continue
        run(["ip", "link", "add", network.bridge, "type", "bridge"])
        run(["ip", "link", "set", network.bridge, "alias", network.alias])
        return network
    raise SandboxError(
        f"this machine already has {BRIDGES} sandbox bridges (ingot0 … ingot{BRIDGES - 1}): "
        "end one with `ingot sandbox down --all`"
    )


def down(owner: Path) -> None:
    """Remove the owner's bridge and rules; forwarding goes back to what it was when the last sandbox ends."""
    network = find(owner)
    if network is None:
        return
    if succeeds(["nft", "list", "table", "ip", network.bridge]):
        run(["nft", "delete", "table", "ip", network.bridge])
    if existing() == [network]:
        IP_FORWARD.write_text(network.forward_before + "\n")
    run(["ip", "link", "delete", network.bridge])


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
