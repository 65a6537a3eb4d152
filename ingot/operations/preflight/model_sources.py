"""Whether a host's sources will give it the models of its plan: asked before hours of a deploy, one file of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from ingot.errors import IngotError
from ingot.facts.host import HostState
from ingot.facts.models import Asked, SourceAnswer
from ingot.operations.serving.planning import Planned
from ingot.operations.weights.manifest import MANIFEST, Origin, origins
from ingot.operations.weights.models import Wanted, wanted_models
from ingot.settings import Settings

Ask = Callable[[Sequence[Asked]], Sequence[Sequence[SourceAnswer]]]


def findings(look: HostState, values: Settings, planned: Planned | None, ask: Ask) -> Iterator[str]:
    """A sentence, without the host's name and the final stop, for each model that no source gives to this host.

    A host that serves what its plan says already is not asked again: `ask` costs a command. A source that is busy or
    away may be back when it is fetched from.
    """
    if planned is None or _served(look) >= {(one.model, one.variant) for one in planned.plan.replicas}:
        return
    lock = values.lock
    models, questions, places = [], [], []
    for wanted in wanted_models(values.cache_root, planned):
        try:
            found = origins(values.sources.of_models, wanted.variant, wanted.label)
        except IngotError as error:
            yield str(error).rstrip(".")
            continue
        if any(one.kind == "push" for one in found):
            continue
        files = (lock.files(wanted.variant.repository, wanted.variant.revision) if lock else None) or ()
        smallest = min(files, key=lambda one: one.bytes).path if files else None
        addresses = tuple(_address(one, wanted, smallest) for one in found)
        models.append(wanted)
        places.append(found)
        questions.append(Asked(wanted.target, addresses, tuple(one.kind == "hub" for one in found)))
    if not questions:
        return
    for wanted, found, question, answers in zip(models, places, questions, ask(questions), strict=True):
        if answers and all(one.is_refusal for one in answers):
            said = (
                _words(address, place, answer, wanted, token=bool(values.cache_hub_token_file))
                for address, place, answer in zip(question.addresses, found, answers, strict=True)
            )
            yield f"{wanted.label} cannot be fetched: {'; '.join(said)}"


def _served(look: HostState) -> set[tuple[str, str]]:
    stored = look.stored.get("plan.json") if look.is_deployed else None
    try:
        return {(one["model"], one["variant"]) for one in stored["plan"]["replicas"]} if stored else set()
    except (KeyError, TypeError):
        # Another version of Ingot wrote it.
        return set()


def _address(place: Origin, wanted: Wanted, smallest: str | None) -> str:
    file = smallest or (MANIFEST if place.kind == "mirror" else "config.json")
    return f"{place.below(wanted.variant.revision)}/{file}"


def _words(address: str, place: Origin, answer: SourceAnswer, wanted: Wanted, *, token: bool) -> str:
    where, repository = urlsplit(address).netloc or place.base, wanted.variant.repository
    if answer.status not in (401, 403):
        return f"{where} has no {repository} at {wanted.variant.revision}; correct sources['models'] or the revision"
    if token and place.kind == "hub":
        return (
            f"{where} does not show {repository} to the token of cache_hub_token_file ({answer.status}), expected one "
            "of an owner who may read it; accept its terms there, or correct the token"
        )
    return (
        f"{where} does not show {repository} ({answer.status}): it is gated, private or not there; accept its terms, "
        "and give a token by cache_hub_token_file"
    )
