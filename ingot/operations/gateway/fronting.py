"""Which hosts of an inventory only front others, and which stand behind them."""

from __future__ import annotations

from pyinfra.api.host import Host
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.gateway.fleet import Member

#: Hosts of this group serve no model: their nginx fronts every host of the inventory that does.
GROUP = "gateway"


def is_front(one: Host | None = None) -> bool:
    """Whether a host (the one in context) only fronts others: it needs no GPU, driver, container or model."""
    return GROUP in (host if one is None else one).groups


def is_fronted(one: Host | None = None) -> bool:
    """Whether a host (the one in context) stands behind a fleet gateway."""
    chosen = host if one is None else one
    return not is_front(chosen) and any(is_front(other) for other in chosen.inventory)


def members() -> tuple[Member, ...]:
    """The hosts behind the fleet gateway in context, by name.

    Raises: IngotError when that gateway is told to serve a model itself, or when the file of another host is wrong:
    nobody knows then whether that one serves, and it would lose its callers.
    """
    if host.data.get("serve"):
        raise IngotError(
            f"a host of the group {GROUP} fronts others and serves nothing itself, but its `serve` names "
            f"{host.data.serve[0]['model']}; take it out of the group, or remove `serve`."
        )
    wrong = sorted(one.name for one in host.inventory if one.data.get("inventory_error"))
    if wrong:
        raise IngotError(
            f"who stands behind this fleet gateway is not known while the host file of {', '.join(wrong)} is wrong; "
            "correct that file, and deploy again."
        )
    behind = [one for one in host.inventory if not is_front(one) and one.data.get("serve")]
    return tuple(
        Member(
            one.name,
            str(one.data.get("ssh_hostname") or one.name),
            tuple(sorted({str(entry["model"]) for entry in one.data.serve})),
        )
        for one in sorted(behind, key=lambda one: one.name)
    )
