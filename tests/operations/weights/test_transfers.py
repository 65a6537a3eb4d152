"""Weights begin to travel at the start of a run, and the cache's role finds what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingot.operations import detached
from ingot.operations.serving import planning
from ingot.operations.weights import models, transfers
from tests.operations.weights import test_models
from tests.operations.weights.test_models import CONTENT, REVISION, Mirror, contents, entry, wanted

pytestmark = [pytest.mark.speed]

mirror = test_models.mirror


@pytest.fixture
def begin(tmp_path: Path, mirror: Mirror, run_operation: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run one of both operations for models of the mirror, cached below tmp_path/models."""
    root = tmp_path / "models"
    monkeypatch.setattr(models, "SCRIPT", models.SCRIPT.replace("sleep $((attempt * 3))", "sleep 0.01"))
    for name in ("host_plan", "expected_plan"):
        monkeypatch.setattr(planning, name, lambda: ())
    monkeypatch.setattr(models, "wanted_models", lambda *_: (wanted(root),))

    def run(operation: Any, kind: str = "mirror", uri: str = "", token_file: str | None = None, **options: Any) -> Any:
        data = {
            "cache_hub_token_file": token_file,
            "cache_root": str(root),
            "sources": {"models": {"kind": kind, "uri": uri or mirror.url}},
            "models_lock": None,
            "models_site": None,
            "serve": [],
            "site_models": {"tiny": entry()},
        }
        return run_operation(operation, data=data, **options)

    return run


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models/tiny/bf16" / REVISION


def test_what_began_early_is_all_that_is_fetched(begin, target, mirror):
    first = begin(transfers.transfers)
    assert first.succeeded and first.changed and contents(target) == CONTENT
    assert f"begin to fetch tiny (bf16) from {mirror.url}/tiny/{REVISION}: 0.00 GB to {target}" in first.said
    mirror.asked.clear()
    second = begin(models.cached)
    assert second.succeeded and not second.changed and mirror.asked == []
    third = begin(transfers.transfers)
    assert third.succeeded and not third.changed and mirror.asked == [], "nothing is left to fetch"


def test_nothing_that_goes_wrong_with_it_refuses_a_host(begin, target, mirror, tmp_path):
    """The role whose work it is says what is wrong, and mends what can be."""
    mirror.answers["tokenizer.json"] = [bytes(2)] * 2
    early = begin(transfers.transfers)
    assert early.succeeded and not target.exists()
    late = begin(models.cached)
    assert late.succeeded and contents(target) == CONTENT
    gone = begin(transfers.transfers, uri="http://127.0.0.1:9")
    assert gone.succeeded and not gone.changed


def test_what_went_wrong_on_the_way_of_what_is_all_there_is_said_by_the_run_that_began_it(begin, monkeypatch):
    run = begin(transfers.transfers)
    sentence = Path(detached.WORK, models.TRANSFERS, "sentence")
    sentence.write_text("local: no connection to port 8444\n")
    assert run.succeeded and "no connection" not in begin(models.cached).said, "another run"
    monkeypatch.setattr(detached, "is_begun", lambda unit: unit == models.TRANSFERS)
    assert "local: no connection to port 8444" in begin(models.cached).said


def test_what_this_machine_pushes_waits_for_its_turn(begin, target, tmp_path):
    early = begin(transfers.transfers, kind="push", uri=str(tmp_path))
    assert early.succeeded and not early.changed and not target.exists()


def test_a_host_of_which_nothing_can_be_told_yet_is_left_alone(begin, target, monkeypatch):
    monkeypatch.setattr(planning, "expected_plan", lambda: None)
    early = begin(transfers.transfers)
    assert early.succeeded and not early.changed and not target.exists()


def test_each_model_has_a_plan_of_its_own(begin, target, monkeypatch):
    root = target.parents[2]
    monkeypatch.setattr(models, "wanted_models", lambda *_: (wanted(root), replace(wanted(root), model="other")))
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        transfers.detached, "begun", lambda unit, script, members, **_: given.update(members) or iter(())
    )
    assert begin(transfers.transfers).succeeded
    assert [name for name in given if name.endswith("/plan")] == ["0/plan", "1/plan"]
    assert "progress" in given and json.dumps(given["0/curl"]) == '""'


@pytest.mark.parametrize("token", [None, "hf_of_the_test"])
def test_a_reboot_ends_only_what_needs_a_secret(begin, target, monkeypatch, tmp_path, token):
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        transfers.detached, "begun", lambda unit, script, members, **options: given.update(options) or iter(())
    )
    if token:
        (tmp_path / "token").write_text(token)
        (tmp_path / "token").chmod(0o600)
    assert begin(transfers.transfers, token_file=str(tmp_path / "token") if token else None).succeeded
    assert given == {"rivals": [models.UNIT], "again": token is None}
