"""What a dry run comes to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.operations.refuse import refuse
from ingot.verification.drift import Change, HostDrift, asked, status

pytestmark = pytest.mark.onboarding

CHANGE = Change("Gateway", "nginx", ("write /etc/nginx/nginx.conf (sha256 a -> b)",))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([HostDrift("a"), HostDrift("b")], 0),
        ([HostDrift("a"), HostDrift("b", (CHANGE,))], 2),
        ([HostDrift("a", (CHANGE,)), HostDrift("b", errors=("no SSH",))], 1),
    ],
)
def test_the_exit_status_tells_drift_from_errors(found: list[HostDrift], expected: int) -> None:
    assert status(found) == expected


def test_sentences_are_gathered_by_role_and_a_silent_operation_gives_its_name() -> None:
    found = HostDrift("a", (CHANGE, Change("Gateway", "Reload it", ()), Change("Docker", "x", ("hold docker-ce",))))
    assert found.to_dict() == {
        "host": "a",
        "drifted": True,
        "changes": {"Gateway": [*CHANGE.sentences, "reload it"], "Docker": ["hold docker-ce"]},
        "errors": [],
    }


def commands(*given: PyinfraCommand | Exception) -> Iterator[PyinfraCommand]:
    for one in given:
        if isinstance(one, Exception):
            raise one
        yield one


def test_an_operation_without_commands_does_not_act() -> None:
    assert asked(commands()) == (None, False)


def test_a_refusal_is_no_drift() -> None:
    assert asked(commands(refuse("a: no GPU answers."))) == ("a: no GPU answers.", False)


@pytest.mark.parametrize("later", [refuse("the module is not built"), RuntimeError("nothing was installed")])
def test_what_follows_from_a_command_that_was_not_run_is_no_error(later: PyinfraCommand | Exception) -> None:
    assert asked(commands(StringCommand("apt-get install"), later)) == (None, True)


def test_an_operation_that_breaks_off_before_its_first_command_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="cut off"):
        asked(commands(RuntimeError("cut off")))
