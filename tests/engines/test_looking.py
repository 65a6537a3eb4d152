"""What a host answers becomes typed values. Captures: a test host serving with vLLM 0.32.0 on its processor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingot.engines import observed
from ingot.facts.engine import Container, EngineLook, EngineState, parse_look
from ingot.facts.image import EngineImage, parse_image
from ingot.facts.replica import Evidence, Glance, parse_evidence, parse_glance

CAPTURES = Path(__file__).parent / "captures"
IMAGE = "sha256:fbda803f75f6902b394a9f7cc4f6c21cb137c7d8d1d5c41bef889facf5bd062a"


def capture(name: str) -> list[str]:
    return (CAPTURES / f"{name}.txt").read_text().splitlines()


def test_a_serving_host() -> None:
    found = parse_look(capture("look"))
    (container,) = found.containers
    assert container == Container(
        service="tiny-qwen3-0",
        digest=container.digest,
        image_id=IMAGE,
        status="running",
        exit_code=0,
        restarts=0,
        age_s=container.age_s,
        address="172.31.213.10",
        devices=("nvidia.com/gpu=GPU-a06a33c4-cd68-5b7a-80ce-53a182c71633",),
        healthy=True,
    )
    assert re.fullmatch("[0-9a-f]{16}", container.digest) and 0 < container.age_s < 3600
    assert found.docker and found.compose.startswith("# Written by Ingot.")
    assert set(found.files) == {
        "plan.json", "measured.json", "upstreams.json", "engine/last-good/tiny-qwen3-0.json"
    }  # fmt: skip
    assert found.files["upstreams.json"] == [{"model": "tiny-qwen3", "replicas": ["172.31.213.10:8000"]}]


@pytest.mark.cache
@pytest.mark.parametrize(("said", "free"), [("8219082752", 8219082752), ("", None)])
def test_the_hosts_free_memory(said: str, free: int | None) -> None:
    assert (
        parse_look([*capture("look"), "@@ingot-begin free_memory", said, "@@ingot-end free_memory 0"]).free_memory_bytes
        == free
    )


def test_a_replica_whose_health_route_is_silent_is_not_healthy() -> None:
    found = parse_look(
        [line.replace("ingot-engine-tiny-qwen3-0 200", "ingot-engine-tiny-qwen3-0 000") for line in capture("look")]
    )
    assert not found.containers[0].healthy


@pytest.mark.parametrize(
    "said",
    [
        "sh: 1: docker: not found\n@@ingot-end containers 127",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n@@ingot-end containers 1",
        "[{\n@@ingot-end containers 0",
    ],
)
def test_a_docker_that_does_not_answer_is_told_from_one_without_containers(said: str) -> None:
    end = ["@@ingot-begin now", "1", "@@ingot-end now 0"]
    assert parse_look(["@@ingot-begin containers", *said.splitlines(), *end]) == EngineState(docker=False)
    assert parse_look(["@@ingot-begin containers", "[]", "@@ingot-end containers 0", *end]).docker


def test_a_stored_file_that_power_loss_tore_counts_as_absent() -> None:
    lines = ["@@ingot-begin files", "plan.json eyJzY2hl", "measured.json e30=", "@@ingot-end files 0"]
    assert parse_look(lines).files == {"measured.json": {}}


def test_the_cache_role_asks_no_engine_anything() -> None:
    assert "curl" not in EngineLook().command(probe=False)


def test_a_ready_replica() -> None:
    glance = parse_glance(capture("glance"))
    assert glance.ready and glance.last_line.startswith("(APIServer pid=7) INFO")


def test_a_crashed_replica() -> None:
    assert parse_glance(["exited 2 000 -", "ValueError: no"]) == Glance("exited", 2, "000", "", "ValueError: no")


def test_a_missing_replica() -> None:
    assert parse_glance(["missing 0 000 -"]) == Glance("missing")


def test_evidence_gives_the_engines_own_numbers() -> None:
    evidence = parse_evidence(capture("evidence"))
    assert (evidence.status, evidence.restarts, evidence.health) == ("running", 0, "200")
    numbers = observed.parse(evidence.log, evidence.metrics)
    assert numbers == observed.Observed(
        kv_cache_tokens=174720, max_concurrency=42.65625, num_blocks=1365, block_size=128
    )


def test_evidence_of_a_container_that_is_gone() -> None:
    lines = ["@@ingot-begin state", "Error: No such object: x", "@@ingot-end state 1"]
    lines += ["@@ingot-begin health", "000", "@@ingot-end health 7"]
    assert parse_evidence(lines) == Evidence("missing", 0, "000")


def test_an_image_and_its_archive() -> None:
    assert parse_image(capture("image")) == EngineImage(True, IMAGE, (), 1173053440)


def test_an_image_that_is_not_there() -> None:
    lines = ["@@ingot-begin image", "[]", "Error: No such image", "@@ingot-end image 1"]
    assert parse_image([*lines, "@@ingot-begin archive", "@@ingot-end archive 1"]) == EngineImage()
