"""What nothing needs goes; what runs, is planned, can be gone back to, or is somebody else's never does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingot.facts.cache_contents import CacheContents, CacheDirectory, Contents, parse_replicas
from ingot.facts.models import MADE, MARKER
from ingot.operations.weights import prune
from ingot.operations.weights.prune import superfluous

pytestmark = pytest.mark.cache

ROOT = "/srv/models"
OLD, NEW = f"{ROOT}/a/bf16/old", f"{ROOT}/a/bf16/new"


def made(path: str, made_as: str | None = None, size: int = 10**9) -> CacheDirectory:
    return CacheDirectory(path, made_as or path, size)


def paths(found: Contents, wanted: tuple[str, ...] = ()) -> list[str]:
    return [one.directory.path for one in superfluous(found, ROOT, wanted)]


def test_a_model_that_nothing_needs_goes_with_its_size_and_why() -> None:
    (one,) = superfluous(Contents((made(OLD, size=15_300_000_000),)), ROOT, ())
    assert one.sentence == f"delete {OLD} (15.30 GB, no plan, no rollback and no container needs it)"


@pytest.mark.parametrize("needed", [OLD, f"{OLD}/model.safetensors", f"{ROOT}/a", ROOT, f"{OLD}/"])
def test_what_is_mounted_open_or_named_stays(needed: str) -> None:
    assert OLD not in paths(Contents((made(OLD),), frozenset({needed})))


def test_a_name_that_only_begins_alike_needs_nothing() -> None:
    assert paths(Contents((made(OLD),), frozenset({f"{OLD}er"}))) == [OLD]


def test_what_the_next_deploy_wants_stays_also_half_of_it() -> None:
    found = Contents((made(NEW), made(f"{NEW}.incomplete", NEW), made(f"{NEW}.incoming", NEW)))
    assert paths(found, (NEW,)) == []


def test_leftovers_of_dead_transfers_and_the_quarantine_go() -> None:
    quarantine = f"{ROOT}/.quarantine"
    found = Contents(
        (made(OLD), made(f"{OLD}.incomplete", OLD, 2), made(f"{OLD}.incoming", OLD, 1), made(quarantine, size=3)),
        frozenset({OLD}),
    )
    assert paths(found) == [quarantine, f"{OLD}.incomplete", f"{OLD}.incoming"]


def test_a_copy_of_a_model_is_somebody_elses() -> None:
    assert paths(Contents((made(f"{ROOT}/copy/of/it", OLD), made(f"{OLD}.backup", OLD)))) == []


def test_replicas_are_read_from_a_plan_and_from_nothing_else() -> None:
    plan = json.dumps({"plan": {"replicas": [{"model": "a", "variant": "bf16"}]}})
    assert parse_replicas(plan) == {("a", "bf16")}
    assert parse_replicas("") == parse_replicas("[]") == parse_replicas('{"plan": 1}') == frozenset()


@pytest.fixture
def cache(tmp_path: Path, run_operation: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache with one model, and the operation on it; Docker is not on this machine's path for it."""
    root = tmp_path / "models"
    model = root / "a/bf16/old"
    (model / "sub").mkdir(parents=True)
    for name, text in (("x.safetensors", "x" * 100), ("sub/y.json", "{}"), (MARKER, "{}"), (MADE, f"{model}\n")):
        (model / name).write_text(text)
    look = CacheContents.command

    def command(self: CacheContents, root: str) -> str:
        return look(self, root).replace("command -v docker >/dev/null || exit 0", "exit ${DOCKER:-0}")

    monkeypatch.setattr(CacheContents, "command", command)

    def run(**options: Any) -> Any:
        return run_operation(prune.prune, data={"cache_root": str(root), "serve": []}, **options)

    run.model, run.root = model, root  # type: ignore[attr-defined]
    return run


def test_the_model_is_deleted_and_the_second_run_does_nothing(cache: Any) -> None:
    dry = cache(dry=True)
    assert f"would delete {cache.model} (0.00 GB, no plan" in dry.said and cache.model.exists()
    done = cache()
    assert done.succeeded and done.changed and not cache.model.exists() and cache.root.exists()
    assert not cache().changed


def test_a_directory_that_became_another_meanwhile_stays(cache: Any) -> None:
    gone = prune.script([prune.Superfluous(CacheDirectory(str(cache.model), str(cache.model), 1), "")])
    (cache.model / MADE).write_text("/srv/models/another\n")
    assert subprocess.run(["sh", "-c", gone], check=False).returncode == 1
    assert (cache.model / "x.safetensors").exists()


def test_a_deletion_that_is_cut_off_is_finished_by_the_next_run(cache: Any) -> None:
    for name in (MARKER, "x.safetensors"):
        (cache.model / name).unlink()
    assert cache().succeeded and not cache.model.exists()


def test_where_nobody_can_say_what_runs_nothing_is_deleted(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", "1")
    refused = cache()
    assert not refused.succeeded and "Docker does not answer" in refused.said and cache.model.exists()
