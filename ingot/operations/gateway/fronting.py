"""Which hosts of an inventory only front others, and which stand behind them."""

from __future__ import annotations

from pyinfra.api.host import Host
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.gateway.fleet import Member
from ingot.operations import monitored
from ingot.settings import WrongValues, section
from ingot.settings.read import HOST_FILE_ERROR
from ingot.settings.serving import Serving

#: Hosts of this group serve no model: their nginx fronts every host of the inventory that does.
GROUP = "gateway"


def is_front(one: Host | None = None) -> bool:
    """Whether a host (the one in context) only fronts others."""
    return GROUP in (host if one is None else one).groups


def has_no_engine(one: Host | None = None) -> bool:
    """Whether a host (the one in context) runs no models: it only fronts others, or watches them and serves nothing.

    It needs no GPU, driver, container or model.
    """
    chosen = host if one is None else one
    return is_front(chosen) or (monitored.is_monitor(chosen) and not chosen.data.get("serve"))


def is_fronted(one: Host | None = None) -> bool:
    """Whether a host (the one in context) stands behind a fleet gateway."""
    chosen = host if one is None else one
    return not is_front(chosen) and any(is_front(other) for other in chosen.inventory)


def members() -> tuple[Member, ...]:
    """The hosts behind the fleet gateway in context, by name.

    Raises: IngotError when that gateway is told to serve a model itself, or when the file or the section "serving" of
    another host is wrong: nobody knows then whether that one serves, and it would lose its callers.
    """
    own = section(host, Serving).serve
    if own:
        raise IngotError(
            f"a host of the group {GROUP} fronts others and serves nothing itself, but its `serve` names "
            f"{own[0].model}; take it out of the group, or remove `serve`."
        )
    wrong = sorted(one.name for one in host.inventory if one.data.get(HOST_FILE_ERROR))
    if wrong:
        raise IngotError(
            f"who stands behind this fleet gateway is not known while the host file of {', '.join(wrong)} is wrong; "
            "correct that file, and deploy again."
        )
    others = sorted((one for one in host.inventory if not is_front(one)), key=lambda one: one.name)
    return tuple(member for one in others if (member := _member(one)).models)


def kinds() -> frozenset[str]:
    """What the models are for that callers of the host in context are given: its own, or those behind it."""
    hosts = [one for one in host.inventory if not is_front(one)] if is_front() else [host]
    return frozenset(kind for one in hosts for kind in section(one, Serving).kinds)


def _member(one: Host) -> Member:
    """A host behind a fleet gateway."""
    try:
        serving = section(one, Serving)
        names = serving.names if serving.answers_at(one.name) else ()
        address = str(one.data.get("ssh_hostname") or one.name)
        return Member(one.name, address, names, serving.stands_in_for, serving.fleet_weight, serving.parts)
    except WrongValues as wrong:
        raise IngotError(
            f"who stands behind this fleet gateway is not known while a value is wrong: {wrong.sentences[0]}"
        ) from wrong
