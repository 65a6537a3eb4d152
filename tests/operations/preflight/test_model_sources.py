"""Models that no source gives to a host are said before anything is changed, in one sentence each."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingot.facts.models import Asked, SourceAnswer, SourceAnswers
from ingot.operations.preflight import model_sources
from ingot.operations.preflight.findings import planned_now
from tests.hub.standin import FIRST, StandIn, hub
from tests.operations.preflight.test_preflight import NEW, wanted

pytestmark = pytest.mark.cache

NAME = "Qwen/Qwen3-0.6B"
SERVE = [{"model": "qwen3-0.6b", "context": 1024, "concurrency": 1, "variant": "bf16"}]


def by_command(asked: Sequence[Asked], token: str) -> Sequence[Sequence[SourceAnswer]]:
    """The answers of the fact's own command, run on this machine."""
    done = subprocess.run(
        ["sh", "-c", SourceAnswers().command(asked)],
        input=f"secret={shlex.quote(token)}",
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    return SourceAnswers().process(done.stdout.splitlines())


@pytest.fixture
def found(tmp_path: Path) -> Any:
    """What is said of a host that serves Qwen3-0.6B of a stand-in hub; `there`: its files lie on the host already."""
    asked: list[Sequence[Asked]] = []

    def run(
        served: StandIn, *, token: str | None = None, look: Any = NEW, there: bool = False, **values: Any
    ) -> list[str]:
        lock = tmp_path / "models.lock.yaml"
        files = [
            {"path": name, "bytes": size, "sha256": "0" * 64}
            for name, size in (("config.json", 2), ("model.safetensors", 9))
        ]
        lock.write_text(
            json.dumps({"schema": 1, "hub": "h", "repositories": {NAME: {"commit": FIRST, "files": files}}})
        )
        (tmp_path / "token").write_text(token or "none")
        root = tmp_path / "models"
        if there:
            (root / "qwen3-0.6b/bf16" / FIRST).mkdir(parents=True)
        sources = {**wanted().values.sources.model_dump(), "models": {"kind": "hub", "uri": served.url}}
        one = wanted(
            serve=SERVE,
            models_lock=str(lock),
            cache_root=str(root),
            cache_hub_token_file=str(tmp_path / "token") if token else None,
            sources={**sources, **values},
        )
        planned, why_not = planned_now(look, one)
        assert planned, why_not

        def ask(questions: Sequence[Asked]) -> Sequence[Sequence[SourceAnswer]]:
            asked.append(questions)
            secret = f'header = "Authorization: Bearer {token}"\n' if token else ""
            return by_command(questions, secret)

        said = list(model_sources.findings(look, one.values, planned, ask))
        run.asked = asked  # type: ignore[attr-defined]
        return said

    return run


def test_a_model_that_the_hub_shows_is_nothing_to_say(found: Any) -> None:
    with hub() as served:
        assert found(served) == []
        assert [path for path, _ in served.asked] == [f"/{NAME}/resolve/{FIRST}/config.json"]


def test_a_gated_repository_a_wrong_token_and_a_missing_one_are_one_sentence_each(found: Any) -> None:
    with hub() as served:
        host = served.url.removeprefix("http://")
        served.repositories[NAME].gated = True
        (said,) = found(served)
        assert said == (
            f"qwen3-0.6b (bf16) cannot be fetched: {host} does not show {NAME} (403): it is gated, private or not "
            "there; accept its terms, and give a token by cache_hub_token_file"
        )
        (said,) = found(served, token="hf_wrong")
        assert f"{host} does not show {NAME} to the token of cache_hub_token_file (403)" in said
        assert found(served, token="hf_right") == []
        served.repositories[NAME].commits.clear()
        (said,) = found(served, token="hf_right")
        assert f"{host} has no {NAME} at {FIRST}" in said
        del served.repositories[NAME]
        (said,) = found(served)
        assert f"{host} does not show {NAME} (401)" in said


def test_the_token_goes_to_the_hub_alone_and_another_source_will_do(found: Any) -> None:
    with hub() as served, hub() as mirror:
        served.repositories.clear()
        mirror.repositories.clear()
        mirrored = f"/{NAME}/{FIRST}/config.json"
        (said,) = found(served, token="hf_right", models_fallback=[{"kind": "mirror", "uri": mirror.url}])
        assert said.count("does not show") == 2
        assert mirror.asked == [(mirrored, None)]
        mirror.first = [(200, {})]
        assert found(served, token="hf_right", models_fallback=[{"kind": "mirror", "uri": mirror.url}]) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_source_that_is_busy_or_away_stops_nothing(found: Any, status: int) -> None:
    with hub() as served:
        served.first = [(status, {})]
        assert found(served) == []
    assert found(served) == [], "nobody listens there any more"


def test_what_lies_on_the_host_or_is_served_already_is_not_asked_for(found: Any) -> None:
    with hub() as served:
        served.repositories.clear()
        assert found(served, there=True) == [] and served.asked == []
        stored = {"plan.json": {"plan": {"replicas": [{"model": "qwen3-0.6b", "variant": "bf16"}]}}}
        assert found(served, look=replace(NEW, is_deployed=True, stored=stored)) == []
        assert len(found.asked) == 1, "no command at all"
