"""`ingot plan` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingot.commands.plan import plan
from ingot.errors import IngotError
from tests.sizing.conftest import QWEN3_8B

pytestmark = pytest.mark.sizing

ROOT = Path(__file__).parents[2]
QUERY = """index, uuid, name, pci.bus_id, memory.total [MiB], memory.used [MiB], memory.free [MiB], driver_version
0, GPU-11111111-2222-3333-4444-555555555555, NVIDIA L40S, 00000000:01:00.0, 46068 MiB, 1 MiB, 45500 MiB, 580.95.05
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(plan, list(words), catch_exceptions=True)


def test_a_gpu_by_name_needs_no_network() -> None:
    result = run("--gpu", "rtx4090x2", "--model", "qwen3-8b", "--context", "8192", "--concurrency", "8")
    assert result.exit_code == 0, result.output
    assert "qwen3-8b bf16 on GPU 0" in result.output
    assert "KV cache" in result.output


def test_json_is_one_object_that_reads_back() -> None:
    result = run("--gpu", "h100x8", "--model", "qwen3-32b", "--json")
    printed = json.loads(result.output)
    assert printed["misfits"] == {}
    assert printed["plans"][0]["replicas"][0]["memory"]["weights"]["source"]


def test_html_is_written(tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    result = run("--gpu", "l40s", "--model", "qwen3-14b", "--html", str(page))
    assert result.exit_code == 0, result.output
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_misfit_exits_with_one_and_teaches() -> None:
    result = run("--gpu", "rtx4060", "--model", "qwen3-14b")
    assert result.exit_code == 1
    assert "does not fit on 1 x NVIDIA GeForce RTX 4060" in result.output
    assert "binding: weights" in result.output
    assert "what would fit:" in result.output


def test_a_directory_with_a_config_is_planned(tmp_path: Path) -> None:
    directory = tmp_path / "my-model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(QWEN3_8B | {"quantization_config": {"quant_method": "fp8"}}))
    result = run("--gpu", "rtx4090", "--config", str(directory))
    assert result.exit_code == 0, result.output
    assert "my-model fp8 on GPU 0" in result.output


def test_recorded_facts_are_planned(tmp_path: Path) -> None:
    recorded = tmp_path / "gpu-07.csv"
    recorded.write_text(QUERY)
    result = run("--facts", str(recorded), "--model", "qwen3-14b", "--json")
    replica = json.loads(result.output)["plans"][0]["replicas"][0]
    assert replica["gpu_uuids"] == ["GPU-11111111-2222-3333-4444-555555555555"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--gpu", "rtx1", "--model", "qwen3-8b"), "'rtx1' is not a GPU of the catalog"),
        (("--gpu", "rtx4090", "--model", "nobody"), "'nobody' is no model of the catalog"),
        (("--gpu", "rtx4090", "--config", "/nowhere"), "config.json: cannot be read"),
        (("--gpu", "rtx4090", "--model", "qwen3-8b", "--context", "0"), "context is 0"),
        (("--facts", "/nowhere", "--model", "qwen3-8b"), "/nowhere: cannot be read"),
    ],
)
def test_a_users_mistake_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, IngotError)
    assert sentence in str(result.exception)


def test_beyond_the_models_context_is_an_error_and_not_a_misfit() -> None:
    result = run("--gpu", "h100x8", "--model", "qwen3-8b", "--context", "200000")
    assert result.exit_code == 1
    assert "trained for 131072" in result.output


def test_the_worked_examples_are_planned_from_their_host_files() -> None:
    run = "from ingot.commands.cli import main; main()"
    command = [sys.executable, "-c", run, "plan", "inventories/prod.py", "--offline", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    plans = {plan["host"]: plan for plan in json.loads(done.stdout)["plans"]}
    assert set(plans) == {"gpu-01", "gpu-02", "gpu-03"}
    assert all(plan["replicas"] for plan in plans.values())


def test_alternatives_are_shown_with_why_they_lost_and_follow_the_goal() -> None:
    asked = ("--gpu", "a10gx4", "--model", "qwen2.5-7b-instruct", "--context", "16384", "--concurrency", "32")
    text = run(*asked, "--alternatives").output
    assert "instead by 1 replica of bf16 over 4 x NVIDIA A10G" in text
    assert "fewer tokens/s at 32 sequences" in text
    assert "instead by" not in run(*asked).output
    stored = json.loads(run(*asked, "--alternatives", "--goal", "latency", "--json").output)["plans"][0]
    assert [replica["tensor_parallel_size"] for replica in stored["replicas"]] == [4]
    assert len(stored["alternatives"]) == 3
    assert stored["alternatives"][0]["why"].endswith("longer")
