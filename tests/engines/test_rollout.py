"""Which replicas are touched, in which order, and what each displaces."""

from dataclasses import replace

import pytest

from ingot.engines import VLLM, Replica, Running, Service, Step, Values, leftovers, steps


@pytest.fixture
def first(replica: Replica, values: Values) -> Service:
    return VLLM.service(replica, values)


def serving(service: Service, **changes: object) -> dict[str, Running]:
    found = Running(
        service.name, service.digest, "running", healthy=True, age_s=900, address=service.address,
        devices=service.devices,
    )  # fmt: skip
    return {service.name: replace(found, **changes)}  # type: ignore[arg-type]


def test_what_serves_as_wanted_is_left_alone(first: Service) -> None:
    assert steps([first], serving(first)) == ()


def test_a_first_replica_displaces_nothing(first: Service) -> None:
    assert steps([first], {}) == (Step(first, "replace", (), "it is not there yet"),)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"digest": "older"}, "its settings changed"),
        ({"status": "exited", "healthy": False}, "its container is exited"),
        ({"healthy": False}, "it does not answer"),
    ],
)
def test_a_replica_that_does_not_serve_as_wanted_is_replaced(
    first: Service, found: dict[str, object], reason: str
) -> None:
    assert steps([first], serving(first, **found)) == (Step(first, "replace", (first.name,), reason),)


def test_a_replica_that_is_still_starting_is_waited_for(first: Service) -> None:
    assert steps([first], serving(first, healthy=False, age_s=20)) == (
        Step(first, "wait", (), "it is still starting (20 s)"),
    )


def test_another_model_on_the_same_gpu_has_to_go_first(first: Service) -> None:
    old = replace(first, name="llama-0", address="172.31.213.12")
    (step,) = steps([first], serving(old))
    assert step.displaces == ("llama-0",)


def test_replicas_that_share_a_gpu_as_planned_do_not_displace_each_other(first: Service) -> None:
    second = replace(first, name="small-0", address="172.31.213.11")
    (step,) = steps([first, second], serving(first))
    assert (step.service, step.displaces) == (second, ())


def test_a_replica_that_was_just_started_is_not_displaced_by_the_next_on_its_gpu(first: Service) -> None:
    second = replace(first, name="small-0", address="172.31.213.11")
    third = replace(first, name="ranker-0", address="172.31.213.12")
    found = steps([first, second, third], serving(first, digest="older"))
    assert [(step.service.name, step.displaces) for step in found] == [
        (first.name, (first.name,)), ("small-0", ()), ("ranker-0", ()),
    ]  # fmt: skip


def test_what_leaves_for_the_first_of_several_is_displaced_once(first: Service) -> None:
    second = replace(first, name="small-0", address="172.31.213.11")
    old = replace(first, name="llama-0", address="172.31.213.20")
    assert [step.displaces for step in steps([first, second], serving(old))] == [("llama-0",), ()]


def test_what_gets_no_requests_is_replaced_before_what_serves(first: Service) -> None:
    second, third = (replace(first, name=f"{first.name}-{n}", address=f"172.31.213.2{n}", devices=()) for n in (2, 3))
    every = [first, second, third]
    running = {name: one for service in every for name, one in serving(service, digest="older").items()}
    assert [step.service for step in steps(every, running)] == every
    down = {**running, **serving(third, digest="older", healthy=False)}
    assert [step.service for step in steps(every, down)] == [third, first, second]
    assert [step.service for step in steps(every, running, {second.endpoint})] == [second, first, third]


def test_what_nobody_wants_is_left_over(first: Service) -> None:
    assert leftovers([first], {**serving(first), **serving(replace(first, name="old-0"))}) == ("old-0",)
