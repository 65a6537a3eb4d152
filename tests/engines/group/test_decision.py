"""A group starts on all its hosts or on none: what its head and its members do about each thing that happens."""

from dataclasses import replace

import pytest

from ingot.engines.group import decision
from ingot.engines.group.decision import ENDED, LOST_S, RUN, RUNNING, STOP, STOPPED, Head, Heard, Member

DIGEST = "d1"


def lead(head: Head, heard: Heard | None, **given: object) -> Head:
    said = {"runs": True, "answered": False, "trouble": "", "digest": DIGEST, "now": 100.0, **given}
    return decision.lead(head, {"b": heard}, **said)  # type: ignore[arg-type]


def follow(member: Member, heard: Heard | None, **given: object) -> Member:
    said = {"runs": True, "digest": DIGEST, "now": 100.0, **given}
    return decision.follow(member, heard, **said)  # type: ignore[arg-type]


def said(epoch: int, phase: str, at: float = 100.0, digest: str = DIGEST) -> Heard:
    return Heard(epoch, phase, digest, at)


def test_the_head_starts_once_every_member_says_that_it_has_stopped() -> None:
    stopped = Head(7, STOP, 90)
    assert lead(stopped, None).why == "b is not heard"
    assert lead(stopped, said(6, STOPPED)).why == "b has not stopped yet"
    assert lead(stopped, said(7, ENDED)).phase == STOP
    assert lead(stopped, said(7, STOPPED, at=100 - LOST_S - 1)).why == "b is not heard"
    assert lead(stopped, said(7, STOPPED)) == Head(7, RUN, 100)


def test_hosts_that_were_deployed_differently_are_never_started_together() -> None:
    assert "another group" in lead(Head(7, STOP, 90), said(7, STOPPED, digest="d2")).why
    other = follow(Member(7, RUNNING), said(7, RUN, digest="d2"))
    assert (other.phase, "another group" in other.why) == (ENDED, True)


RUNS = Head(7, RUN, 50, answered=True)


@pytest.mark.parametrize(
    ("heard", "given", "why"),
    [
        (said(7, RUNNING), {"runs": False}, "the engine ended on this host"),
        (said(7, RUNNING), {"trouble": "a short question was answered with 500"}, "answered with 500"),
        (said(7, ENDED), {}, "the engine ended on b"),
        (said(7, RUNNING, at=100 - LOST_S - 1), {}, "b is not heard"),
        (said(0, ENDED), {}, "b does not run"),
    ],
)
def test_whatever_ends_ends_the_epoch_for_all(heard: Heard, given: dict[str, object], why: str) -> None:
    after = lead(RUNS, heard, **given)
    assert (after.epoch, after.phase, after.answered) == (8, STOP, False)
    assert why in after.cause


def test_a_member_that_has_not_heard_of_the_start_yet_is_given_time() -> None:
    assert lead(replace(RUNS, since=99), said(7, STOPPED)) == replace(RUNS, since=99)
    assert lead(replace(RUNS, since=99), said(7, RUNNING)) == replace(RUNS, since=99)


def test_starts_that_come_to_nothing_are_spaced_out_and_an_answer_ends_the_count() -> None:
    failed = lead(Head(7, RUN, 50, failures=1), said(7, ENDED))
    assert failed.cause == "the engine ended on b"
    assert failed.failures == 2
    assert lead(failed, said(8, STOPPED)).phase == STOP
    assert lead(failed, said(8, STOPPED, at=120), now=120.0).phase == RUN
    assert lead(Head(7, RUN, 50, failures=2), said(7, RUNNING), answered=True).failures == 0


def test_a_member_runs_only_in_an_epoch_whose_stop_it_has_seen() -> None:
    fresh = Member()
    assert follow(fresh, said(7, RUN)) == Member(7, ENDED, "it began anew while the others run")
    stopped = follow(fresh, said(7, STOP))
    assert stopped == Member(7, STOPPED)
    assert follow(stopped, said(7, RUN)) == Member(7, RUNNING)
    assert follow(Member(7, RUNNING), said(8, STOP)) == Member(8, STOPPED)
    assert follow(Member(7, RUNNING), said(8, RUN)).phase == ENDED


def test_a_member_ends_with_its_engine_and_without_its_head() -> None:
    assert follow(Member(7, RUNNING), said(7, RUN), runs=False).phase == ENDED
    assert follow(Member(7, RUNNING), said(7, RUN)) == Member(7, RUNNING)
    for before in (Member(7, RUNNING), Member(7, STOPPED)):
        for heard in (None, said(7, RUN, at=100 - LOST_S - 1)):
            assert follow(before, heard).why == "the head is not heard"
            assert follow(before, heard).phase == ENDED
    # It does not begin again by itself, in whichever order the head is heard.
    assert follow(Member(7, ENDED), said(7, RUN), runs=False).phase == ENDED


def test_however_hosts_fall_silent_no_half_group_goes_on() -> None:
    """Both sides of a cut stop, within the time that either waits for the other."""
    head, member, epoch = RUNS, Member(7, RUNNING), 7
    heard_of_member, heard_of_head = said(epoch, RUNNING, at=100), said(epoch, RUN, at=100)
    now = 100.0
    while now <= 100 + LOST_S + 1:
        head = lead(head, heard_of_member, now=now)
        member = follow(member, heard_of_head, now=now)
        now += 1
    assert (head.phase, member.phase) == (STOP, ENDED)
    # When they hear each other again, both begin anew.
    member = follow(member, said(head.epoch, STOP, at=now), now=now)
    head = lead(head, said(member.epoch, member.phase, at=now), now=now)
    assert (head.phase, follow(member, said(head.epoch, RUN, at=now), now=now).phase) == (RUN, RUNNING)


def test_what_ended_an_epoch_is_told_until_the_next_answers() -> None:
    ended = lead(RUNS, said(7, ENDED))
    waits = lead(ended, said(7, ENDED))
    assert (waits.cause, waits.why) == ("the engine ended on b", "b has not stopped yet")
    again = lead(replace(waits, failures=0), said(8, STOPPED))
    assert (again.phase, again.cause, again.why) == (RUN, "the engine ended on b", "")
