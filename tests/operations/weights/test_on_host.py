"""What is wrong with a source, a disk or a peer, on a booted host: one sentence, and the next run goes on."""

from __future__ import annotations

import hashlib
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.operations import detached
from ingot.operations.serving import planning
from ingot.operations.weights import models, peers
from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import pki
from tests.hub.standin import Repository, hub
from tests.operations.weights.swarm import Member
from tests.operations.weights.test_models import CONTENT, REVISION, SHARD, Mirror, damaged_by, entry, serving, wanted

pytestmark = [pytest.mark.e2e, pytest.mark.cache, pytest.mark.timeout(900)]

ROOT = "/srv/models"
TARGET = f"{ROOT}/tiny/bf16/{REVISION}"
NAME = "t-weights"


@pytest.fixture(scope="module")
def host() -> Iterator[TestHost]:
    sandbox = Sandbox()
    yield sandbox.up(NAME)
    sandbox.down(NAME)


@pytest.fixture
def machine(host: TestHost) -> Iterator[str]:
    """The address of this machine that the host knows; the host has no model before and after."""
    host.succeeds(f"rm -rf {ROOT}")
    yield host.succeeds("ip route show default | cut -d' ' -f3").strip()
    host.run(f"rm -rf {ROOT}")


@pytest.fixture
def mirror(machine: str) -> Iterator[Mirror]:
    yield from serving(machine)


@pytest.fixture
def fetch(
    host: TestHost, mirror: Mirror, run_operation: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Fetch the model of the mirror on the host; `changed` are files whose entries in the lock differ from it."""
    # How long it waits between attempts is proven elsewhere.
    monkeypatch.setattr(
        models, "SCRIPT", models.SCRIPT.replace('sleep "$1"', "sleep 0.01").replace("stall_s=30", "stall_s=1")
    )
    monkeypatch.setattr(planning, "host_plan", lambda: None)
    monkeypatch.setattr(models, "wanted_models", lambda *_: (wanted(ROOT),))

    def run(
        source: dict[str, str] | None = None, token_file: str | None = None, repository: str = "tiny", **changed: Any
    ) -> Any:
        lock = tmp_path / "models.lock.yaml"
        files = json.loads(Mirror(dict(CONTENT)).manifest(**changed))["files"]
        lock.write_text(
            json.dumps(
                {"schema": 1, "hub": mirror.url, "repositories": {repository: {"commit": REVISION, "files": files}}}
            )
        )
        data = {
            "cache_root": ROOT,
            "cache_hub_token_file": token_file,
            "sources": {"models": source or {"kind": "mirror", "uri": mirror.url}},
            "models_lock": str(lock),
            "models_site": None,
            "serve": [{"model": "tiny", "context": 1024, "concurrency": 1}],
            "site_models": {"tiny": entry(repository)},
        }
        return run_operation(models.cached, on=host, data=data)

    return run


def is_whole(host: TestHost) -> None:
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {TARGET}/{name}\n" for name, data in CONTENT.items())
    host.put("/run/sums", sums)
    host.succeeds("sha256sum --quiet -c /run/sums")


def test_a_source_that_is_wrong_refuses_or_stalls_leaves_nothing_visible_and_the_next_run_goes_on(
    host: TestHost, mirror: Mirror, fetch: Callable[..., Any]
) -> None:
    def fails_with(*words: str, **changed: Any) -> None:
        failed = fetch(**changed)
        sentences = [line for line in failed.said.splitlines() if f"{NAME}: " in line and "; see /var/log" in line]
        assert not failed.succeeded and any(all(one in line for one in words) for line in sentences), failed.said
        host.fails(f"ls {TARGET}")
        for faults in (mirror.answers, mirror.statuses, mirror.headers, mirror.cut_at):
            faults.clear()
        mirror.stalls.clear()

    wrong = damaged_by(SHARD)
    mirror.answers[SHARD] = [wrong] * 9
    fails_with(f"has sha256 {hashlib.sha256(wrong).hexdigest()}, expected ", ", twice")
    mirror.answers[SHARD] = [CONTENT[SHARD][:-7]] * 9
    fails_with("could not fetch", f"at {len(wrong) - 7} of {len(wrong)} bytes")
    mirror.answers[SHARD] = [CONTENT[SHARD] + bytes(70_000)] * 9
    fails_with(f"it has more than the {len(wrong)} bytes expected")
    fails_with(
        f"expected {'e' * 64}, twice; the lock, the manifest or the source is wrong", **{SHARD: {"sha256": "e" * 64}}
    )
    for status, words in ((401, "gated, private"), (403, "gated, private"), (404, "error: 404"), (500, "error: 500")):
        mirror.statuses[SHARD] = [status] * 9
        fails_with("could not fetch", words)
    mirror.stalls.add(SHARD)
    fails_with("curl: (28)")
    # At the start, in the middle, before the last byte; and a quota that is full once.
    mirror.cut_at[SHARD] = [1, 100_000, len(wrong) - 1]
    mirror.statuses[SHARD], mirror.headers["Retry-After"] = [429], "1"
    mirror.asked.clear()
    healed = fetch()
    assert healed.succeeded, healed.said
    is_whole(host)
    ranges = [asked for name, asked in mirror.asked if name == SHARD]
    assert ranges[-3:] == ["bytes=1-", "bytes=100000-", f"bytes={len(wrong) - 1}-"], ranges
    assert not fetch().changed


def test_inodes_that_run_out_in_the_middle_are_one_sentence_and_the_next_run_goes_on(
    host: TestHost, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.succeeds(f"mkdir -p {ROOT} && mount -t tmpfs -o nr_inodes=7 none {ROOT}")
    try:
        with monkeypatch.context() as meanwhile:
            # There were some when it was looked at, and somebody else has taken them since.
            meanwhile.setattr(models, "no_room", lambda *_: None)
            failed = fetch()
        assert not failed.succeeded and "0 inodes are free on /srv/models; free some and run again" in failed.said
        host.fails(f"ls {TARGET}")
        host.succeeds(f"mount -o remount,nr_inodes=99 {ROOT}")
        assert fetch().succeeded
        is_whole(host)
    finally:
        host.succeeds(f"umount {ROOT}")


def test_a_host_that_loses_power_in_the_middle_goes_on_from_where_it_stopped(
    host: TestHost, mirror: Mirror, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the mirror holds back is no stall yet when the power goes.
    monkeypatch.setattr(models, "SCRIPT", models.SCRIPT.replace("stall_s=1\n", "stall_s=60\n"))
    mirror.holds_at[SHARD] = 150_000
    part = f"{TARGET}.incomplete/{SHARD}.part"

    def power() -> None:
        # curl writes in blocks: the last of them is not on the disk yet.
        host.wait_until_succeeds(f'[ "$(stat -c %s {part})" -gt 100000 ]', timeout_s=600)
        host.kill()
        host.start()

    cut = threading.Thread(target=power)
    cut.start()
    monkeypatch.setattr(detached, "RECONNECT_S", 60)
    failed = fetch()
    cut.join(timeout=600)
    assert not failed.succeeded and f"{NAME}: " in failed.said, failed.said
    host.fails(f"ls {TARGET}")
    kept = int(host.succeeds(f"stat -c %s {part}"))
    mirror.holds_at.clear()
    mirror.asked.clear()
    healed = fetch()
    assert healed.succeeded and kept > 100_000, healed.said
    is_whole(host)
    assert (SHARD, f"bytes={kept}-") in mirror.asked and not fetch().changed


@pytest.fixture
def peer(host: TestHost, machine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Member]]:
    """Another host of the fleet, whose shard rotted; or one that has the fleet's name and another CA's certificate."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        home.chmod(0o755)
        with socket.create_server((machine, 0)) as free:
            member = Member(1, home / "peer", free.getsockname()[1])
        (member.home / "at-work").mkdir(parents=True)
        member.holds({**CONTENT, SHARD: damaged_by(SHARD)})
        ca, other = pki.authority(home / "secrets"), pki.authority(home / "others")
        lines = f"me\t0\t{peers.HOME}\npeer\t1\t{member.name}\t{machine}\t{member.port}\n"
        monkeypatch.setattr(peers, "known", lambda _: lines)
        host.put(f"{peers.HOME}/peer.pem", pki.of_a_day(ca, [NAME]), "0600")
        host.put(f"{peers.HOME}/peer-ca.pem", ca.certificate_pem)
        host.succeeds(f"mkdir -p {peers.HOME}/at-work")

        def serve(foreign: bool) -> Member:
            member.serve(other if foreign else ca)
            return member

        yield serve
        member.dies()
        host.succeeds(f"rm -rf {peers.HOME}")


def test_a_peer_whose_file_rotted_is_named_and_the_file_comes_from_outside(
    host: TestHost, mirror: Mirror, machine: str, fetch: Callable[..., Any], peer: Callable[[bool], Member]
) -> None:
    member = peer(False)
    run = fetch()
    assert run.succeeded, run.said
    is_whole(host)
    assert f"{SHARD} of peer {member.name} has sha256 {hashlib.sha256(damaged_by(SHARD)).hexdigest()}" in run.said
    assert {name for name, _ in mirror.asked} == {SHARD}, "the others came from the peer"
    # Who has no certificate of the fleet's is told nothing.
    path = f"tiny/bf16/{REVISION}/config.json"
    host.fails(f"curl -skf --max-time 10 https://{machine}:{member.port}/{path}")


def test_a_peer_of_another_fleet_is_not_believed(
    host: TestHost, mirror: Mirror, fetch: Callable[..., Any], peer: Callable[[bool], Member]
) -> None:
    member = peer(True)
    assert fetch().succeeded
    is_whole(host)
    assert {name for name, _ in mirror.asked} == set(CONTENT)
    host.succeeds(f"grep 'peer {member.name}: ' /var/log/ingot/ingot-models.log")


def test_the_hub_is_fetched_from_as_its_own_client_does_and_the_token_stays_with_it(
    host: TestHost, machine: str, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("hf_right\n")
    token.chmod(0o600)
    with hub(machine, cdn=True) as standin:
        standin.repositories["org/tiny"] = Repository({REVISION: dict(CONTENT)}, REVISION, gated=True)
        monkeypatch.setattr(models, "wanted_models", lambda *_: (wanted(ROOT, "org/tiny"),))
        source = {"kind": "hub", "uri": standin.url}
        run = fetch(source=source, token_file=str(token), repository="org/tiny")
        assert run.succeeded and standin.token not in run.everything, run.said
        is_whole(host)
        assert {said for _, said in standin.asked} == {"Bearer hf_right"}
        assert [said for _, said in standin.from_cdn] == [None], "where the redirect leads"
