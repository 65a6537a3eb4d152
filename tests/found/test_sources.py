"""Package sources that a used server describes: what a deploy makes of them, and what comes back when Ingot leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.driver.deploying import run
from tests.e2e.deploying import Run
from tests.found.source_states import (
    DESCRIBED,
    GONE,
    NVIDIA,
    PARTS,
    PREPARE,
    UNUSABLE,
    Described,
    Unusable,
    values,
)
from tests.found.states import APT_WORKS

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.found, pytest.mark.timeout(900)]

NAME = "found-sources"
DEPLOY = "tests/found/deploy_sources.py"
#: Every byte, link, owner and mode of what describes sources.
SOURCES = f"cd {PARTS} && ls -l --time-style=+ && tail -n +1 * && find /etc/apt/keyrings | sort"
#: A server that takes a connection and says nothing.
SILENT = "import socket, time; s = socket.create_server(('127.0.0.1', 9)); c = s.accept(); time.sleep(600)"


def deploy(*over: str) -> Run:
    return run(NAME, roles=DEPLOY, data=(*values(), *over))


@pytest.fixture(scope="module")
def host() -> Iterator[TestHost]:
    try:
        host = Sandbox().up(NAME, profile="rtx4090x1")
        host.succeeds(PREPARE, timeout_s=600)
        yield host
    finally:
        Sandbox().down(NAME)


@pytest.fixture(scope="module")
def before(host: TestHost) -> str:
    host.succeeds("set -e\n" + "".join(one.prepare for one in DESCRIBED))
    return host.succeeds(SOURCES)


@pytest.fixture(scope="module")
def first(host: TestHost, before: str) -> Run:
    done = deploy()
    assert done.status == 0, done.output[-4000:]
    return done


@pytest.mark.parametrize("one", DESCRIBED, ids=lambda one: one.file)
def test_a_description_is_used_switched_off_or_left_and_preflight_says_which(
    host: TestHost, first: Run, before: str, one: Described
) -> None:
    said = [line for line in first.said_of(NAME) if f"{NAME}: {one.path} describes package source" in line]
    words = {"used": "as it should be, and is used", "switched off": "the deploy switches that off", "left": ""}
    assert len(said) == (one.becomes != "left") and all(words[one.becomes] in line for line in said), first.output
    now = host.succeeds(f"cat {one.path}")
    if one.becomes == "switched off":
        assert "by Ingot, see" in now and now != one.text
        host.succeeds(f"test -f {one.path} && ! test -L {one.path}")
    else:
        assert now == one.text


def test_a_second_run_changes_nothing_and_apt_works(host: TestHost, first: Run) -> None:
    again = deploy()
    assert (again.status, again.changed(NAME)) == (0, []), again.output[-3000:]
    assert host.succeeds(f"ls {PARTS}/ingot-*").split() == [
        f"{PARTS}/ingot-nginx.sources",
        f"{PARTS}/ingot-nvidia.sources",
    ]
    host.succeeds(APT_WORKS, timeout_s=600)


@pytest.mark.parametrize("state", UNUSABLE, ids=lambda state: state.name)
def test_where_a_source_cannot_be_added_everything_is_as_before(host: TestHost, first: Run, state: Unusable) -> None:
    host.succeeds(state.prepare)
    was = host.succeeds(SOURCES)
    done = deploy(*state.values)
    assert done.status != 0 and "Traceback" not in done.output
    said = [line for line in done.said_of(NAME) if all(word in line for word in state.says)]
    assert len(said) == 1, done.output[-4000:]
    assert host.succeeds(SOURCES) == was
    host.succeeds(state.undo)
    host.succeeds(APT_WORKS, timeout_s=600)


def test_a_source_that_somebody_describes_again_and_a_run_that_is_cut_off_are_healed(
    host: TestHost, first: Run
) -> None:
    host.succeeds(f"echo 'deb [signed-by={GONE}] {NVIDIA} stable main' >{PARTS}/nvidia.list")
    assert "Conflicting values" in host.fails("apt-get update 2>&1")
    host.succeeds(f'systemd-run --quiet --collect --unit=silent python3 -c "{SILENT}"')
    pending = "/var/lib/ingot/apt-sources/nvidia/pending"
    moment = f"test -e {pending} && grep -q Ingot {PARTS}/nvidia.list && test -e {PARTS}/ingot-nvidia.sources"
    cutting = f"until {moment}; do sleep 0.1; done; sleep 1; systemctl kill --signal=KILL ingot-packages"
    host.succeeds(f"systemd-run --quiet --collect --unit=cut sh -c '{cutting}'")
    cut = deploy()
    assert cut.status != 0 and "was killed before it ended" in cut.output, cut.output[-3000:]
    host.succeeds(f"systemctl stop silent; test -e {pending}; {APT_WORKS}", timeout_s=600)
    healed = deploy()
    assert healed.status == 0 and healed.changed(NAME), healed.output[-3000:]
    host.succeeds(f"! test -e {pending} && {APT_WORKS}", timeout_s=600)
    assert deploy().changed(NAME) == []
    # Two of theirs that exclude each other would not come back together.
    host.succeeds(f"rm {PARTS}/nvidia.list")


def test_what_was_switched_off_comes_back_when_the_host_leaves(host: TestHost, first: Run, before: str) -> None:
    left = run(NAME, roles="tests/found/deploy_departure.py")
    assert left.status == 0, left.output[-3000:]
    assert host.succeeds(SOURCES) == before
    host.succeeds(APT_WORKS, timeout_s=600)
