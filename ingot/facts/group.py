"""A host of a group: its way to the other hosts, and what its supervisor says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts import sections
from ingot.facts.engine import STATE, UNIT
from ingot.facts.probe import lines_of

#: What the supervisor of a host is told: there where the host is of a group.
SETTINGS = "/etc/ingot/engine/group.json"
#: Interfaces of containers and virtual machines: no other host is reached by them.
_VIRTUAL = ("docker", "br-", "veth", "virbr", "lo")
#: Longer than a packet takes, and than it is sent again, seconds.
CONNECT_S = 6


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface with its IPv4 addresses; `speed_bits` per second, None where it does not say."""

    name: str
    addresses: tuple[str, ...]
    mtu: int
    speed_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """The interfaces of a host, by which of them each peer is reached, and why a peer is not."""

    interfaces: tuple[Interface, ...] = ()
    ways: Mapping[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


class GroupLinks(FactBase[Links]):
    """How a host reaches its peers (IPv4 addresses): a TCP port of theirs that answers or refuses is reached."""

    def command(self, peers: Sequence[str], port: int) -> str:
        named = " ".join(map(shlex.quote, peers))
        return sections.compose(
            {
                "addresses": "ip -j -4 addr show up scope global",
                "ways": f"for p in {named}; do ip -j route get $p; echo; done",
                "reach": (
                    f't=$(mktemp); for p in {named}; do timeout {CONNECT_S} bash -c "</dev/tcp/$p/{port}" 2>$t; '
                    "if [ $? = 124 ] || grep -qi 'unreachable\\|no route\\|timed out' $t; then echo $p; fi; done; "
                    "rm -f $t"
                ),
                "speeds": 'for d in /sys/class/net/*; do echo "${d##*/} $(cat $d/speed 2>/dev/null || echo -1)"; done',
            }
        )

    @staticmethod
    def default() -> Links:
        return Links()

    def process(self, output: list[str]) -> Links:
        return parse_links(output)


def parse_links(output: Iterable[str]) -> Links:
    """The answer of `GroupLinks`."""
    found = sections.split(output)
    speeds = dict(line.split()[:2] for line in lines_of(found, "speeds") if len(line.split()) >= 2)

    def interface(one: Mapping[str, Any]) -> Interface:
        name, speed = str(one["ifname"]), int(speeds.get(str(one["ifname"]), -1))
        addresses = tuple(str(info["local"]) for info in one.get("addr_info", ()))
        return Interface(name, addresses, int(one["mtu"]), speed * 1_000_000 if 0 < speed < 0xFFFFFFFF else None)

    listed = _json(found["addresses"].output) if "addresses" in found else []
    ways = [way for line in lines_of(found, "ways") for way in _json(line)]
    return Links(
        tuple(interface(one) for one in listed if not str(one["ifname"]).startswith(_VIRTUAL)),
        {str(way["dst"]): str(way.get("dev", "")) for way in ways if "dst" in way},
        tuple(lines_of(found, "reach")),
    )


@dataclass(frozen=True, slots=True)
class Supervised:
    """What a host's supervisor was told and says: `settings` as they lie there, `key` its digest (sha256).

    `needs_reload`: its unit is another than systemd knows.
    """

    active: bool = False
    needs_reload: bool = False
    settings: str = ""
    key: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)

    def serves(self, digest: str) -> bool:
        """Whether its group, of this digest, has answered since it started last."""
        return bool(self.active and self.state.get("digest") == digest and self.state.get("answered"))


class GroupSupervised(FactBase[Supervised]):
    """What the supervisor of a host was told, and what it says; `settings` and `key` are the paths of its files."""

    def command(self, settings: str, key: str, state: str) -> str:
        return sections.compose(
            {
                "active": f"systemctl is-active {UNIT}",
                "reload": f"systemctl show --value -p NeedDaemonReload {UNIT}",
                "settings": f"cat {settings}",
                "key": f"sha256sum {key} | cut -c 1-64",
                "state": f"cat {STATE}/{state}",
            }
        )

    @staticmethod
    def default() -> Supervised:
        return Supervised()

    def process(self, output: list[str]) -> Supervised:
        return parse_supervised(output)


def parse_supervised(output: Iterable[str]) -> Supervised:
    """The answer of `GroupSupervised`."""
    found = sections.split(output)

    def said(name: str) -> str:
        one = found.get(name)
        return one.output.strip() if one and one.status == 0 else ""

    state = _json(said("state")) if said("state") else {}
    return Supervised(
        said("active") == "active",
        said("reload") == "yes",
        said("settings"),
        said("key"),
        state if isinstance(state, dict) else {},
    )


class GroupLog(FactBase[list[str]]):
    """The last words of an engine, as its supervisor kept them in the file `path`."""

    def command(self, path: str) -> str:
        return f"tail -n 25 {path} 2>/dev/null | cut -c 1-300; true"

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return output


class GroupLast(FactBase[tuple[str, str] | None]):
    """The Compose file and the supervisor's settings that were good last, in `directory`; None: there are none."""

    def command(self, directory: str) -> str:
        return sections.compose({"compose": f"cat {directory}/compose.yaml", "settings": f"cat {directory}/group.json"})

    @staticmethod
    def default() -> tuple[str, str] | None:
        return None

    def process(self, output: list[str]) -> tuple[str, str] | None:
        found = sections.split(output)
        both = [found[name] for name in ("compose", "settings") if name in found]
        if len(both) < 2 or any(one.status for one in both):
            return None
        return both[0].output + "\n", both[1].output + "\n"


def hosts_of(settings: str) -> tuple[str, ...]:
    """The names of the hosts of a group, the head first, out of what a supervisor is told; none where that is torn."""
    told = _json(settings)
    return tuple(map(str, told["hosts"])) if isinstance(told, dict) and isinstance(told.get("hosts"), dict) else ()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return []
