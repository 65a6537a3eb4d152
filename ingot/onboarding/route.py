"""The way to a server: its address, and the jump hosts in between."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import Any

from paramiko import SSHConfig, SSHException

from ingot.errors import IngotError

DEFAULT_PORT = 22

_HOP = re.compile(r"^(?:([^@\s]+)@)?(\[[0-9a-fA-F:.]+\]|[^:\s@]+)(?::([0-9]{1,5}))?$")
_IPV6 = re.compile(r"^(?:([^@\s]+)@)?([0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*)$")


@dataclass(frozen=True, slots=True)
class Hop:
    """One SSH server on the way. `known_hosts` and `identity` come from an ssh_config and may be absent."""

    address: str
    port: int = DEFAULT_PORT
    user: str | None = None
    identity: Path | None = None
    known_hosts: Path | None = None

    @property
    def label(self) -> str:
        """How a sentence names it: `10.0.0.17 port 22`."""
        return f"{self.address} port {self.port}"

    @property
    def spelled(self) -> str:
        """As `ProxyJump` writes it: `ops@bastion:2222`."""
        address = f"[{self.address}]" if ":" in self.address and self.port != DEFAULT_PORT else self.address
        port = f":{self.port}" if self.port != DEFAULT_PORT else ""
        return f"{self.user}@{address}{port}" if self.user else f"{address}{port}"


@dataclass(frozen=True, slots=True)
class Route:
    """A server and the hosts to jump through, in order. `ssh_config`: the file that the way was read from.

    `address` is what the inventory shall say: the name that the ssh_config knows it by, else the target's address.
    """

    target: Hop
    address: str
    jumps: tuple[Hop, ...] = ()
    ssh_config: Path | None = None


def parse_hop(text: str, name: str, *, needs_user: bool = True) -> Hop:
    """`user@host:port`, of which the port may be left out, and in an ssh_config the user.

    Raises: IngotError naming the host that is onboarded.
    """
    match = _HOP.match(text) or _IPV6.match(text)
    if not match:
        raise IngotError(f"{name}: {text!r} is no jump host, expected user@host or user@host:port; correct it.")
    if needs_user and not match.group(1):
        raise IngotError(f"{name}: jump host {text!r} has no user, expected user@host or user@host:port; add it.")
    groups = (*match.groups(), None)[:3]
    port = int(groups[2] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise IngotError(f"{name}: port {port} of jump host {text!r} does not exist, expected 1 to 65535; correct it.")
    return Hop(str(groups[1]).strip("[]"), port, groups[0])


def route(
    name: str, address: str, *, user: str | None, port: int | None, jump: str | None, ssh_config: Path | None
) -> Route:
    """The way to a server, from what the command line says and, where it is silent, an ssh_config.

    Raises: IngotError, one sentence naming the host.
    """
    if jump and ssh_config:
        raise IngotError(f"{name}: a jump host and an ssh_config name two ways; give one of them.")
    if ssh_config:
        return _from_config(name, address, user, port, ssh_config)
    jumps = tuple(parse_hop(part.strip(), name) for part in jump.split(",")) if jump else ()
    if any(hop.address == address for hop in jumps):
        # Later runs look the way up by address.
        raise IngotError(f"{name}: the jump host has the server's own address {address}; give one of them by a name.")
    return Route(Hop(address, port or DEFAULT_PORT, user), address, jumps)


def _from_config(name: str, address: str, user: str | None, port: int | None, path: Path) -> Route:
    try:
        config = SSHConfig.from_path(str(path.expanduser()))
        found = dict(config.lookup(address))
        if found.get("proxycommand"):
            raise IngotError(
                f"{name}: {path} reaches {address} by ProxyCommand, expected ProxyJump; write it as a ProxyJump."
            )
        jumps = []
        for part in str(found.get("proxyjump") or "").split(","):
            if part.strip() and part.strip() != "none":
                hop = parse_hop(part.strip(), name, needs_user=False)
                found_hop = _hop(dict(config.lookup(hop.address)), hop.user, hop.port)
                jumps.append(replace(found_hop, user=found_hop.user or getuser()))
        return Route(_hop(found, user, port), address, tuple(jumps), path)
    except OSError as error:
        raise IngotError(f"{name}: {path} cannot be read ({error.strerror}); name an ssh_config file.") from None
    except (SSHException, ValueError) as error:
        raise IngotError(f"{name}: {path} is no ssh_config ({error}); correct it.") from None


def _hop(found: Mapping[str, Any], user: str | None, port: int | None) -> Hop:
    """One host's block; what the command line says comes first."""
    identities = [Path(one).expanduser() for one in found.get("identityfile", ())]
    known_hosts = str(found.get("userknownhostsfile") or "~/.ssh/known_hosts").split()[0]
    return Hop(
        address=str(found["hostname"]),
        port=port if port not in (None, DEFAULT_PORT) else int(found.get("port", DEFAULT_PORT)),
        user=user or found.get("user"),
        identity=next((path for path in identities if path.is_file()), None),
        known_hosts=Path(known_hosts).expanduser(),
    )
