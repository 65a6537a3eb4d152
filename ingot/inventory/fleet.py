"""An inventory file loaded as pyinfra loads it, for commands and tests that run outside of a deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError
from ingot.inventory.default import DEFAULT_INVENTORY
from ingot.inventory.host_files import ERROR_KEY
from ingot.secrets.keys import secrets_dir
from ingot.settings import WrongValues, section
from ingot.settings.gateway import Gateway
from ingot.settings.secrets import KeysDirectory, Secrets

Answer = TypeVar("Answer")


def load(inventory: Path) -> State:
    """The pyinfra state of an inventory: its hosts with their group and host data, none connected.

    Raises: IngotError when there is no such file, or it cannot be run.
    """
    if not inventory.is_file():
        raise IngotError(f"{inventory}: no such inventory file; name the one given to pyinfra.")
    # This import takes time and patches the standard library for gevent: only those who load an inventory need it.
    from pyinfra_cli.inventory import make_inventory  # type: ignore[import-untyped]

    state = State()
    state.cwd = str(root(inventory))
    with ctx_state.use(state):
        try:
            state.init(make_inventory(str(inventory), cwd=state.cwd), Config())  # type: ignore[no-untyped-call]
        # An inventory is the user's own Python: whatever it raises is theirs to correct.
        except Exception as error:
            # pyinfra wraps what an inventory raises.
            cause = getattr(error, "exception", error)
            if isinstance(cause, IngotError):
                raise cause from error
            raise IngotError(f"{inventory}: cannot be loaded ({type(cause).__name__}: {cause}); correct it.") from error
    return state


def chosen(state: State, inventory: Path, names: Sequence[str]) -> list[tuple[str, Host]]:
    """Hosts of a loaded inventory, sorted by name; all of them when `names` is empty.

    Each of `names` is a host, a group, or a pattern of hosts such as `gpu-0*`, as pyinfra's own --limit has it.

    Raises: IngotError when one of `names` is none of these, or the inventory has no host at all.
    """
    known = {host.name: host for host in state.inventory}
    if not known:
        raise IngotError(f"{inventory}: no host in it; make a server a member with `ingot onboard`.")
    for name in names:
        if not any(_is(host, name) for host in known.values()):
            raise IngotError(
                f"{name}: no such host or group in {inventory}, expected {_some(sorted(known))} or a group of them; "
                "correct the name, or give its inventory with --inventory."
            )
    return [pair for pair in sorted(known.items()) if not names or any(_is(pair[1], name) for name in names)]


def _is(host: Host, name: str) -> bool:
    return fnmatch(host.name, name) or name in host.groups


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join((*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])))


def meant(inventory: Path | None, names: Sequence[str]) -> Path:
    """The given inventory file, else the first inventory that has all of `names`; prod.py comes first."""
    if inventory or not names:
        return inventory or DEFAULT_INVENTORY
    for path in (
        DEFAULT_INVENTORY,
        *sorted(path for path in DEFAULT_INVENTORY.parent.glob("*.py") if path != DEFAULT_INVENTORY),
    ):
        try:
            chosen(load(path), path, names)
        except IngotError:
            continue
        return path
    return DEFAULT_INVENTORY


@dataclass(frozen=True)
class Selected:
    """The hosts that a command works on, of an inventory that is loaded."""

    path: Path
    state: State
    hosts: tuple[Host, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.hosts)


def selected(inventory: Path | None, names: Sequence[str]) -> Selected:
    """The hosts that a command line names: all of the inventory where it names none.

    Raises: IngotError when the inventory cannot be loaded, has no host, or lacks one of `names`.
    """
    path = meant(inventory, names)
    state = load(path)
    return Selected(path, state, tuple(host for _, host in chosen(state, path, names)))


def secrets_of(inventory: Path, state: State) -> Path:
    """The secrets directory of a loaded inventory, found as a deploy finds it.

    Raises: IngotError when its hosts have different ones.
    """
    configured: set[str | None] = set()
    for host in state.inventory:
        # A host whose file or value is wrong says nothing of it.
        with suppress(WrongValues):
            if not host.data.get(ERROR_KEY):
                configured.add(section(host, Secrets).secrets_dir)
    if len(configured) > 1:
        raise IngotError(
            f"{inventory}: its hosts have different secrets_dir values ({', '.join(sorted(map(str, configured)))}); "
            "an inventory has one, set it in group_data/all.py."
        )
    return secrets_dir(configured.pop() if configured else None, inventory.stem)


def keys_directory_of(chosen: Selected) -> KeysDirectory:
    """The directory of people that the keys of an inventory follow.

    Raises: IngotError when its hosts name none, or different ones, or a value of theirs is wrong.
    """
    named = {repr(one): one for host in chosen.hosts if (one := section(host, Secrets).keys_directory)}
    if len(named) != 1:
        found = "no host has" if not named else "its hosts have different"
        raise IngotError(
            f"{chosen.path}: {found} keys_directory; set one in group_data/all.py, or name a file with --csv."
        )
    return next(iter(named.values()))


def gateways_of(state: State) -> dict[str, Gateway]:
    """What callers of a loaded inventory meet, by host: its fleet gateways where it has any, else every host.

    A host whose values are wrong serves nobody until they are corrected, and is left out.
    """
    hosts = list(state.inventory)
    found = {}
    for host in [host for host in hosts if "gateway" in host.groups] or hosts:
        with suppress(WrongValues):
            found[host.name] = section(host, Gateway)
    return found


def monitors_of(chosen: Selected) -> Selected:
    """The hosts that watch the inventory of the chosen ones: those of its group `monitor`."""
    found = sorted((host for host in chosen.state.inventory if "monitor" in host.groups), key=lambda one: one.name)
    return replace(chosen, hosts=tuple(found))


def at_once(state: State, hosts: Sequence[Host], work: Callable[[Host], Answer]) -> list[Answer]:
    """Run `work` for all hosts at the same time; return its results in the hosts' order. Its exceptions are raised."""

    def one(host: Host) -> Answer:
        with ctx_host.use(host):
            return work(host)

    with ctx_state.use(state):
        return list(state.pool.map(one, hosts))


def asked(chosen: Selected, question: Callable[[Host], Answer]) -> list[Answer | IngotError]:
    """Ask all hosts at the same time, each over its own connection; return the answers in the hosts' order.

    The answer of a host that fails is an IngotError whose sentence names the host. The other hosts go on.
    """

    def one(host: Host) -> Answer | IngotError:
        try:
            with connected(host):
                return question(host)
        except IngotError as refused:
            return refused

    return at_once(chosen.state, chosen.hosts, one)


@contextmanager
def connected(host: Host) -> Iterator[None]:
    """Connect to the host, up to the end of the block.

    Raises: IngotError, a sentence that begins with the host's name, when it cannot be reached.
    """
    name = host.name
    try:
        host.connect(show_errors=False, raise_exceptions=True)
    except ConnectError as refused:
        sentence = str(refused.args[0])
        raise IngotError(sentence if sentence.startswith(name) else f"{name}: {sentence}") from None
    try:
        yield
    finally:
        host.disconnect()


def root(inventory: Path) -> Path:
    """The checkout: the nearest directory above the inventory that has a group_data."""
    for parent in inventory.resolve().parents:
        if (parent / "group_data").is_dir():
            return parent
    return Path.cwd()
