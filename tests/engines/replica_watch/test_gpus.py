"""The host's own watch: which replicas it holds out, until when, and what nginx is told."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.engines.replica_watch import calls, gpus
from ingot.engines.replica_watch.gpus import judge
from ingot.engines.replica_watch.holds import wanted_holds
from ingot.engines.replica_watch.pool import fleet_text, is_of, pool_text
from ingot.engines.replica_watch.settings import Replica, Settings
from ingot.facts.replica_holds import parse_holds
from ingot.gateway.upstreams import Upstream, engines, upstreams_json
from ingot.operations.gateway.pool import engines_conf, fleet_conf
from ingot.operations.serving.replica_watch import settings
from tests.engines.replica_watch.conftest import WELL, WatchedHost

pytestmark = [pytest.mark.driver, pytest.mark.found]

ONE, TWO = "GPU-00000000-0000-0000-0000-000000000001", "GPU-00000000-0000-0000-0000-000000000002"
SETTINGS = Settings(**settings(9443))  # type: ignore[arg-type]
REPLICAS = [
    Replica("a", "10.0.0.2:8000", (ONE,), "/health", 100.0), Replica("b", "10.0.0.3:8000", (TWO,), "/health", 100.0),
]  # fmt: skip


def rows(first: str, second: str = "None") -> str:
    return f"{ONE}, 00000000:01:00.0, {first}\n{TWO}, 00000000:02:00.0, {second}\n"


@pytest.mark.parametrize(
    ("first", "fatal"),
    [
        ("None", False),
        ("Reset", True),
        ("Reboot", True),
        ("Drain and Reset", True),
        ("Drain P2P", False),
        ("[GPU is lost]", True),
        ("[GPU requires reset]", True),
        ("[Unknown Error]", True),
        ("[N/A]", False),
    ],
)
def test_a_gpu_is_judged_by_what_its_driver_asks_for(first: str, fatal: bool) -> None:
    one, two = judge(rows(first), "", SETTINGS, 0, 0)
    assert (one.trouble is not None, two.trouble) == (fatal, None)


@pytest.mark.parametrize(
    ("row", "log", "fatal"),
    [
        ("[N/A]", "[ 500.1] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", True),
        ("[N/A]", "[ 50.1] NVRM: Xid (PCI:0000:01:00): 79, before its replica was proven", False),
        ("[N/A]", "NVRM: Xid (PCI:0000:01:00): 79, without a time", True),
        ("[N/A]", "[ 500.1] NVRM: Xid (PCI:0000:02:00): 79, another GPU", False),
        ("[N/A]", "[ 500.1] NVRM: Xid (PCI:0000:01:00): 31, a program's fault", False),
        ("None", "[ 500.1] NVRM: Xid (PCI:0000:01:00): 79, and the driver asks for nothing", False),
    ],
)
def test_an_older_driver_s_gpu_is_judged_by_the_kernel_s_log(row: str, log: str, fatal: bool) -> None:
    assert (judge(rows(row), log, SETTINGS, 1100.0, 1000.0)[0].trouble is not None) == fatal


def test_a_replica_is_out_until_its_gpu_is_well_and_it_answers() -> None:
    silent = {"10.0.0.2:8000": "it has not answered since"}
    bad = {gpu.uuid: gpu for gpu in judge(rows("Reset"), "", SETTINGS, 0, 0)}
    good = {gpu.uuid: gpu for gpu in judge(rows("None"), "", SETTINGS, 0, 0)}
    held = wanted_holds(REPLICAS, bad, {}, {}, {})
    assert list(held) == ["10.0.0.2:8000"]
    assert held["10.0.0.2:8000"]["why"] == "the driver asks for: Reset"
    assert wanted_holds(REPLICAS, bad, {}, {}, held) == held, "since when does not change"
    assert wanted_holds(REPLICAS, bad, {}, silent, held) == held, "the GPU is the better reason"
    waits = wanted_holds(REPLICAS, good, {}, silent, held)
    since = held["10.0.0.2:8000"]["since"]
    assert waits == {"10.0.0.2:8000": {"gpu": "", "why": "it has not answered since", "since": since}}
    assert wanted_holds(REPLICAS, good, {}, {}, waits) == {}


def test_a_driver_that_tells_nothing_keeps_what_it_said_and_hides_no_other_fault() -> None:
    bad = {gpu.uuid: gpu for gpu in judge(rows("Reset"), "", SETTINGS, 0, 0)}
    held = wanted_holds(REPLICAS, bad, {}, {}, {})
    assert wanted_holds(REPLICAS, None, {}, {}, held) == held
    assert list(wanted_holds(REPLICAS, None, {}, {"10.0.0.3:8000": "it hangs"}, held)) == [
        "10.0.0.2:8000", "10.0.0.3:8000",
    ]  # fmt: skip


def test_a_gpu_that_is_not_listed_any_more_and_an_instance_s_gpu_count() -> None:
    good = {gpu.uuid: gpu for gpu in judge(rows("None"), "", SETTINGS, 0, 0)}
    assert list(wanted_holds(REPLICAS, {ONE: good[ONE]}, {}, {}, {})) == ["10.0.0.3:8000"]
    instance = [replace(REPLICAS[0], gpus=("MIG-1",))]
    bad = {gpu.uuid: gpu for gpu in judge(rows("Reboot"), "", SETTINGS, 0, 0)}
    listing = f"GPU 0: NVIDIA H100 (UUID: {ONE})\n  MIG 1g.10gb     Device  0: (UUID: MIG-1)\n"
    parents = gpus.parents_of_instances(listing)
    assert wanted_holds(instance, bad, parents, {}, {})["10.0.0.2:8000"]["gpu"] == "MIG-1"


UPSTREAMS = (
    Upstream("chat", ("10.0.0.2:8000", "10.0.0.3:8000"), draining=("10.0.0.3:8000",)),
    Upstream("embed", ("10.0.0.4:8000",)),
)


@pytest.mark.parametrize("held", [(), ("10.0.0.2:8000",), ("10.0.0.4:8000",), ("10.0.0.2:8000", "10.0.0.4:8000")])
@pytest.mark.parametrize("before", [(), ("10.0.0.2:8000",), ("10.0.0.4:8000",)])
def test_the_pool_becomes_what_a_deploy_would_write(held: tuple[str, ...], before: tuple[str, ...]) -> None:
    wanted = engines(UPSTREAMS, held=held)
    text = engines_conf(engines(UPSTREAMS, held=before), affinity=False)
    made, usable = pool_text(text, json.loads(upstreams_json(UPSTREAMS)), held)
    assert made == engines_conf(wanted, affinity=False)
    assert usable == [not engine.out for engine in wanted]
    ports = fleet_conf(engines(UPSTREAMS, held=before), 9443, ipv6=False)
    has_six = Path("/proc/net/if_inet6").exists() and bool(Path("/proc/net/if_inet6").read_text())
    assert fleet_text(ports, usable, 9443) == fleet_conf(wanted, 9443, has_six)


def test_a_pool_that_the_gateway_was_not_told_of_yet_is_left_alone() -> None:
    text = engines_conf(engines(UPSTREAMS), affinity=False)
    now = json.loads(upstreams_json(UPSTREAMS))
    assert is_of(text, now)
    assert not is_of(text, [{"model": "another", "replicas": ["10.0.0.9:8000"]}, *now])
    assert not is_of(text, [])


def test_a_host_that_failed_its_acceptance_stays_out() -> None:
    text = engines_conf(engines(UPSTREAMS, held_out=True), affinity=True)
    made, usable = pool_text(text, json.loads(upstreams_json(UPSTREAMS)), ("10.0.0.4:8000",))
    assert made == engines_conf(engines(UPSTREAMS, held_out=True, held=("10.0.0.4:8000",)), affinity=True)
    assert usable == [False, False]


def test_a_look_takes_a_replica_out_and_puts_it_back(tmp_path: Path, host: WatchedHost) -> None:
    pool = tmp_path / "engines"
    first = pool.read_text()
    failed = host.look(f"echo '{ONE}, 00000000:01:00.0, Reset'")
    assert "is taken out of the pool" in failed.stdout, failed.stderr
    (hold,) = parse_holds((tmp_path / "holds").read_text())
    assert (hold.gpu, hold.why) == (ONE, "the driver asks for: Reset")
    assert " down;" in pool.read_text()
    assert 'default "draining"' in pool.read_text()
    again = host.look(f"echo '{ONE}, 00000000:01:00.0, Reset'")
    assert (again.returncode, again.stdout) == (0, "")
    healed = host.look(f"echo '{ONE}, 00000000:01:00.0, None'")
    assert "is back in the pool" in healed.stdout
    assert pool.read_text() == first
    assert parse_holds((tmp_path / "holds").read_text()) == ()


def test_a_driver_that_tells_nothing_changes_nothing(
    tmp_path: Path, host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.look(f"echo '{ONE}, 00000000:01:00.0, Reset'")
    before = (tmp_path / "holds").read_text(), (tmp_path / "engines").read_text()
    silent = host.look("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert (silent.returncode, "stays as it is" in silent.stdout) == (1, True)
    assert ((tmp_path / "holds").read_text(), (tmp_path / "engines").read_text()) == before


def test_an_nvidia_smi_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PROGRAM_LIMIT_S", 0.2)
    began = time.monotonic()
    assert calls.run("sleep", "60") is None
    assert time.monotonic() - began < 30


def test_an_older_driver_is_asked_without_the_newer_field(tmp_path: Path, host: WatchedHost) -> None:
    refused = "echo 'Field \"gpu_recovery_action\" is not a valid field to query.'; exit 2"
    script = f"case $1 in *recovery*) {refused};; esac\necho '{ONE}, 00000000:01:00.0'"
    assert (host.look(script).returncode, (tmp_path / "holds").exists()) == (0, False)


def test_a_replica_that_a_run_takes_out_during_a_look_stays_out(host: WatchedHost) -> None:
    drained = (Upstream("chat", (host.address,), draining=(host.address,)),)
    new = {"upstreams": upstreams_json(drained), "engines": engines_conf(engines(drained), affinity=False)}
    for name, text in new.items():
        (host.directory / f"{name}.new").write_text(text)
    moves = "; ".join(f"mv {host.directory}/{name}.new {host.directory}/{name}" for name in new)
    assert host.look(f"{moves}; {WELL}").returncode == 0
    assert host.pool() == new["engines"] and " down;" in host.pool()
