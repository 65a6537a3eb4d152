"""What a host serves, as a benchmark needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.bench.place import Place
from ingot.bench.served import Subject, served
from ingot.engines import Mount, Service
from ingot.errors import IngotError
from ingot.facts.engine import Container, EngineState
from ingot.operations.serving.stored import LastGood

pytestmark = pytest.mark.observe

CHAT = Service(
    name="chat-0",
    model="chat",
    image="engine@sha256:aa",
    argv=("vllm", "serve", "/model"),
    env=(),
    mounts=(Mount("/srv/chat", "/model"), Mount("/srv/cache", "/cache", read_only=False)),
    devices=(),
    user="2000:0",
    tmpfs=(),
    ulimits=(),
    shm_bytes=1,
    pids=1,
    address="172.31.213.10",
    port=8000,
    health_path="/health",
    stop_grace_s=1,
    start_deadline_s=1,
)
OTHER = replace(CHAT, name="other-0", model="other", address="172.31.213.11")


def state(*services: Service, stopped: tuple[str, ...] = (), docker: bool = True, **files: Any) -> EngineState:
    containers = tuple(
        Container(one.name, one.digest, "sha256:1", "exited" if one.name in stopped else "running", 0, 0, 9, "", ())
        for one in services
    )
    stored = {f"engine/last-good/{one.name}.json": LastGood(one, one.digest).to_dict() for one in services}
    return EngineState(docker, containers, {**stored, **files})


def test_the_only_model_needs_no_name() -> None:
    found = served("gpu-01", state(CHAT), None)
    assert found.place == Place("engine@sha256:aa", "2000:0", "/srv/chat")
    assert found.addresses == ("172.31.213.10:8000",)
    # No plan that can be read: its figures are compared with nothing else.
    assert found.subject == Subject("chat", plan="unknown", replicas=1) and found.estimate is None


@pytest.mark.parametrize(
    ("state", "model", "words"),
    [
        (state(docker=False), None, "Docker does not answer"),
        (state(), None, "no replica runs there, expected a model that is served; deploy it first"),
        (state(CHAT, stopped=("chat-0",)), None, "no replica runs there"),
        (state(CHAT, OTHER), None, "it serves chat, other; name one of them with --model"),
        (state(CHAT), "chta", "it serves chat, not chta; name one of these with --model"),
        (state(replace(CHAT, kind="embed", width=8)), None, r"chat answers without text \(embed\)"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(state: EngineState, model: str | None, words: str) -> None:
    with pytest.raises(IngotError, match=f"^gpu-01: {words}"):
        served("gpu-01", state, model)
