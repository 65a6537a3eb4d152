"""An acceptance on a booted host: killed half way, taken up again, passed, failed for every fault, and overridden.

The GPUs are simulated; the burn-in runs in the real engine image, given devices by the real Docker. The tests run in
order: each starts from what the one before left.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.acceptance.level import LEVELS
from ingot.acceptance.script import Job
from ingot.sandbox import Sandbox, TestHost, simulated
from tests.e2e.deploying import INGOT, PYINFRA, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.onboarding, pytest.mark.timeout(1800)]

NAME = "t-o2-accept"
RESULTS = "/var/lib/ingot/acceptance"
POOL = "/etc/nginx/ingot/engines.conf"
UPSTREAMS = "/var/lib/ingot/upstreams.json"
ORDERED = {"gpus": "4 x H100 80GB", "memory": "2 GB"}

#: A replica as an acceptance meets it: a container of the engine's project that somebody's callers depend on.
REPLICA = (
    "docker run --detach --init --name ingot-engine-tiny-0 --label com.docker.compose.project=ingot-engine "
    "--network none --entrypoint sleep $(docker images --quiet | head -n 1) 3600"
)


@dataclass(frozen=True)
class Accepted:
    """One finished `ingot accept`."""

    status: int
    output: str


class Machine:
    """The host, and `ingot accept` on it by an inventory that says what was ordered."""

    def __init__(self, host: TestHost, directory: Path) -> None:
        self.host = host
        self.inventory = directory / "ordered.py"
        self.order(ORDERED)

    def order(self, expect: dict[str, str]) -> None:
        self.inventory.write_text(
            "from ingot.sandbox.inventory import hosts\n\n"
            f"gpu = [(name, {{**data, 'expect': {expect!r}}}) for name, data in hosts() if name == '@ingot/{NAME}']\n"
        )

    def start(self, *flags: str) -> subprocess.Popen[str]:
        command = [str(INGOT), "accept", NAME, "--inventory", str(self.inventory), "--level", "quick", *flags]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def accept(self, *flags: str) -> Accepted:
        running = self.start("--hours", "0.0006", *flags)
        output, _ = running.communicate(timeout=600)
        return Accepted(running.returncode, output)

    def wait_for(self, phase: str) -> None:
        self.host.wait_until_succeeds(f'grep -q \'"phase": "{phase}"\' {RESULTS}/burn_in', timeout_s=600)

    def acceptance(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.host.succeeds("cat /var/lib/ingot/acceptance.json"))
        return found

    def replica(self) -> list[str]:
        """Whether it runs, and since when."""
        return self.host.succeeds(
            "docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' ingot-engine-tiny-0"
        ).split()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    host = Sandbox().up(NAME, profile="h100x4")
    command = [str(PYINFRA), "-y", "inventories/sandbox.py", "tests/acceptance/deploy_acceptance.py", "--limit", NAME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    host.succeeds(REPLICA, timeout_s=600)
    host.succeeds(f"mkdir -p {Path(POOL).parent} && echo '# in use' >{POOL}")
    host.put(UPSTREAMS, '[{"model": "tiny", "replicas": ["127.0.0.1:8000"]}]\n')
    yield Machine(host, tmp_path_factory.mktemp("inventory"))
    # Other tests' hosts are no fleet of this one.
    shutil.rmtree(Sandbox().secrets_dir / "evidence" / NAME, ignore_errors=True)
    Sandbox().down(NAME)


def test_what_is_killed_half_way_brings_its_replicas_back(machine: Machine) -> None:
    before = machine.replica()
    running = machine.start("--hours", "0.0006")
    machine.wait_for("host_memory")
    assert machine.replica()[0] == "false"
    assert "down" in machine.host.succeeds(f"cat {POOL}")
    machine.host.succeeds("systemctl kill --signal KILL ingot-accept.service ingot-accept-burn.service")
    output, _ = running.communicate(timeout=600)
    assert running.returncode == 1
    assert "was killed before it ended; run the same line again" in output
    machine.host.wait_until_succeeds(f"[ ! -e {RESULTS}/stopped ]", timeout_s=600)
    assert machine.replica()[0] == "true"
    assert machine.replica() != before
    assert machine.host.succeeds(f"cat {POOL}") == "# in use\n"
    assert "draining" not in machine.host.succeeds(f"cat {UPSTREAMS}")
    machine.host.fails("docker inspect ingot-acceptance")
    machine.host.fails("ls /etc/systemd/system/ingot-accept-restore.service")


def test_the_next_run_takes_it_up_and_a_sound_host_passes(machine: Machine) -> None:
    run = machine.accept()
    assert run.status == 0, run.output
    assert f"{NAME}: pass (quick)" in run.output
    burned = machine.host.succeeds(f"cat {RESULTS}/burn_in")
    # Measured before the kill, and not again.
    assert burned.count('"phase": "host_memory"') == 1
    assert '"torch": "2.13.0+cpu"' in burned
    assert burned.count('"tflops": 762.0, "compared"') == 4
    assert machine.acceptance() | {"at": ""} == {
        "verdict": "pass",
        "level": "quick",
        "at": "",
        "reasons": [],
        "override": None,
    }
    assert machine.replica()[0] == "true"
    page = next(line.partition("evidence: ")[2] for line in run.output.splitlines() if "evidence: " in line)
    assert "<svg" in Path(page).read_text()
    (record, *_) = sorted((Path(page).parent / NAME).glob("*.json"), reverse=True)
    measured = json.loads(record.read_text())["measured"]
    assert measured["disk"]["read_gb_per_s"] > 0
    # A trace under load: the stand-in's nvidia-smi saw the devices in use.
    assert max(one["clock"] for one in measured["samples"]) == 1755


def test_the_burn_in_computes_for_real_where_nothing_is_simulated(machine: Machine) -> None:
    """The engine image's own torch on the CPU: no device is given, so that no stand-in is there."""
    container = " ".join(
        Job(LEVELS["quick"], "", "", (), "", 0, burn_in=False, again=False, shm_bytes=1 << 30, pids=512).container()
    )
    phases = "matmul,copy,memory,soak"
    output = machine.host.succeeds(
        f"docker run {container} $(docker images --quiet | head -n 1) /burnin.py --device cpu --phases {phases} "
        "--seconds 0.4 --soak-seconds 0.6",
        timeout_s=600,
    )
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [event["finished"] for event in events if event.get("complete")] == phases.split(",")
    by_phase = {event["phase"]: event for event in events if "phase" in event}
    assert by_phase["software"]["cuda"] is None
    assert by_phase["matmul"]["tflops"] > 0
    assert (by_phase["memory"]["tested_bytes"] >= 64 << 20, by_phase["memory"]["wrong"]) == (True, 0)
    soak = by_phase["soak"]
    assert (soak["compared"] > 0, soak["wrong"], soak["wrong_samples"]) == (True, 0, 0)


def test_steps_that_are_done_are_not_repeated(machine: Machine) -> None:
    question = f"sha256sum {RESULTS}/burn_in {RESULTS}/disk {RESULTS}/trace {RESULTS}/before_counters"
    before, replica = machine.host.succeeds(question), machine.replica()
    assert machine.accept().status == 0
    assert machine.host.succeeds(question) == before
    # Nobody was drained for it.
    assert machine.replica() == replica


def test_a_degraded_link_a_slow_sibling_corruption_and_an_xid_are_named(machine: Machine) -> None:
    host = machine.host
    loaded = json.loads(host.succeeds("ingot-simulated get gpus.1.under_load"))
    host.succeeds(simulated.set_command("gpus.1.under_load", loaded | {"pcie.link.width.current": "8"}))
    host.succeeds(simulated.set_command("gpus.1.burn_in.to_device_gb_per_s", 24.7))
    host.succeeds(simulated.set_command("gpus.2.burn_in.matmul_tflops", 705))
    host.succeeds(simulated.set_command("gpus.3.burn_in.corrupt_product", 20))
    machine.order(ORDERED | {"memory": "2 TB"})
    # The disk has not become another one since.
    host.succeeds(f"rm {RESULTS}/burn_in {RESULTS}/before_* {RESULTS}/trace")

    def fall_off_the_bus() -> None:
        machine.wait_for("soak")
        address = json.loads(host.succeeds("ingot-simulated get gpus.0.address")).rpartition(".")[0]
        host.succeeds(simulated.set_command("kernel_log", [f"NVRM: Xid (PCI:{address}): 79, GPU has fallen off."]))

    cable = threading.Thread(target=fall_off_the_bus)
    cable.start()
    run = machine.accept()
    cable.join()
    assert run.status == 1, run.output
    for reason in (
        "fail: ordered 2 TB of memory, found",
        "fail: GPU 0 reported Xid 79 during the run: the GPU fell off the bus",
        "fail: GPU 1 uses 8 of its 16 PCIe lanes, others of its kind more; check its seat and riser",
        "fail: GPU 1: host to device 24.7 GB/s, 55% below its siblings' 55.2",
        "warn: GPU 2: matmul 705 TFLOP/s, 7% below its siblings' 762",
        "fail: GPU 3 computes wrong: after ",
        "s element [3, 5] of a product is 0x",
    ):
        assert reason in run.output, run.output
    assert machine.acceptance()["verdict"] == "fail"
    # It gets no requests from now on.
    assert "held out" in host.succeeds(f"cat {POOL}")


def test_an_override_lets_it_serve_and_is_recorded(machine: Machine) -> None:
    run = machine.accept("--override", "spare parts arrive on Friday")
    assert run.status == 0, run.output
    assert "serves though it failed (spare parts arrive on Friday), recorded as decided by" in run.output
    acceptance = machine.acceptance()
    assert acceptance["verdict"] == "fail"
    assert isinstance(acceptance["override"], dict)
    assert acceptance["override"]["reason"] == "spare parts arrive on Friday"
    assert "held out" not in machine.host.succeeds(f"cat {POOL}")
