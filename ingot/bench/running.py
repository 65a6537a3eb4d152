"""A benchmark of one host or address: the host is held, the load runs level by level, and what came of it is kept."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from paramiko import SSHException
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, ctx_state

from ingot.bench import record
from ingot.bench.channel import ChannelStream
from ingot.bench.load import FAILED_SHARE, MOST_REQUESTS, MOST_USERS, USUAL_S, Load
from ingot.bench.measured import Measured, measure
from ingot.bench.place import READY_S, Bench, Failed, Service, command
from ingot.bench.record import Level, Record
from ingot.bench.served import Served, Subject, served
from ingot.bench.users import find, holds
from ingot.errors import IngotError
from ingot.facts.engine import EngineLook
from ingot.facts.engine_counters import EngineCounters
from ingot.inventory.fleet import Selected, connected, secrets_of
from ingot.operations import lock
from ingot.runs import told
from ingot.runs.run import owner
from ingot.secrets import verify_key
from ingot.secrets.pki import CA_CERTIFICATE_FILE
from ingot.settings import section
from ingot.settings.gateway import Gateway

#: Rounds of each number of users that is tried, and the fewest requests of a level.
ROUNDS, FEWEST = 5, 20
#: Time that a container gets besides its levels, seconds.
GRACE_S = 120

_ADDRESS = re.compile(r"https://[^\s/]+(/v1)?/?")

#: Tells how far it is: the level in words, how many of how many requests came back, and how many failed.
Say = Callable[[str, int, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator asked for. `loads` run one after the other; with `users_at` the first is one user's."""

    loads: tuple[Load, ...]
    limits: Mapping[str, float]
    model: str | None = None
    users_at: bool = False
    most_users: int = MOST_USERS
    limit_s: float = USUAL_S
    failed_share: float = FAILED_SHARE


@dataclass(frozen=True, slots=True)
class Done:
    """A benchmark that was begun: its record, where that is kept, and the last record of the same."""

    record: Record
    path: Path
    before: Record | None


def is_address(word: str) -> bool:
    """Whether a word of the command line is an address and no host."""
    return "://" in word


def bench(chosen: Selected, target: str, source: str, wanted: Wanted, key: str | None, say: Say) -> Done:
    """Run a benchmark against `target`, a host or an address, from the host `source`; `chosen` has the hosts.

    Raises: IngotError, one sentence, where nothing was measured because it could not begin.
    """
    directory = secrets_of(chosen.path, chosen.state)
    hosts = {host.name: host for host in chosen.hosts}
    asker, asked = hosts[source], hosts.get(target)
    address = "" if asked else _netloc(target)
    ca = directory / CA_CERTIFICATE_FILE
    known = record.records(directory / record.DIRECTORY)
    with ctx_state.use(chosen.state), ExitStack() as stack:
        stack.enter_context(_held(asker))
        key = key or verify_key.read(directory)
        if key is None:
            raise IngotError(
                f"{directory}: no API key is kept there, expected the one that a deploy makes; deploy, or give one "
                "with --api-key-file."
            )
        names: dict[str, str] = {}
        if asked is None:
            found = _served(asker, wanted.model)
            found = replace(found, subject=Subject(found.subject.model, plan=address), estimate=None)
            url = f"https://{address}"
        else:
            if asked is not asker:
                stack.enter_context(_held(asked))
            found = _served(asked, wanted.model)
            url, names = _reached(asked, asker)
            if asked is not asker:
                found = replace(found, place=_served(asker, found.subject.model).place)
        service = Service(url, found.subject.model, names, ca.read_text() if ca.is_file() else "", key)
        begun = Record(
            host=asked.name if asked else address,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=owner(),
            place=asker.name,
            url=url,
            subject=found.subject,
            levels=(),
            limits=dict(wanted.limits),
            estimate=found.estimate,
        )
        made = _run(asked, asker, found, service, wanted, begun, say)
        for host in chosen.hosts:
            told.conclude(host, "failed" if made.why else "done", made.why or "")
    return Done(made, record.write(directory / record.DIRECTORY, made), record.last(known, made.subject))


@contextmanager
def _held(host: Host) -> Iterator[None]:
    with ctx_host.use(host), connected(host):
        lock.hold(host, "bench")
        told.conclude(host, "failed", "it did not come to its end")
        yield


def _served(host: Host, model: str | None) -> Served:
    with ctx_host.use(host):
        return served(host.name, host.get_fact(EngineLook, probe=False), model)


def _reached(asked: Host, asker: Host) -> tuple[str, dict[str, str]]:
    """The URL by the name in the host's certificate, and the address that the name has where the load runs."""
    name = next(iter(section(asked, Gateway).gateway_names), asked.name)
    if ":" in name:
        return f"https://[{name}]", {}
    if asked is asker:
        return f"https://{name}", {name: "127.0.0.1"}
    given = str(asked.data.get("ssh_hostname") or asked.name)
    try:
        address = str(ipaddress.ip_address(given))
    except ValueError:
        try:
            address = str(socket.getaddrinfo(given, 443, type=socket.SOCK_STREAM)[0][4][0])
        except OSError:
            raise IngotError(
                f"{asked.name}: its address {given} does not resolve here, expected one that {asker.name} can call; "
                "correct `address` in its host file."
            ) from None
    return f"https://{name}", {name: address}


def _netloc(url: str) -> str:
    """The host and port of an address. Raises: IngotError where it is none that can be called."""
    netloc = urlsplit(url).netloc
    if not _ADDRESS.fullmatch(url) or "@" in netloc:
        raise IngotError(f"{url}: no address of a service, expected one such as https://llm.example/v1; correct it.")
    return netloc


def _run(
    asked: Host | None, asker: Host, found: Served, service: Service, wanted: Wanted, begun: Record, say: Say
) -> Record:
    """The record with its levels. What ends it before its end is its reason, and no error: it was begun."""
    levels: list[Level] = []
    made = begun
    shell = command(found.place, service.names, wanted.limit_s + READY_S + GRACE_S)
    try:
        with closing(ChannelStream(asker, shell)) as stream:
            running = Bench(asker.name, stream, service)
            ends_at = time.monotonic() + wanted.limit_s

            def level(load: Load) -> Measured:
                left_s = ends_at - time.monotonic()
                spent = sum(one.load.requests + one.load.warm_up for one in levels)
                if left_s <= 0:
                    raise _Ended(f"its time of {wanted.limit_s:g} s was over before {load.level}")
                if spent + load.requests + load.warm_up > MOST_REQUESTS:
                    raise _Ended(f"{load.level} would have made more than {MOST_REQUESTS:,} requests")
                one = _level(asked, found, running, load, left_s, wanted, say)
                levels.append(one)
                if one.measured is None:
                    raise _Ended(f"{load.level}: {one.why}")
                return one.measured

            if wanted.users_at:
                users = find(lambda number: level(_for_users(wanted.loads[0], number)), wanted.most_users)
                made = replace(made, users=users.held, users_at_least=users.is_bound)
            else:
                for load in wanted.loads:
                    level(load)
    except _Ended as ended:
        made = replace(made, why=str(ended))
    except KeyboardInterrupt:
        made = replace(made, why="interrupted")
    except (IngotError, OSError, EOFError, SSHException) as broken:
        if not levels and isinstance(broken, IngotError):
            raise
        made = replace(made, why=str(broken) or repr(broken))
    made = replace(made, levels=tuple(levels))
    if wanted.users_at and made.users is None:
        held = max((load.at_once for load, one in made.measured if holds(one)), default=0)
        made = replace(made, users=held, users_at_least=True)
    return made


class _Ended(Exception):
    """Why no further level is run."""


def _for_users(one: Load, users: int) -> Load:
    """The load of so many users who each send the next request when they have the answer."""
    return replace(one, requests=max(ROUNDS * users, FEWEST), at_once=users)


def _level(
    asked: Host | None, found: Served, running: Bench, load: Load, left_s: float, wanted: Wanted, say: Say
) -> Level:
    total = load.requests + load.warm_up + 1
    began, before = time.monotonic(), _counters(asked, found)
    result = running.run(
        load, left_s, wanted.failed_share, lambda done, failed: say(load.level, min(done, total), total, failed)
    )
    seconds = round(time.monotonic() - began, 1)
    if isinstance(result, Failed):
        return Level(load, seconds, why=result.why)
    counters = record.difference(before, _counters(asked, found))
    measured = measure(result, load.at_once, wanted.limits)
    if measured.failed > wanted.failed_share * measured.requests:
        failed = f"{measured.failed} of {measured.requests} requests failed"
        return Level(load, seconds, why=failed, counters=counters)
    return Level(load, seconds, measured, counters=counters)


def _counters(asked: Host | None, found: Served) -> Mapping[str, float]:
    if asked is None:
        return {}
    with ctx_host.use(asked):
        counted: Mapping[str, float] = asked.get_fact(EngineCounters, addresses=list(found.addresses))
    return counted
