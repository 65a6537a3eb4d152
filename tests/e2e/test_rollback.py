"""A setting that the engine does not survive is undone: the model that served before serves again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingot.facts.crash import ReplicaCrash, parse_crash
from ingot.sandbox import TestHost
from tests.e2e.deploying import deploy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME = "e2e"
CONTAINER = "ingot-engine-tiny-qwen3-0"


def test_an_engine_that_crashes_at_start_gives_way_to_the_last_good_one(host: TestHost) -> None:
    first = deploy(NAME)
    assert first.status == 0, first.output[-6000:]
    before = host.succeeds("cat /etc/ingot/engine/compose.yaml")

    run = deploy(NAME, data=['engine_extra_args=["--no-such-flag"]'])

    assert run.status != 0
    assert "vllm: error: unrecognized arguments: --no-such-flag" in run.output
    assert re.search(
        rf"{NAME}: tiny-qwen3-0 crashed \d+ s after its start \(exit code 2; last request: none yet", run.output
    )
    assert "the last good tiny-qwen3-0 serves again." in run.output
    assert host.succeeds("cat /etc/ingot/engine/compose.yaml") == before
    assert "unrecognized arguments" in host.succeeds("cat /var/lib/ingot/engine/failed/tiny-qwen3-0/log")
    again = deploy(NAME)
    assert again.status == 0 and again.changed(NAME) == [], again.output[-3000:]


def test_an_engine_that_dies_without_a_word_leaves_what_is_known(host: TestHost) -> None:
    image = host.succeeds(f"docker inspect --format '{{{{.Image}}}}' {CONTAINER}").strip()
    dies = "import os; os.kill(os.getpid(), 4)"
    host.succeeds(
        "docker run --detach --init --name dies --restart on-failure:1 --network none --env PYTHONFAULTHANDLER=1 "
        f"--entrypoint python3 {image} -c '{dies}'"
    )
    try:
        host.wait_until_succeeds("docker inspect --format '{{.RestartCount}} {{.State.Status}}' dies | grep '1 exited'")
        crash = parse_crash(host.succeeds(ReplicaCrash().command("dies")).splitlines())
    finally:
        host.succeeds("docker rm --force dies")
    assert (crash.exit_code, crash.last_words) == (132, "Fatal Python error: Illegal instruction")
    assert crash.processor in Path("/proc/cpuinfo").read_text()


def test_every_processor_with_avx2_runs_the_same_kernels(host: TestHost) -> None:
    loaded = host.succeeds("cat /proc/[0-9]*/maps | grep -o '/vllm/_C.*' | sort --unique")
    assert loaded == "/vllm/_C_AVX2.abi3.so\n"


def test_a_container_can_write_nothing_that_lasts_but_its_caches(host: TestHost) -> None:
    written = (
        "for d in / /model /etc /usr; do touch $d/x 2>/dev/null && echo $d; done; touch /tmp/x /cache/x && rm /cache/x"
    )
    assert host.succeeds(f"docker exec {CONTAINER} sh -c '{written}'").strip() == ""
    (found,) = json.loads(host.succeeds(f"docker inspect {CONTAINER}"))
    assert found["HostConfig"]["CapDrop"] == ["ALL"] and found["Config"]["User"] == "2000:0"


def test_an_engine_has_no_way_out(host: TestHost) -> None:
    connect = 'import socket; socket.create_connection(("{}", 53), 5)'
    gateway = host.succeeds('ip -4 route show default | cut -d" " -f3').strip()
    said = host.fails(f"docker exec {CONTAINER} python3 -c '{connect.format(gateway)}' 2>&1")
    assert "Network is unreachable" in said
