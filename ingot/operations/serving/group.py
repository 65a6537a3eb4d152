"""Several hosts that serve one replica: who belongs together, what may not differ, and how a run changes all as one."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.context import host, state

from ingot.engines import Service
from ingot.engines.group_service import BEAT_PORT, MASTER_PORT, Place, digest
from ingot.engines.vllm import HOST_LIBRARY, USER
from ingot.errors import IngotError
from ingot.facts.engine import STATE, UNIT
from ingot.facts.group import SETTINGS, GroupLast, GroupLinks, GroupLog, GroupSupervised, Interface, Links, Supervised
from ingot.facts.probe import question
from ingot.operations import tree
from ingot.operations.changes import announce
from ingot.operations.gateway import drain
from ingot.operations.refuse import refuse
from ingot.operations.render import template
from ingot.operations.serving import rollout, templates
from ingot.operations.serving.outlook import Outlook
from ingot.operations.serving.services import cache_directory, compose_file, container, removal
from ingot.operations.serving.stored import LAST_GOOD
from ingot.secrets import group_key, keys
from ingot.settings import Settings, WrongValues, section
from ingot.settings.engine import Engine
from ingot.settings.serving import Serve, Serving

PACKAGE = "ingot.engines.group"
KEY = "/etc/ingot/engine/group.key"
#: Below STATE: what the supervisor says, the number of its last epoch, and what was good before.
SAYS, EPOCH, LAST = "engine/group.json", "engine/group-epoch.json", "engine/last-good-group"
#: Below it: the last words of the engine that ran here before.
LOG = "engine/group.log"
#: Seconds between two looks, and what a group is given beside the start of its engine: a stop, and what is not heard.
PAUSE_S, BESIDE_S = 2, 180
_RUN = "ingot_groups"

Commands = Generator[PyinfraCommand, None, None]
Told = TypeVar("Told")


def peers(one: Host) -> tuple[str, ...]:
    """The hosts of a host's group, the head first; none where it serves alone, or its values are wrong."""
    try:
        wanted = section(one, Serving).together
    except WrongValues:
        return ()
    return wanted.hosts if wanted else ()


def misfits(one: Host, values: Serving) -> Iterator[str]:
    """What the inventory alone says against a host's group, as sentences without the host's name and final stop."""
    wanted = values.together
    if wanted is None:
        return
    together = ", ".join(wanted.hosts)
    if one.name not in wanted.hosts:
        yield f"its `serve` names the hosts {together}, expected itself among them; correct `hosts`"
    for name in dict.fromkeys(wanted.hosts):
        other = one.inventory.get_host(name) if name in one.inventory.hosts else None
        if other is None:
            yield f"no host of the inventory is called {name}, which `hosts` names; correct it"
            continue
        yield from _other(one, other, wanted)


def _other(one: Host, other: Host, wanted: Serve) -> Iterator[str]:
    """What is wrong with one host of the group."""
    try:
        its, address = section(other, Serving).together, _address(other)
    except WrongValues as wrong:
        yield f"{other.name}, which is to serve with it, has wrong values: {wrong.sentences[0].rstrip('.')}"
        return
    if address is None:
        yield (
            f"{other.name} has no IPv4 address for its group (ssh_hostname is a name), expected engine_group_address "
            "in its host file; give it there"
        )
    if other.name != one.name and (its is None or _shared(its) != _shared(wanted)):
        yield (
            f"{other.name} is to serve {wanted.model} together with it, and its own `serve` says something else, "
            "expected the same item on every host of the group; put the item into the values of a group of hosts"
        )


def _shared(one: Serve) -> Mapping[str, Any]:
    """What must be the same on every host."""
    return {**one.model_dump(), "interface": None}


def _address(one: Host) -> str | None:
    """The IPv4 address by which the group reaches a host."""
    told = section(one, Engine).engine_group_address or one.data.get("ssh_hostname") or one.name
    try:
        return str(ipaddress.IPv4Address(str(told)))
    except ValueError:
        return None


def hosts_of(one: Host, wanted: Serve) -> tuple[tuple[str, str], ...]:
    """Names and addresses of a group, the head first; "" where one has none, which `misfits` says."""
    return tuple((name, _address(one.inventory.get_host(name)) or "") for name in wanted.hosts)


def links(one: Host, wanted: Serve) -> Links:
    """How a host reaches the others of its group."""
    peers = [address for name, address in hosts_of(one, wanted) if name != one.name]
    found: Links = one.get_fact(GroupLinks, peers=peers, port=MASTER_PORT)
    return found


def interface(me: str, hosts: tuple[tuple[str, str], ...], wanted: Serve, found: Links) -> Interface | str:
    """The interface over which a host talks with its group, or what is wrong with it."""
    address = dict(hosts)[me]
    own = next((one for one in found.interfaces if address in one.addresses), None)
    names = [one.name for one in found.interfaces]
    if own is None:
        return (
            f"none of its interfaces ({', '.join(names) or 'none'}) has its address {address}, expected one that the "
            "other hosts of its group reach; give engine_group_address"
        )
    if wanted.interface and wanted.interface != own.name:
        return (
            f"its address {address} is on {own.name}, expected {wanted.interface}, which `interface` names; correct "
            "that, or give engine_group_address"
        )
    if not wanted.interface and len(names) > 1:
        return (
            f"it has the interfaces {', '.join(names)}, and `serve` does not say which the hosts of its group talk "
            "over; name it (interface: …)"
        )
    for name, peer in hosts:
        if name != me and found.ways.get(peer, own.name) != own.name:
            return f"the way to {name} ({peer}) is {found.ways[peer]}, expected {own.name}; correct its routes"
        if peer in found.silent:
            return (
                f"{name} ({peer}) does not answer over {own.name}, expected to reach TCP port {MASTER_PORT} there; see "
                "that no firewall or cable is between them"
            )
    return own


def place(one: Host, wanted: Serve) -> Place:
    """Where a host stands in its group. Raises: IngotError where it cannot."""
    hosts = hosts_of(one, wanted)
    found = interface(one.name, hosts, wanted, links(one, wanted))
    if isinstance(found, str):
        raise IngotError(f"{one.name}: {found}.")
    return Place(hosts, one.name, found.name)


# --- what the hosts of one run know of each other


@dataclass
class Group:
    """One group in one run: what must be equal, by host; who must change something; and how far they are.

    `parts` are what each host keeps and serves, by host.
    """

    sketches: dict[str, Mapping[str, str]] = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)
    drained: bool = False
    stopped: set[str] = field(default_factory=set)
    verdict: str | None = None
    parts: dict[str, Any] = field(default_factory=dict)

    def difference(self, me: str) -> str | None:
        """What of the other hosts is another than here, as a sentence without the host's name."""
        own = self.sketches[me]
        for name, other in self.sketches.items():
            for what, value in own.items():
                if other.get(what) != value:
                    return (
                        f"its {what} is {value}, that of {name}, with which it is to serve one replica, "
                        f"{other.get(what)}, expected both alike; deploy them alike"
                    )
        return None


def of_run(wanted: Serve) -> Group:
    """The group in the run in context: what was seen while pyinfra prepared is seen anew when it executes."""
    name = f"{_RUN}_{'executing' if state.is_executing else 'preparing'}"
    found: dict[tuple[str, ...], Group] | None = getattr(state, name, None)
    if found is None:
        found = {}
        setattr(state, name, found)
    return found.setdefault(wanted.hosts, Group())


def alone(one: Host, wanted: Serve) -> str | None:
    """Why a run cannot change a group as one, as a sentence without the host's name; None where it can."""
    active = {other.name for other in one.inventory.get_active_hosts()}
    missing = [name for name in wanted.hosts if name not in active]
    if missing:
        return (
            f"it serves one replica together with {', '.join(missing)}, which takes no part in this run or has failed "
            "in it, expected all hosts of the group; deploy them together"
        )
    if state.pool.size is not None and state.pool.size < len(wanted.hosts):
        return (
            f"the hosts of its group ({len(wanted.hosts)}) change at the same time, and pyinfra works on "
            f"{state.pool.size} at once; give a larger --parallel"
        )
    return None


def agreed(one: Host, wanted: Serve, sketch: Mapping[str, str]) -> str | None:
    """Tell the other hosts of the run what this one is like, and wait until all have told. Returns: what differs."""
    group = of_run(wanted)
    return gathered(one, wanted, group.sketches, sketch) or group.difference(one.name)


def gathered(one: Host, wanted: Serve, board: dict[str, Told], mine: Told, limit_s: float = 60) -> str | None:
    """Tell the other hosts of the run something, and wait until all have told theirs. Returns: why not all have.

    Where nothing executes nobody is waited for.
    """
    board[one.name] = mine
    until = time.monotonic() + limit_s
    while state.is_executing and set(wanted.hosts) - set(board):
        gone = alone(one, wanted)
        if gone or time.monotonic() > until:
            return gone or "the other hosts of its group were not looked at within a minute; deploy them together"
        time.sleep(0.2)
    return None


# --- files


def program() -> list[tree.Entry]:
    """The supervisor's own files."""
    found = sorted((one for one in files(PACKAGE).iterdir() if one.name.endswith(".py")), key=lambda one: one.name)
    directory = f"{HOST_LIBRARY}/{PACKAGE.replace('.', '/')}"
    return [tree.Dir(directory), *(tree.File(f"{directory}/{one.name}", one.read_text()) for one in found)]


def unit(service: str) -> str:
    """The text of the unit that supervises this host's part."""
    return template(
        "engine/ingot-engine-group.service", settings=SETTINGS, library=HOST_LIBRARY, container=container(service)
    )


def settings_text(service: Service, place: Place) -> str:
    """What the supervisor is told."""
    path, body = question(service.kind)
    told = {
        "hosts": dict(place.hosts),
        "me": place.me,
        "digest": digest(service, place),
        "interface": place.interface,
        "port": BEAT_PORT,
        "owner": USER,
        "compose": rollout.COMPOSE,
        "service": service.name,
        "container": container(service.name),
        "key": KEY,
        "state": f"{STATE}/{SAYS}",
        "epoch": f"{STATE}/{EPOCH}",
        "log": f"{STATE}/{LOG}",
        "endpoint": service.endpoint,
        "health": service.health_path if place.rank == 0 else "/health",
        "question": [path, {"model": service.model, **body}],
        "start_deadline_s": service.start_deadline_s,
    }
    return json.dumps(told, indent=1) + "\n"


def supervised() -> Supervised:
    """What the supervisor of the host in context was told, and says."""
    found: Supervised = host.get_fact(GroupSupervised, settings=SETTINGS, key=KEY, state=SAYS)
    return found


def is_left(found: Mapping[str, Any]) -> bool:
    """Whether a host that serves alone still has its part of a group, by the files of its look."""
    return SAYS in found


def leave() -> Commands:
    """Clear a host that is of no group any more: its part is stopped, and so is everybody's, since one is missing."""
    announce(["stop this host's part of a model that it served with others"])
    last_good = f"{STATE}/{LAST_GOOD}/*.json"
    gone = " ".join(
        (SETTINGS, KEY, f"{STATE}/{SAYS}", f"{STATE}/{EPOCH}", f"{STATE}/{LOG}", f"{STATE}/{LAST}", last_good)
    )
    yield StringCommand(
        f"systemctl stop {UNIT}; for c in $(docker ps --all --quiet --filter label=ingot.address); do "
        f"docker rm --force $c >/dev/null; done; [ ! -e {SETTINGS} ] || ( cd {HOST_LIBRARY} && "
        f"python3 -m {PACKAGE} {SETTINGS} leave ); rm -rf {gone}; systemctl daemon-reload",
        _timeout=rollout.COMMAND_S,
    )


# --- the change


def serve(seen: Outlook, at: Place, wanted: Serve, settings: Settings) -> Generator[PyinfraCommand, None, bool]:
    """Bring this host's part to what is wanted, with all others of its group. Returns: whether the group serves it."""
    run, change = of_run(wanted), Change(seen, at, wanted, settings)
    if sentence := alone(host, wanted) if state.is_executing else None:
        yield refuse(f"{host.name}: {sentence}.")
        return False
    if not state.is_executing:
        if why := change.differs:
            announce([f"stop and start {change.service.name} on {' and '.join(wanted.hosts)} as one: {why}"])
        return True
    run.differs[host.name] = change.differs
    return (yield from change.together(run))


class Change:
    """One host's part of a change of its group."""

    def __init__(self, seen: Outlook, at: Place, wanted: Serve, settings: Settings) -> None:
        (self.service,) = seen.wanted
        self.seen, self.at, self.hosts, self.settings = seen, at, wanted.hosts, settings
        self.leads = at.rank == 0
        self.digest = digest(self.service, at)
        directory = keys.secrets_dir(settings.secrets_dir, host.groups[-1] if host.groups else "")
        self.key = group_key.provide(directory, wanted.hosts) if state.is_executing else ""
        self.compose = compose_file([self.service], settings)
        self.told = settings_text(self.service, at)
        self.before = supervised()
        self.differs = self._differs()

    def _differs(self) -> str:
        """What of this host is another than wanted, in words; empty where nothing is."""
        before = self.before
        if not before.settings:
            return "it is not there yet"
        if self.seen.found.compose.strip() != self.compose.strip() or before.settings.strip() != self.told.strip():
            return "its settings changed"
        # A run that was cut off wrote files that nobody has read yet.
        if before.state.get("digest", self.digest) != self.digest:
            return "its supervisor has other settings"
        if any(one.digest != self.service.digest for one in self.seen.found.containers):
            return "its container has other settings"
        if self.key and before.key != tree.File(KEY, f"{self.key}\n").sha256:
            return "its key changed"
        if before.needs_reload:
            return "its unit changed"
        return "" if before.active else "its supervisor does not run"

    def together(self, run: Group) -> Generator[PyinfraCommand, None, bool]:
        """Wait for the others; change what is to be changed on all; have the head prove it."""
        if failed := self._wait(run, lambda: len(run.differs) == len(self.hosts), rollout.COMMAND_S, "were looked at"):
            yield refuse(failed)
            return False
        if not any(run.differs.values()):
            if not self.before.serves(self.digest):
                trouble = self._answers(run)
                if trouble:
                    yield refuse(f"{host.name}: {self.service.name} {trouble}; read `journalctl -u {UNIT}` there.")
                    return False
            yield from self._settled()
            host.noop(f"{self.service.name} serves as planned, on {' and '.join(self.hosts)}")
            return True
        why = next(filter(None, (run.differs[name] for name in self.hosts)))
        announce([f"stop and start {self.service.name} on {' and '.join(self.hosts)} as one: {why}"])
        grace = self.service.stop_grace_s
        if self.leads:
            if self.seen.found.containers:
                yield from drain.drain({self.service.endpoint}, grace)
            run.drained = True
        elif failed := self._wait(run, lambda: run.drained, grace + rollout.COMMAND_S, "drained"):
            yield refuse(failed)
            return False
        yield from self._start(self.compose, self.told)
        trouble = self._answers(run)
        if run.verdict is None and (self.leads or trouble):
            run.verdict = trouble or rollout.prove(self.service) or ""
        elif not trouble and self._wait(run, lambda: run.verdict is not None, 3 * rollout.PROOF_S, "proved"):
            run.verdict = "was not proven in time"
        if run.verdict or trouble:
            yield from self._back(run.verdict or trouble or "")
            return False
        if self.leads:
            yield from drain.restore(self.service.model, self.service.endpoint)
        yield from self._settled()
        if self.leads:
            logger.info(f"{host.print_prefix}{self.service.name} answers, on {' and '.join(self.hosts)}")
        return True

    def _wait(self, run: Group, done: Any, limit_s: float, what: str) -> str:
        """Wait for the other hosts of the run. Returns: why that is in vain."""
        until = time.monotonic() + limit_s
        while not done():
            lost = self._lost()
            if lost or time.monotonic() > until:
                others = ", ".join(lost or [name for name in self.hosts if name != host.name])
                return f"{host.name}: {others} failed before all of the group {what}; mend that, and deploy again."
            time.sleep(0.2)
        return ""

    def _lost(self) -> list[str]:
        """Hosts of the group that failed in this run."""
        active = {one.name for one in host.inventory.get_active_hosts()}
        return [name for name in self.hosts if name not in active]

    def _start(self, compose: str, told: str) -> Commands:
        """Write this host's files, and have its supervisor begin anew."""
        yield from tree.tree._inner(entries=templates.entries(one.arguments for one in self.seen.planned.served))
        yield from tree.tree._inner(
            entries=[
                tree.Dir(cache_directory(self.service.name), user=USER.partition(":")[0], mode="0700"),
                tree.File(rollout.COMPOSE, compose, mode="0640"),
                tree.File(SETTINGS, told, mode="0640"),
                tree.File(KEY, f"{self.key}\n", mode="0600", secret=True),
            ],
            validate=rollout.VALIDATE,
        )
        others = sorted({one.service for one in self.seen.found.containers} - {self.service.name})
        yield StringCommand(
            f"systemctl daemon-reload; systemctl stop {UNIT}; {' '.join(removal(name) + ';' for name in others)} "
            f"rm -f {STATE}/{SAYS}; systemctl start {UNIT}",
            _timeout=rollout.COMMAND_S,
        )

    def _answers(self, run: Group) -> str | None:
        """Wait until the group answers. Returns: what it does instead."""
        limit = self.service.start_deadline_s + BESIDE_S
        began, said = time.monotonic(), ""
        while True:
            found = rollout.ask(GroupSupervised, settings=SETTINGS, key=KEY, state=SAYS, _timeout=rollout.COMMAND_S)
            if found.serves(self.digest):
                return None
            if run.verdict:
                return run.verdict
            now = str(found.state.get("cause") or found.state.get("why") or "")
            if lost := self._lost():
                return f"was not waited for: {', '.join(lost)} failed in this run"
            if int(found.state.get("failures", 0)) >= 2:
                return f"did not start ({now or said or 'it ended'})"
            said = now or said
            spent = time.monotonic() - began
            if spent > limit:
                return f"did not answer within {spent:.0f} s ({said or 'its engine starts'})"
            if self.leads and spent // rollout.SLICE_S != (spent - PAUSE_S) // rollout.SLICE_S:
                logger.info(
                    f"{host.print_prefix}{self.service.name} starts on {' and '.join(self.hosts)}: {spent:.0f} s of at "
                    f"most {limit} s{f'; {now}' if now else ''}"
                )
            time.sleep(PAUSE_S)

    def _settled(self) -> Commands:
        """The files of a host that serves its part, and what it goes back to."""
        yield from tree.tree._inner(
            entries=[
                *rollout.served_files(self.seen.planned, [self.service], answers=self.leads),
                *(
                    tree.Absent(f"{STATE}/{path}")
                    for path in self.seen.found.files
                    if path.startswith(f"{LAST_GOOD}/") and path != f"{LAST_GOOD}/{self.service.name}.json"
                ),
                tree.Dir(f"{STATE}/{LAST}", mode="0750"),
                tree.File(f"{STATE}/{LAST}/compose.yaml", self.compose, mode="0640"),
                tree.File(f"{STATE}/{LAST}/group.json", self.told, mode="0640"),
            ]
        )

    def _back(self, trouble: str) -> Commands:
        """Go back to what was good on every host, and refuse."""
        kept = f"{STATE}/engine/failed/{self.service.name}"
        for line in host.get_fact(GroupLog, path=f"{STATE}/{LOG}"):
            logger.error(f"{host.print_prefix}  {self.service.name} | {line}")
        yield StringCommand(
            f"mkdir -p -m 0750 {kept}; cp {STATE}/{LOG} {kept}/log; journalctl -u {UNIT} -n 200 -o cat "
            f">{kept}/supervisor 2>&1; true",
            _timeout=rollout.COMMAND_S,
        )
        sentence = f"{host.name}: {self.service.name} {trouble}, expected it to serve; its logs are in {kept} there"
        was = host.get_fact(GroupLast, directory=f"{STATE}/{LAST}")
        if was and (was[0].strip(), was[1].strip()) == (self.compose.strip(), self.told.strip()):
            yield refuse(
                f"{sentence}; it served with these settings before, so look for what changed on its hosts: their "
                "supervisors go on trying."
            )
            return
        if was is None:
            gone = f"systemctl stop {UNIT}; rm -f {SETTINGS} {rollout.COMPOSE}"
            yield StringCommand(gone, _timeout=rollout.COMMAND_S)
            yield refuse(f"{sentence}; there was nothing to go back to: correct its settings and deploy again.")
            return
        yield from self._start(*was)
        if self.leads:
            yield from drain.restore(self.service.model, self.service.endpoint)
        yield refuse(f"{sentence}; what was good before is started again on all its hosts.")
