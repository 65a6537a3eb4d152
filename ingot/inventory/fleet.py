"""An inventory file loaded as pyinfra loads it, for commands and tests that run outside of a deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError

#: The inventory of commands that are given none.
DEFAULT = Path("inventories/prod.py")

Answer = TypeVar("Answer")


def load(inventory: Path) -> State:
    """The pyinfra state of an inventory: its hosts with their group and host data, none connected.

    Raises: IngotError when there is no such file, or it cannot be run.
    """
    if not inventory.is_file():
        raise IngotError(f"{inventory}: no such inventory file; name the one given to pyinfra.")
    # Importing it patches the standard library for gevent: only those who load an inventory shall pay.
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
    """Hosts of a loaded inventory by the names of their files, sorted; all of them when `names` is empty.

    Raises: IngotError when one of `names` is not among them.
    """
    known = {host.name.removeprefix("@ingot/"): host for host in state.inventory}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise IngotError(
            f"{unknown[0]}: no such host in {inventory}, expected one of {', '.join(sorted(known)) or 'none'}; "
            "correct its name."
        )
    return [(name, host) for name, host in sorted(known.items()) if not names or name in names]


def meant(inventory: Path | None, names: Sequence[str]) -> Path:
    """The inventory file that is given, else the first that has every one of `names`: prod before all others."""
    if inventory or not names:
        return inventory or DEFAULT
    for path in (DEFAULT, *sorted(path for path in DEFAULT.parent.glob("*.py") if path != DEFAULT)):
        try:
            known = {host.name.removeprefix("@ingot/") for host in load(path).inventory}
        except IngotError:
            continue
        if known.issuperset(names):
            return path
    return DEFAULT


def at_once(state: State, hosts: Sequence[Host], work: Callable[[Host], Answer]) -> list[Answer]:
    """What `work` returns for each host, in their order, all hosts at the same time; what it raises is raised."""

    def one(host: Host) -> Answer:
        with ctx_host.use(host):
            return work(host)

    with ctx_state.use(state):
        return list(state.pool.map(one, hosts))


@contextmanager
def connected(host: Host) -> Iterator[None]:
    """A connection to the host in context, up to the end of the block.

    Raises: IngotError, a sentence that begins with the host's name, when there is none to be had.
    """
    name = host.name.removeprefix("@ingot/")
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
