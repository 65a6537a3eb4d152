"""Who of a fleet may replace its replicas, and when the others stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.engines import Running, Service, Step
from ingot.engines.turns import GO, Member, Policy, Turn, counted, lowest, lows, turn

pytestmark = pytest.mark.rollout


def member(host: str, phase: str = "waiting", serves: int = 2, least: int = 1, **more: object) -> Member:
    return replace(Member(host, phase, {"qwen": serves}, {"qwen": least}), **more)  # type: ignore[arg-type]


def under(members: list[Member], policy: Policy) -> list[Member]:
    """The same, all with this policy."""
    return [replace(one, policy=policy) for one in members]


def test_one_host_asks_nobody() -> None:
    assert turn("a", under([member("a", serves=1, least=0)], Policy())) == GO


def test_the_first_host_that_changes_is_the_canary_and_the_others_wait_for_it() -> None:
    fleet = [member("a", changes=False), member("b"), member("c")]
    assert turn("b", under(fleet, Policy())) == GO
    assert turn("c", under(fleet, Policy())) == Turn("wait", "the canary b goes first")


def test_the_others_wait_until_the_canary_was_observed() -> None:
    fleet = [member("a", "holding"), member("b")]
    assert turn("b", under(fleet, Policy()), "a") == Turn("wait", "the canary a is observed")
    assert turn("b", under([member("a", "done"), member("b")], Policy()), "a") == GO


def test_a_canary_that_failed_stops_the_others_whatever_else_may_fail() -> None:
    fleet = [member("a", "failed"), member("b"), member("c")]
    for host in "bc":
        assert turn(host, under(fleet, Policy(max_failures=5)), "a") == Turn("stop", "the canary a failed")


def test_failures_after_the_canary_stop_those_that_have_not_begun() -> None:
    fleet = [member("a", "done"), member("b", "failed"), member("c")]
    assert turn("c", under(fleet, Policy()), "a") == Turn("stop", "b failed, and rollout_max_failures is 1")
    assert turn("c", under(fleet, Policy(max_failures=2)), "a") == GO


def test_no_more_are_worked_on_than_may_fail() -> None:
    fleet = [member("a", "done"), member("b", "working"), member("c")]
    assert turn("c", under(fleet, Policy()), "a") == Turn("wait", "b replaces its replicas first")
    assert turn("c", under(fleet, Policy(max_failures=2)), "a") == GO


def test_a_host_that_takes_nothing_away_waits_for_the_canary_alone() -> None:
    fleet = [member("a", "done"), member("b", "working"), member("c", serves=0, least=0)]
    assert turn("c", under(fleet, Policy()), "a") == GO


def test_a_stated_floor_is_kept() -> None:
    fleet = [member("a", "done"), member("b", "working"), member("c")]
    assert turn("c", under(fleet, Policy(min_healthy=5, max_failures=3)), "a") == Turn(
        "wait", "b replaces replicas first"
    )
    assert turn("c", under(fleet, Policy(min_healthy=4, max_failures=3)), "a") == GO


def test_a_floor_that_no_order_keeps_stops_before_anything_changes() -> None:
    said = turn("a", under([member("a", serves=1, least=0)], Policy(min_healthy=1)))
    assert said == Turn("stop", "0 healthy replicas of qwen would be left in the fleet, and rollout_min_healthy is 1")


def test_a_host_that_adds_replicas_goes_before_one_that_needs_them() -> None:
    fleet = [member("a", serves=1, least=0), member("b", serves=0, least=0)]
    assert turn("b", under(fleet, Policy(min_healthy=1))) == GO
    assert turn("a", under(fleet, Policy(min_healthy=1))) == Turn("wait", "the canary b goes first")


def test_without_a_stated_floor_the_last_replica_of_a_model_stays_where_one_can() -> None:
    fleet = [member("a", "working", serves=1, least=0), member("b", serves=1, least=0)]
    assert turn("b", under(fleet, Policy(canary=False, max_failures=3))) == Turn("wait", "a replaces replicas first")


def test_another_host_must_serve_where_the_operator_chose_that() -> None:
    policy = Policy(others_serve=True)
    alone = [member("a", serves=1, least=0), member("b", serves=0, least=0, changes=False)]
    assert turn("a", under(alone, policy)).word == "stop" and "rollout_outage" in turn("a", under(alone, policy)).why
    assert turn("a", under([member("a", serves=1, least=0), member("b", serves=1, changes=False)], policy)) == GO


def service(name: str, address: str, model: str = "qwen", digest_of: str = "old", gpu: str = "GPU-0") -> Service:
    return Service(
        name, model, "image", (digest_of,), (), (), (gpu,), "2000:0", (), (), 1, 1, address, 8000, "/health", 1, 1
    )


def test_what_serves_while_replicas_are_replaced() -> None:
    old = [service(f"qwen-{n}", f"10.0.0.{n}", gpu=f"GPU-{n}") for n in range(2)]
    found = {one.name: Running(one.name, one.digest, "running", True, 9, one.address, one.devices) for one in old}
    models = {one.name: one.model for one in old}
    healthy = counted(found, models)
    todo = [Step(replace(one, argv=("new",)), "replace", (one.name,), "") for one in old]
    by_step = lows(todo, found, models)
    assert (healthy, by_step) == ({"qwen": 2}, [{"qwen": 1}, {"qwen": 1}])
    assert lowest(healthy, by_step, healthy) == {"qwen": 1}
    assert lowest(healthy, [], {}) == {"qwen": 0}, "a model that is no longer planned"
    assert counted({"qwen-0": replace(found["qwen-0"], healthy=False)}, models) == {}


MODELS = ("a", "b")


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Member], dict[str, bool]]:
    members = []
    policies = st.builds(Policy, st.none() | st.integers(0, 4), st.integers(1, 4), st.booleans(), st.booleans())
    same = draw(st.none() | policies)
    for n in range(draw(st.integers(1, 6))):
        healthy = {model: draw(st.integers(0, 3)) for model in MODELS}
        least = {model: draw(st.integers(0, count)) for model, count in healthy.items()}
        members.append(
            Member(f"h{n}", "waiting", healthy, least, changes=draw(st.booleans()), policy=same or draw(policies))
        )
    return members, {one.host: draw(st.booleans()) for one in members}


@settings(deadline=None)
@given(fleets(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_fleet_keeps_its_floor_and_its_failures_and_comes_to_an_end(
    drawn: tuple[list[Member], dict[str, bool]], chance: object, at_once: int
) -> None:
    """Hosts ask in any order, so many at once, end in any order, and fail at random; a failed one keeps its least."""
    members, succeeds = drawn
    canary: str | None = None
    takers = {one.host for one in members if one.taken}

    def set_phase(host: str, phase: str, **more: object) -> None:
        members[:] = [replace(one, phase=phase, **more) if one.host == host else one for one in members]  # type: ignore

    began: list[str] = []
    for _ in range(200):
        # As pyinfra does: the next host is worked on when one has ended.
        open_ = [one.host for one in members if one.changes and one.phase in ("waiting", "working")][:at_once]
        members[:] = [replace(one, comes=one.host in open_) for one in members]
        waiting = [one for one in members if one.changes and one.phase == "waiting" and one.comes]
        chance.shuffle(waiting)  # type: ignore[attr-defined]
        moved = False
        for one in waiting:
            said = turn(one.host, members, canary)
            policy = one.policy
            if said.word == "go":
                failed = [other for other in members if other.phase == "failed"]
                busy = [other for other in members if other.phase == "working" and other.taken]
                assert len(failed) < policy.max_failures
                assert not one.taken or len(failed) + len(busy) < policy.max_failures
                assert not policy.canary or canary is None or {m.host: m.phase for m in members}[canary] == "done"
                canary = canary or one.host
                began.append(one.host)
                set_phase(one.host, "working")
                if policy.min_healthy is not None and one.taken:
                    for model in one.taken:
                        assert sum(m.sure[model] for m in members) >= policy.min_healthy
                moved = True
            elif said.word == "stop":
                assert said.why
                set_phase(one.host, "stopped")
                moved = True
        working = [one for one in members if one.phase == "working"]
        if working:
            one = chance.choice(working)  # type: ignore[attr-defined]
            fine = succeeds[one.host]
            set_phase(one.host, "done" if fine else "failed", healthy=one.healthy if fine else one.lowest)
        elif not moved:
            break
    assert all(one.phase != "waiting" for one in members if one.changes), "everything ends"
    assert len([one for one in members if one.phase == "failed" and one.host in takers]) <= max(
        one.policy.max_failures for one in members
    )
    assert set(began) | {one.host for one in members if one.phase == "stopped"} == {
        m.host for m in members if m.changes
    }
