"""Options of the command line, a row of the table, and what the inventory says become the request for one server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ingot.errors import IngotError
from ingot.inventory.fleet import load
from ingot.inventory.member_name import is_member_name
from ingot.onboarding import account, host_file, host_key, ssh_keys
from ingot.onboarding.request import Request
from ingot.onboarding.route import Route, route
from ingot.onboarding.servers import Server

#: The account that deploys use, unless a host file or the operator names another.
DEPLOY_USER = "ingot"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of every server."""

    inventory: Path
    user: str | None
    port: int | None
    jump: str | None
    ssh_config: Path | None
    ssh_key: Path | None
    fingerprint: str | None
    jump_fingerprint: str | None
    accept_new: bool
    deploy_user: str | None
    keys: tuple[Path, ...]
    harden: bool
    no_gpu: bool
    processor: bool
    wait: float
    dry: bool
    password: str | None = field(default=None, repr=False)
    sudo_password: str | None = field(default=None, repr=False)


def known_members(inventory: Path) -> Mapping[str, Mapping[str, Any]]:
    """The data of the hosts that an inventory has already; empty for one that waits for its first.

    Raises: IngotError when there is no such inventory, or one of its files is wrong.
    """
    if not inventory.is_file():
        raise IngotError(f"{inventory}: no such inventory file; run this in the checkout, or correct --inventory.")
    try:
        hosts = list(load(inventory).inventory)
    except IngotError:
        if any((inventory.parent / inventory.stem).glob("*.y*ml")):
            raise
        return {}
    return {host.name: host.data.dict() for host in hosts}  # type: ignore[no-untyped-call]


def request(asked: Options, server: Server, known: Mapping[str, Any]) -> Request:
    """One server's request: its row first, then the command line, then what the inventory says of it.

    Raises: IngotError, one sentence beginning with its name.
    """
    name = server.name
    try:
        if not is_member_name(name):
            raise IngotError(
                f"{name!r} is no host name, expected a-z, 0-9, '-' and '.', at most 63; choose another one."
            )
        address = server.address or str(known.get("ssh_hostname") or "")
        if not address:
            raise IngotError(f"no address, and {asked.inventory} has no such host; run `ingot onboard {name} ADDRESS`.")
        if "@" in address or any(character.isspace() for character in address):
            raise IngotError(f"{address!r} is no address, expected a name or an IP address; the user goes into --user.")
        # At a new address, the old way to reach the server does not count.
        known = known if address == known.get("ssh_hostname") else {}
        deploy_user = account.checked_name(asked.deploy_user or _deploy_user(asked.inventory, name, known))
        way = _way(asked, server, address, known)
        first_key = asked.ssh_key or way.target.identity or _path(known.get("ssh_key"))
        first_key = first_key.expanduser() if first_key else None
        installed = ssh_keys.operators(asked.keys, first_key)
        required = server.fingerprint or asked.fingerprint
        return Request(
            name=name,
            way=way,
            inventory=asked.inventory,
            keys=installed,
            identity=ssh_keys.proving(installed, first_key),
            deploy_user=deploy_user,
            first_key=first_key,
            password=asked.password,
            sudo_password=asked.sudo_password,
            fingerprint=host_key.fingerprint(required, name) if required else None,
            jump_fingerprint=host_key.fingerprint(asked.jump_fingerprint, name) if asked.jump_fingerprint else None,
            accept_new=asked.accept_new,
            harden=asked.harden,
            needs_gpu=not asked.no_gpu,
            on_processor=asked.processor,
            wait_s=asked.wait,
            dry=asked.dry,
        )
    except IngotError as error:
        sentence = str(error)
        raise IngotError(sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}") from None


def _deploy_user(inventory: Path, name: str, known: Mapping[str, Any]) -> str:
    """The user of its host file, where there is one that is not root."""
    user = known.get("ssh_user")
    has_file = host_file.path_of(inventory, name).is_file()
    return str(user) if has_file and user and user != "root" else DEPLOY_USER


def _way(asked: Options, server: Server, address: str, known: Mapping[str, Any]) -> Route:
    user = server.user or asked.user or known.get("ssh_user")
    jump, config = server.jump or asked.jump, server.ssh_config or asked.ssh_config
    if not jump and not config:
        config = _path(known.get("ssh_config_file"))
    port = server.port or asked.port or known.get("ssh_port")
    way = route(server.name, address, user=user, port=port, jump=jump, ssh_config=config)
    pinned = _path(known.get("ssh_known_hosts_file"))
    return replace(way, target=replace(way.target, known_hosts=pinned)) if pinned else way


def _path(value: object) -> Path | None:
    return Path(str(value)) if value else None
