"""`ingot recommend` as people type it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ingot.commands.recommend import recommend
from ingot.errors import IngotError

pytestmark = pytest.mark.sizing


def test_recommendations_go_from_small_to_large() -> None:
    result = CliRunner().invoke(recommend, ["qwen3-8b", "--context", "8192", "--concurrency", "16", "--json"])
    found = json.loads(result.output)["recommendations"]
    tiers = [one["tier"] for one in found]
    assert tiers == sorted(tiers, key=["entry", "mid", "large"].index)
    assert {"entry", "mid", "large"} == set(tiers)
    assert "b200" in {one["gpu"] for one in found}
    shown = CliRunner().invoke(recommend, ["qwen3-8b"]).output
    assert "1 x rtx3090" in shown


def test_what_no_gpu_serves_is_said() -> None:
    result = CliRunner().invoke(recommend, ["llama-3.1-405b-instruct", "--context", "131072", "--concurrency", "512"])
    assert isinstance(result.exception, IngotError)
    assert "no GPU configuration of the catalog serves" in str(result.exception)
