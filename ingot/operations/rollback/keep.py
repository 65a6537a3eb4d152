"""The state that a deploy came to is kept on the host when everything before it was proven."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host, state

from ingot.facts.gateway import ENGINES
from ingot.facts.good_states import Serving, ServingLook
from ingot.operations import changes, lock, tree
from ingot.operations.operation import operation
from ingot.operations.rollback import together
from ingot.operations.rollback.state import DIRECTORY, VALUES, GoodState, kept, read
from ingot.operations.serving import group
from ingot.operations.serving.stored import stored_services
from ingot.operations.standing import standing
from ingot.runs.run import now
from ingot.settings import Settings, of_host


@operation()
def keep() -> Generator[PyinfraCommand, None, None]:
    """
    Keep what the host serves now, to be gone back to; it comes last, so that all of it is proven.

    **Example:**

    .. code:: python

        keep.keep(name="Keep what serves, to go back to")
    """
    found: Serving = standing(host, ServingLook)
    values = of_host(host)
    states = read(found.states)
    run = lock.held_by(host)
    current = serving(found, values, run=run.id if run else "", commit=run.commit if run else None)
    wanted = kept(states, current, values.rollback_keep)
    if (item := values.together) and state.is_executing:
        board = group.of_run(item).parts
        if missing := group.gathered(host, item, board, together.Part(states, current)):
            host.noop(f"no state is kept: {missing}")
            return
        parts = {name: board[name] for name in item.hosts}
        wanted = together.kept(parts, host.name, values.rollback_keep)
    if wanted == states and len(found.states) == len(states):
        host.noop(f"state {states[-1].number} is kept already")
        return
    if not current.services and not current.files:
        host.noop("nothing is served yet")
        return
    newest = wanted[-1]
    if newest.number not in {one.number for one in states}:
        changes.announce([f"keep state {newest.number} to go back to: {newest.words()}"])
    yield from tree.tree._inner(entries=entries(states, wanted))


def serving(found: Serving, values: Settings, run: str = "", commit: str | None = None) -> GoodState:
    """What a host serves now, as a state that has no number yet."""
    good = stored_services(found.stored).values()
    planned = [replica for replica in (found.stored.get("upstreams.json") or ()) if isinstance(replica, Mapping)]
    return GoodState(
        number=0,
        at=now(),
        run=run,
        commit=commit,
        services=tuple(sorted((one.service for one in good), key=lambda service: _address(service.address))),
        plan=found.stored.get("plan.json") or {},
        upstreams=planned,
        values={name: _plain(getattr(values, name)) for name in VALUES},
        files={**found.files, **({ENGINES: found.engines} if found.engines and not good else {})},
    )


def entries(before: Sequence[GoodState], wanted: Sequence[GoodState]) -> list[tree.Entry]:
    """The files of the states that are kept, and none of the others."""
    numbers = {one.number for one in wanted}
    return [
        tree.Dir(DIRECTORY, mode="0700"),
        *(
            tree.File(file_of(one.number), json.dumps(one.to_dict(), sort_keys=True) + "\n", mode="0600")
            for one in wanted
        ),
        *(tree.Absent(file_of(one.number)) for one in before if one.number not in numbers),
    ]


def text(one: GoodState) -> str:
    """What the file of a state holds."""
    return json.dumps(one.to_dict(), sort_keys=True) + "\n"


def file_of(number: int) -> str:
    """Where a state lies."""
    return f"{DIRECTORY}/{number}.json"


def _address(address: str) -> tuple[int, ...]:
    return tuple(int(part) for part in address.split("."))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)
