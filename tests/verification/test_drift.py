"""What a dry run comes to."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.operations.refuse import refuse
from ingot.verification import drift
from ingot.verification.drift import Change, HostDrift, asked, compared

pytestmark = pytest.mark.onboarding

CHANGE = Change("Gateway", "nginx", ("write /etc/nginx/nginx.conf (sha256 a -> b)",))


def test_sentences_are_gathered_by_role_and_a_silent_operation_gives_its_name() -> None:
    found = HostDrift("a", (CHANGE, Change("Gateway", "Reload it", ()), Change("Docker", "x", ("hold docker-ce",))))
    assert found.to_dict() == {
        "host": "a",
        "drifted": True,
        "changes": {"Gateway": [*CHANGE.sentences, "reload it"], "Docker": ["hold docker-ce"]},
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


def dry_run(**operations: PyinfraCommand | None) -> HostDrift:
    """A host whose operations, by name, yield one command each or nothing."""

    def of(_: object, name: str) -> SimpleNamespace:
        command = operations[name]
        return SimpleNamespace(command_generator=lambda: commands(*([command] if command else [])))

    state = SimpleNamespace(
        get_op_data_for_host=of, get_op_meta=lambda name: SimpleNamespace(names={f"{name} | x"}), failed_hosts=()
    )
    host = SimpleNamespace(op_hash_order=list(operations), connector_data={})
    return compared(state, host, "a")  # type: ignore[arg-type]


def test_a_host_that_no_deploy_could_change_is_an_error() -> None:
    found = dry_run(Preflight=refuse("a: no GPU answers."), Docker=StringCommand("apt-get install"))
    assert found == HostDrift("a", errors=("no GPU answers.",))


def test_what_a_fresh_host_lacks_is_drift_and_no_error() -> None:
    found = dry_run(Preflight=None, Driver=StringCommand("apt-get install"), Cache=refuse("a: no driver answers."))
    assert found.changes == (Change("Driver", "x", ()),) and not found.errors


class Remote:
    """A host that takes commands, alone in its inventory."""

    def __init__(self, *groups: str) -> None:
        self.groups, self.inventory = list(groups), [self]
        self.data: dict[str, object] = {}
        self.given: list[str] = []

    def run_shell_command(self, command: StringCommand, **arguments: object) -> None:
        self.given.append(f"{command} <<< {arguments['_stdin']}")


def test_a_watched_host_keeps_how_much_differed() -> None:
    host = Remote("monitor")
    drift._tell_monitor(host, HostDrift("a", (CHANGE, CHANGE)))  # type: ignore[arg-type]
    [command] = host.given
    assert "/var/lib/ingot/drift.json" in command and '"found": 2' in command


@pytest.mark.parametrize(
    ("groups", "found"), [([], HostDrift("a", (CHANGE,))), (["monitor"], HostDrift("a", errors=("no answer",)))]
)
def test_a_host_that_nobody_watches_or_that_gave_no_answer_keeps_nothing(groups: list[str], found: HostDrift) -> None:
    host = Remote(*groups)
    drift._tell_monitor(host, found)  # type: ignore[arg-type]
    assert not host.given
