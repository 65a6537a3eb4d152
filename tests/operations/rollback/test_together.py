"""Which states the hosts of a group keep with one number, and to which of them all go back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.errors import IngotError
from ingot.operations.rollback.state import GoodState
from ingot.operations.rollback.together import Part, kept, shared, target
from tests.operations.rollback.test_state import NGINX, ONE, TINY

pytestmark = pytest.mark.rollout

HOSTS = ("gpu-01", "gpu-02")


def state(number: int, argv: str, *, gateway: str = "", run: str = "a", hosts: tuple[str, ...] = HOSTS) -> GoodState:
    service = replace(TINY, argv=(argv,), group=hosts)
    return replace(ONE, number=number, run=run, services=(service,), files={NGINX: gateway})


ONE_OF, TWO_OF, THREE_OF = state(1, "one"), state(2, "two"), state(3, "three")
ALONE = state(1, "alone", hosts=())


def parts(head: tuple[GoodState, ...], member: tuple[GoodState, ...], now: GoodState = THREE_OF) -> dict[str, Part]:
    return {"gpu-01": Part(head, now), "gpu-02": Part(member, now)}


def test_the_next_state_has_one_number_on_all_whatever_they_kept_before() -> None:
    found = parts((ALONE, state(2, "alone too", hosts=())), (), now=replace(ONE_OF, number=0))
    assert [one.number for one in kept(found, "gpu-01", 3)] == [1, 2, 3]
    assert [one.number for one in kept(found, "gpu-02", 3)] == [3]


def test_what_serves_already_keeps_nothing_new() -> None:
    found = parts((ONE_OF, TWO_OF), (ONE_OF, TWO_OF), now=TWO_OF)
    assert kept(found, "gpu-02", 3) == (ONE_OF, TWO_OF)


def test_a_change_on_one_host_alone_is_a_state_of_all() -> None:
    found = parts((ONE_OF, TWO_OF), (ONE_OF, TWO_OF), now=TWO_OF) | {
        "gpu-01": Part((ONE_OF, TWO_OF), state(0, "two", gateway="another"))
    }
    assert [one.number for one in kept(found, "gpu-01", 3)] == [1, 2, 3]
    assert [one.number for one in kept(found, "gpu-02", 3)] == [1, 2, 3]


def test_a_state_that_serves_again_makes_way_on_all() -> None:
    found = parts((ONE_OF, TWO_OF), (ONE_OF, TWO_OF), now=ONE_OF)
    assert [one.number for one in kept(found, "gpu-02", 3)] == [2, 3]


def test_a_keeping_that_was_cut_off_is_no_state_of_all() -> None:
    found = parts((ONE_OF, TWO_OF), (ONE_OF,), now=TWO_OF)
    assert shared(found) == (1,)
    assert [one.number for one in kept(found, "gpu-02", 3)] == [1, 3]
    assert shared(parts((ONE_OF,), (replace(ONE_OF, run="b"),))) == ()


@pytest.mark.parametrize(
    ("found", "number", "expected"),
    [
        (parts((ONE_OF, TWO_OF, THREE_OF), (ONE_OF, TWO_OF, THREE_OF)), None, 2),
        (parts((ONE_OF, TWO_OF, THREE_OF), (ONE_OF, TWO_OF, THREE_OF)), 1, 1),
        (parts((ONE_OF, TWO_OF, THREE_OF), (ONE_OF, THREE_OF)), None, 1),
        (parts((ONE_OF, TWO_OF), (ONE_OF, TWO_OF), now=state(0, "never proven")), None, 2),
        (parts((ALONE, TWO_OF, THREE_OF), (TWO_OF, THREE_OF)), None, 2),
    ],
)
def test_all_go_back_to_what_all_keep(found: dict[str, Part], number: int | None, expected: int) -> None:
    assert target(found, number) == expected


@pytest.mark.parametrize(
    ("found", "number", "says"),
    [
        (
            parts((ONE_OF, TWO_OF, THREE_OF), (ONE_OF, THREE_OF)),
            2,
            "gpu-02: it keeps no state 2 of its group, expected one that gpu-01 and gpu-02 all keep (1, 3 (serves "
            "now)); see `ingot history gpu-01 gpu-02`, or deploy an earlier commit of the fleet's repository",
        ),
        (parts((THREE_OF,), (THREE_OF,)), None, "gpu-01: it keeps no state of its group older than what serves now"),
        (parts((ALONE, THREE_OF), (THREE_OF,)), 1, "gpu-01: it keeps no state 1 of its group"),
        (parts((), (), now=ALONE), None, "gpu-01: it does not serve together with gpu-02 yet, as its `serve` says"),
    ],
)
def test_what_not_all_keep_is_refused_with_the_host_that_lacks_it(
    found: dict[str, Part], number: int | None, says: str
) -> None:
    with pytest.raises(IngotError) as refused:
        target(found, number)
    assert str(refused.value).startswith(says)
