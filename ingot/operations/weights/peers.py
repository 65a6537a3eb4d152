"""Hosts of one fleet give each other their models, so that one copy comes from outside.

While some host of a run lacks weights, each host of it serves what it has over mutual TLS, with certificates of a day
by Ingot's CA. A file is asked of peers first; where none has it, one host fetches the model from outside, and the
others wait for that host file by file. If it dies, another one goes on. No peer is trusted: what it sends is proven as
is what any other source sends (models.sh).
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from secrets import token_hex

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host, state

from ingot.facts.models import SWARM_LIBRARY
from ingot.facts.packages import Apt
from ingot.operations import changes, detached, packages
from ingot.operations.bundle import pack
from ingot.operations.gateway import fronting
from ingot.operations.operation import operation
from ingot.operations.standing import standing
from ingot.secrets import keys, pki
from ingot.settings import Settings, of_host

SCRIPT = (files(__package__) / "peer.sh").read_text()
SERVER = (files(__package__) / "peer_on_host.py").read_text()
SWARM = (files(__package__) / "swarm_on_host.py").read_text()
INSTALL = (files(__package__) / "swarm_library.sh").read_text()
UNIT = "ingot-peer"
#: Where a host keeps certificate and key of the day, and what models.sh says of its work. Gone with the next boot.
HOME = "/run/ingot/peer"
#: How long a host serves after the last one that asked, seconds: a peer that waits asks every other second.
IDLE_S = 600
#: How long it counts that a server answered, seconds: plans made then are followed before it can have ended.
PROVEN_S = IDLE_S / 3
#: How long a run waits for that answer at most, seconds.
ANSWER_S = 120
_SHARING = "ingot_sharing_of_weights"
#: Until it answers, and no other program that has its port: so no host begins to fetch for itself because this is late.
_ANSWERS = (
    "command -v curl >/dev/null || exit 0; cd {home} && i=0; until curl -sq --noproxy '*' --max-time 2 -o /dev/null "
    "--cert peer.pem --cacert peer-ca.pem --connect-to {name}:{port}:127.0.0.1:{port} https://{name}:{port}/; do "
    'i=$((i + 1)); [ "$i" -lt 40 ] && systemctl is-active -q {unit} || {{ echo silent; exit 0; }}; sleep 0.5; done; '
    "echo answers"
)

Commands = Generator[PyinfraCommand, None, None]


@dataclass(frozen=True, slots=True)
class Peer:
    """A host that may have files: its place in the inventory, its name, and its address."""

    index: int
    name: str
    address: str


@dataclass(slots=True)
class Sharing:
    """What a run knows of its hosts: who lacks weights, and whose server answered on its host when, or did not."""

    id: str = field(default_factory=lambda: token_hex(4))
    lacking: set[str] = field(default_factory=set)
    answered: dict[str, float] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def serving(self) -> frozenset[str]:
        """The hosts whose servers answered a moment ago: whoever gets no connection to one is kept from it."""
        now = time.monotonic()
        return frozenset(name for name, at in self.answered.items() if now - at < PROVEN_S)


def sharing() -> Sharing:
    """That of the run in context."""
    if not hasattr(state, _SHARING):
        setattr(state, _SHARING, Sharing())
    found: Sharing = getattr(state, _SHARING)
    return found


def fleet() -> tuple[Peer, ...]:
    """The hosts of the inventory in context that hold models, in its order."""
    others = (one for one in host.inventory if not fronting.is_front(one))
    return tuple(
        Peer(index, one.name, str(one.data.get("ssh_hostname") or one.name)) for index, one in enumerate(others)
    )


def plan_text(
    peers: Sequence[Peer],
    own: str,
    port: int,
    swarm_port: int | None = None,
    run: str = "",
    serving: Collection[str] = (),
) -> str:
    """The lines about peers that models.sh follows; none for a host that is alone.

    Each host asks first those that come after it: so not all of them ask the same one. Of those that are `serving` it
    says where it got no connection to them.
    """
    me = next((one.index for one in peers if one.name == own), None)
    if me is None or len(peers) < 2:
        return ""
    turned = _after(peers, me)
    lines = [f"me\t{me}\t{HOME}", *(f"peer\t{one.index}\t{one.name}\t{one.address}\t{port}" for one in turned)]
    lines += [f"swarm\t{swarm_port}"] if swarm_port else []
    lines += [f"run\t{run}", *(f"serves\t{one.name}" for one in turned if one.name in serving)] if run else []
    return "\n".join(lines) + "\n"


def swarm_words(values: Settings, peers: Sequence[Peer], own: str) -> list[str]:
    """The words by which a host's server joins a swarm (peer_on_host.py); none where it shall not."""
    if not values.cache_swarm_port:
        return []
    me = next(one.index for one in peers if one.name == own)
    rate = (values.cache_bandwidth_mb_s or 0) * 10**6
    port = str(values.cache_swarm_port)
    return [port, str(rate), str(me), *(f"{one.address},{port}" for one in _after(peers, me))]


def _after(peers: Sequence[Peer], me: int) -> list[Peer]:
    """The others, in their order from the next one on and around."""
    return [*peers[me + 1 :], *peers[:me]]


def known(values: Settings) -> str:
    """`plan_text` of the host in context; "" where hosts do not share."""
    if not values.cache_peer_port:
        return ""
    run = sharing()
    return plan_text(fleet(), host.name, values.cache_peer_port, values.cache_swarm_port, run.id, run.serving())


def lacks(yes: bool) -> None:
    """Remember whether the host in context lacks weights, for `serving` on the others of this run."""
    names = sharing().lacking
    names.add(host.name) if yes else names.discard(host.name)


def identity(values: Settings, name: str, address: str) -> Mapping[str, str]:
    """Certificate and key of a host for a day, and the CA, by the names of their files. Raises: IngotError."""
    directory = keys.secrets_dir(values.secrets_dir, host.groups[-1] if host.groups else "")
    ca = pki.authority(directory, values.gateway_ca_scope)
    return {"peer.pem": pki.of_a_day(ca, tuple(dict.fromkeys((name, address)))), "peer-ca.pem": ca.certificate_pem}


@operation()
def serving() -> Commands:
    """
    Have this host serve its models while another host of the run lacks some; it ends by itself.

    What it is, is no state of the host: where nobody lacks anything, nothing is started.
    """
    values = of_host(host)
    if not state.is_executing or not values.cache_peer_port or not sharing().lacking or len(fleet()) < 2:
        host.noop("no other host needs models of this one")
        return
    own = next(one for one in fleet() if one.name == host.name)
    changes.announce([f"serve models to {len(fleet()) - 1} other hosts on port {values.cache_peer_port} for this run"])
    made = {name: text.encode() for name, text in identity(values, own.name, own.address).items()}
    # For models.sh, which asks with it: here before the server is.
    yield StringCommand(
        f"umask 077; mkdir -p -m 0755 {HOME.rpartition('/')[0]} {HOME} {HOME}/at-work && "
        f"base64 -d | tar -xz --no-same-owner -C {HOME}",
        _stdin=pack(made),
    )
    if values.cache_swarm_port:
        yield from _library()
    words = [values.cache_root, HOME, str(values.cache_peer_port), str(IDLE_S)]
    members = {
        "words": shlex.join([*words, *swarm_words(values, fleet(), host.name)]) + "\n",
        "peer_on_host.py": SERVER,
        "swarm_on_host.py": SWARM,
    }
    yield from detached.begun(UNIT, SCRIPT, members)
    yield FunctionCommand(_answers, (values.cache_peer_port,), {})


def _answers(state: State, host: Host, port: int) -> bool:
    """Wait until this host's server answers on the host itself, and remember it; say so where it does not."""
    line = _ANSWERS.format(home=HOME, port=port, name=shlex.quote(host.name), unit=UNIT)
    done, output = host.run_shell_command(StringCommand(line), **detached.arguments(host, ANSWER_S))
    if "answers" in output.stdout_lines:
        sharing().answered[host.name] = time.monotonic()
    elif "silent" in output.stdout_lines and host.name not in sharing().silent:
        sharing().silent.add(host.name)
        logger.warning(
            f"{host.print_prefix}{host.name}: its server of models does not answer on port {port} (cache_peer_port) of "
            f"the host itself; other hosts ask elsewhere; see {detached.LOGS}/{UNIT}.log there, and `ss -ltnp` for who "
            "has that port."
        )
    return done


def _library() -> Commands:
    """Install libtorrent; a host whose package sources have none goes on without, and says so."""
    look = standing(host, Apt, names=[SWARM_LIBRARY], files=[], keyrings=[])
    plan = packages.compare(look, [SWARM_LIBRARY])
    if not plan.lines:
        return
    changes.announce(plan.sentences)
    members = packages.members(plan, host.name, packages.LOCK_TIMEOUT_S) | {"packages.sh": packages.RUN}
    yield from detached.commands("ingot-packages", INSTALL, members, packages.LIMIT_S)
