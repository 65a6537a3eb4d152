"""What an inventory may serve, resolved to commits: kept where it is locked, looked up where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingot.catalog.lock import Lock, Locked
from ingot.errors import IngotError
from ingot.hub.code import without_code
from ingot.hub.gguf import checked_gguf
from ingot.hub.places import Place
from ingot.hub.shapes import checked
from ingot.sizing import Model, Variant


@dataclass(frozen=True, slots=True)
class Wish:
    """A repository that an inventory may serve: for which model, and where it is.

    `revision` is the commit that the catalog or the site names; `fixed` says that the site does, which wins over what
    is newest. `variant` is what its entry states of it, None for a draft or an adapter.
    """

    repository: str
    model: str
    label: str
    place: Place
    revision: str | None = None
    fixed: bool = False
    variant: Variant | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A repository whose commit becomes another one; `before` is None where it was not locked."""

    repository: str
    before: str | None
    after: str


@dataclass
class Resolved:
    """A lock, and what became of each repository. `failed` are sentences by label, `lacking` models without any."""

    lock: Lock
    moves: list[Move] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)


def wishes_of(
    models: Iterable[Model], own: Mapping[str, Model], place: Callable[[str], Place], variants: Mapping[str, str | None]
) -> Iterator[Wish]:
    """What models may be served from: their variants (`variants` fixes one) and their drafts.

    `own` is the catalog without the site's part, by which a commit of the site's is told.
    """
    for model in models:
        theirs = {one.name: one.revision for one in own[model.name].variants} if model.name in own else {}
        for one in model.variants:
            if variants.get(model.name) in (None, one.name):
                fixed = one.revision is not None and theirs.get(one.name) != one.revision
                label = f"{model.name} ({one.name})"
                yield Wish(one.repository, model.name, label, place(one.repository), one.revision, fixed, one)


def resolve(
    wishes: Sequence[Wish],
    before: Lock | None,
    hub: str,
    *,
    update: bool,
    say: Callable[[str], None] = lambda line: None,
    waived: Mapping[str, Mapping[str, str]] | None = None,
) -> Resolved:
    """The lock of these wishes. Without `update` what is locked stays, and no hub is asked for it.

    A repository that cannot be had is left out, and said; a model of which nothing can be had is `lacking`.
    """
    known = dict(before.repositories) if before else {}
    result = Resolved(Lock(hub, {}))
    found: dict[str, Locked] = {}
    had: set[str] = set()
    for wish in wishes:
        if wish.repository not in found and wish.label not in result.failed:
            old = known.get(wish.repository)
            stays = old is not None and not update and (not wish.fixed or old.commit == wish.revision)
            try:
                found[wish.repository] = (
                    old if old is not None and stays else _looked_up(wish, update, say, waived or {})
                )
            except IngotError as error:
                result.failed[wish.label] = str(error)
                if old is not None and not wish.fixed:
                    found[wish.repository] = old
        if wish.repository in found:
            had.add(wish.model)
    for name, one in found.items():
        was = known.get(name)
        if was is None or was.commit != one.commit:
            result.moves.append(Move(name, was.commit if was else None, one.commit))
    result.dropped = sorted(set(known) - set(found))
    result.lacking = sorted({wish.model for wish in wishes} - had)
    result.lock = Lock(hub, found)
    return result


def _looked_up(wish: Wish, update: bool, say: Callable[[str], None], waived: Mapping[str, Mapping[str, str]]) -> Locked:
    say(f"{wish.label}: {wish.repository}")
    newest = update and not wish.fixed
    found = wish.place.locked(wish.repository, None if newest else wish.revision)
    without_code(wish.place, found, waived.get(wish.repository, {}))
    if wish.variant is not None:
        checked(wish.place, found, wish.variant)
        if wish.variant.file:
            checked_gguf(wish.place, found, wish.variant.file, wish.variant.architecture)
    return found
