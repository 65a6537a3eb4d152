"""`ingot models lock`: commits by a file that is in git, not by luck."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingot.catalog import load_models, lock
from ingot.catalog.lock import Lock, Locked, LockedFile
from ingot.errors import IngotError
from ingot.facts.models import ModelDirectory
from ingot.hub.resolve import Wish, resolve
from ingot.hub.shapes import differences
from ingot.operations.weights.manifest import origin
from ingot.operations.weights.models import Wanted, locked_files, plan_text
from ingot.settings.sources import Models
from ingot.sizing import CatalogError, architecture_from_config
from tests.hub.standin import FIRST, QWEN3, SECOND, StandIn, hub

pytestmark = pytest.mark.models

INGOT = Path(sys.executable).with_name("ingot")
ROOT = Path(__file__).parents[2]
SERVE = [{"model": "Qwen/Qwen3-0.6B", "context": 4096, "concurrency": 4}]


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with hub() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, standin: StandIn) -> Path:
    """A checkout whose one host serves Qwen3-0.6B from the stand-in."""
    (tmp_path / "inventories" / "prod").mkdir(parents=True)
    (tmp_path / "inventories" / "prod.py").write_text((ROOT / "inventories" / "prod.py").read_text())
    defaults = (ROOT / "group_data" / "all.py").read_text()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text(
        defaults.replace('"uri": "https://huggingface.co"', f'"uri": "{standin.url}"')
    )
    serves(tmp_path, SERVE)
    return tmp_path


def serves(site: Path, serve: list[dict[str, Any]]) -> None:
    host = {"address": "192.0.2.1", "user": "ops", "serve": serve}
    (site / "inventories" / "prod" / "gpu-01.yaml").write_text(yaml.safe_dump(host))


def ingot(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(INGOT), "models", *words], cwd=site, capture_output=True, text=True, check=False)


def locked_in(site: Path) -> Lock:
    found = lock.read(site / "inventories" / "models.lock.yaml")
    assert found is not None
    return found


def test_every_variant_that_may_be_served_is_locked_at_the_commit_that_the_catalog_names(site: Path) -> None:
    done = ingot(site, "lock")
    assert done.returncode == 0, done.stderr
    assert "Qwen/Qwen3-0.6B: c1899de289a0 (1.5 GB)" in done.stdout
    assert "models.lock.yaml: 2 repositories, written" in done.stdout
    found = locked_in(site)
    assert {name: one.commit for name, one in found.repositories.items()} == {
        "Qwen/Qwen3-0.6B": FIRST,
        "Qwen/Qwen3-0.6B-FP8": "f" * 40,
    }
    assert found.files("Qwen/Qwen3-0.6B", FIRST) and not found.files("Qwen/Qwen3-0.6B", SECOND)


def test_what_is_locked_stays_and_no_hub_is_asked_until_it_is_told_to(site: Path, standin: StandIn) -> None:
    ingot(site, "lock")
    standin.asked.clear()
    again = ingot(site, "lock")
    assert again.returncode == 0 and "nothing moved" in again.stdout and standin.asked == []
    dry = ingot(site, "lock", "--update", "--dry")
    assert "Qwen/Qwen3-0.6B: c1899de289a0 -> bbbbbbbbbbbb" in dry.stdout and "nothing written" in dry.stdout
    assert locked_in(site).repositories["Qwen/Qwen3-0.6B"].commit == FIRST
    moved = ingot(site, "lock", "--update", "--json")
    assert json.loads(moved.stdout)["moves"] == [{"repository": "Qwen/Qwen3-0.6B", "before": FIRST, "after": SECOND}]
    assert locked_in(site).repositories["Qwen/Qwen3-0.6B"].commit == SECOND


def test_a_variant_that_cannot_be_had_is_left_out_and_said(site: Path, standin: StandIn) -> None:
    del standin.repositories["Qwen/Qwen3-0.6B-FP8"]
    done = ingot(site, "lock")
    assert done.returncode == 1
    assert "qwen3-0.6b (fp8): " in done.stderr and "does not show Qwen/Qwen3-0.6B-FP8" in done.stderr
    assert set(locked_in(site).repositories) == {"Qwen/Qwen3-0.6B"}


def test_a_model_of_which_nothing_can_be_had_writes_no_lock(site: Path, standin: StandIn) -> None:
    standin.repositories.clear()
    done = ingot(site, "lock")
    assert done.returncode == 1
    assert "qwen3-0.6b: no variant of it could be had, so no lock is written" in done.stderr
    assert not (site / "inventories" / "models.lock.yaml").exists()


def test_a_repository_that_is_no_longer_served_is_dropped(site: Path) -> None:
    ingot(site, "lock")
    serves(site, [{**SERVE[0], "variant": "fp8"}])
    assert "Qwen/Qwen3-0.6B: no longer served" in ingot(site, "lock").stdout
    assert set(locked_in(site).repositories) == {"Qwen/Qwen3-0.6B-FP8"}


def test_adapters_are_locked_too(site: Path, standin: StandIn) -> None:
    standin.repositories["org/sales"] = standin.repositories["Qwen/Qwen3-0.6B-FP8"]
    adapter = {"name": "sales", "repository": "org/sales", "rank": 16}
    serves(site, [{**SERVE[0], "adapters": [adapter]}])
    assert ingot(site, "lock").returncode == 0
    assert locked_in(site).repositories["org/sales"].commit == "f" * 40


def test_check_names_what_is_not_locked_or_not_there_any_more(site: Path, standin: StandIn) -> None:
    missing = ingot(site, "check")
    assert missing.returncode == 1 and "models.lock.yaml is not there, expected" in missing.stdout
    ingot(site, "lock")
    good = ingot(site, "check")
    assert good.returncode == 0, good.stderr
    assert good.stdout.endswith("Everything that these hosts serve is locked and known to their engine.\n")
    standin.repositories["Qwen/Qwen3-0.6B"].commits[FIRST]["model.safetensors"] = 5
    assert "has other files at c1899de289a0 than were locked" in ingot(site, "check").stdout
    assert ingot(site, "check", "--offline").returncode == 0
    serves(site, [{**SERVE[0], "arguments": {"tool_call_parser": "hermess"}}])
    wrong = ingot(site, "check", "--offline")
    assert "tool_call_parser 'hermess' is not one of vllm 0.33.0, nearest: hermes" in wrong.stdout


def test_a_repository_of_another_shape_than_its_entry_is_left_out_and_said(site: Path, standin: StandIn) -> None:
    fewer = json.dumps({**QWEN3, "num_hidden_layers": 20, "num_key_value_heads": 4}).encode()
    standin.repositories["Qwen/Qwen3-0.6B-FP8"].commits["f" * 40]["config.json"] = fewer
    done = ingot(site, "lock")
    assert done.returncode == 1
    assert "qwen3-0.6b (fp8): Qwen/Qwen3-0.6B-FP8 is of another shape than its entry (20 layers" in done.stderr
    assert "`ingot models add Qwen/Qwen3-0.6B-FP8 --name NAME`" in done.stderr
    assert set(locked_in(site).repositories) == {"Qwen/Qwen3-0.6B"}


def test_a_shape_differs_in_what_memory_depends_on_alone() -> None:
    stated = architecture_from_config(QWEN3)
    assert not list(
        differences(stated, architecture_from_config({**QWEN3, "rope_theta": 5, "transformers_version": "9"}))
    )
    said, *_ = differences(stated, architecture_from_config({**QWEN3, "num_key_value_heads": 4}))
    assert said.startswith("layer 0 keeps FullAttention(kv_heads=4")
    (said,) = differences(stated, architecture_from_config({**QWEN3, "intermediate_size": 3584}))
    assert "0.64 billion parameters instead of 0.60" in said


def test_check_shows_what_names_each_commit(site: Path) -> None:
    before = json.loads(ingot(site, "check", "--json").stdout)["variants"]
    assert {one["variant"]: one["by"] for one in before} == {
        "qwen3-0.6b (bf16)": "catalog",
        "qwen3-0.6b (fp8)": "nothing",
    }
    ingot(site, "lock")
    after = json.loads(ingot(site, "check", "--json").stdout)["variants"]
    assert {one["by"] for one in after} == {"lock"} and {one["commit"] for one in after} == {FIRST, "f" * 40}


def test_an_adapter_without_a_line_is_refused(site: Path, standin: StandIn) -> None:
    standin.repositories["org/sales"] = standin.repositories["Qwen/Qwen3-0.6B-FP8"]
    ingot(site, "lock")
    serves(site, [{**SERVE[0], "adapters": [{"name": "sales", "repository": "org/sales", "rank": 16}]}])
    wrong = ingot(site, "check", "--offline")
    assert "which lacks org/sales; run `ingot models lock`" in wrong.stdout


def test_a_lock_gives_models_their_commits_their_variants_and_their_sizes() -> None:
    found = Lock("h", {"Qwen/Qwen3-8B-AWQ": Locked("x", "a" * 40, (LockedFile("m.safetensors", 77, "s"),))})
    models = lock.pin(load_models(), found)
    assert [(one.name, one.revision, one.checkpoint_bytes) for one in models["qwen3-8b"].variants] == [
        ("awq", "a" * 40, 77)
    ]
    assert lock.unlocked(["qwen3-8b", "qwen3-4b"], load_models(), found) == ["qwen3-4b"]


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = (LockedFile("a.json", 1, git_sha1="g"), LockedFile("m.safetensors", 2, sha256="s"))
    made = Lock("https://hub.example", {"a/b": Locked("a/b", "c" * 40, files)})
    (tmp_path / "lock").write_text(lock.write(made))
    assert lock.read(tmp_path / "lock") == made
    assert lock.write(made).count("\n") == 10


@pytest.mark.parametrize("text", ["[]", "schema: 9", "schema: 1\nhub: h\nrepositories: {a: {commit: c}}", "{", "\0"])
def test_a_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(CatalogError, match=r"`ingot models lock`"):
        lock.read(tmp_path / "lock")


def test_a_site_that_names_a_commit_keeps_it_through_an_update() -> None:
    class Place:
        def locked(self, repository: str, revision: str | None) -> Locked:
            return Locked(repository, revision or "newest", ())

        def text(self, locked: Locked, path: str) -> str:
            return ""

    wishes = [
        Wish("a/fixed", "m", "m (a)", Place(), "mine", fixed=True),
        Wish("a/catalog", "m", "m (b)", Place(), "catalogs"),
    ]
    first = resolve(wishes, None, "h", update=False)
    assert {name: one.commit for name, one in first.lock.repositories.items()} == {
        "a/fixed": "mine",
        "a/catalog": "catalogs",
    }
    later = resolve(wishes, first.lock, "h", update=True)
    assert {name: one.commit for name, one in later.lock.repositories.items()} == {
        "a/fixed": "mine",
        "a/catalog": "newest",
    }


def test_a_deploy_takes_the_locks_files_and_no_others() -> None:
    files = (LockedFile("config.json", 2, git_sha1="g"), LockedFile("model.safetensors", 77, sha256="s"))
    found = Lock("h", {"Qwen/Qwen3-8B": Locked("Qwen/Qwen3-8B", "a" * 40, files)})
    variant = lock.pin(load_models(), found)["qwen3-8b"].variants[0]
    wanted = Wanted("qwen3-8b", variant, "/srv/models")
    place = origin(Models(kind="hub", uri="https://hub.example"), variant, "x")
    listed = locked_files(wanted, found)
    plan = plan_text("gpu-01", wanted, [place], listed, ModelDirectory())
    assert f"source\thub\thttps://hub.example/Qwen/Qwen3-8B/resolve/{'a' * 40}\n" in plan
    assert "file\tmodel.safetensors\t77\ts\t-\tno\n" in plan
    assert plan.count("\nfile\t") == 2
    other = Wanted("qwen3-8b", load_models()["qwen3-8b"].variants[0], "/srv/models")
    with pytest.raises(IngotError, match="is not in the lock of models"):
        locked_files(other, found)


@pytest.mark.cache
def test_a_repository_that_names_code_is_left_out_until_its_file_is_waived() -> None:
    config = '{"auto_map": {"AutoModel": "modeling.Model"}}'

    class Place:
        def locked(self, repository: str, revision: str | None) -> Locked:
            return Locked(repository, "c" * 40, (LockedFile("tokenizer_config.json", len(config), git_sha1="g"),))

        def text(self, locked: Locked, path: str) -> str:
            return config

    wishes = [Wish("a/coded", "m", "m (a)", Place())]
    refused = resolve(wishes, None, "h", update=False)
    assert refused.lacking == ["m"] and not refused.lock.repositories
    assert refused.failed["m (a)"].startswith("tokenizer_config.json of a/coded names code to be loaded (auto_map)")
    sha256 = hashlib.sha256(config.encode()).hexdigest()
    assert f'models_waived = {{"a/coded": {{"tokenizer_config.json": "{sha256}"}}}}' in refused.failed["m (a)"]
    waived = {"a/coded": {"tokenizer_config.json": sha256}}
    assert "a/coded" in resolve(wishes, None, "h", update=False, waived=waived).lock.repositories
    waived = {"a/coded": {"tokenizer_config.json": "0" * 64}}
    assert resolve(wishes, None, "h", update=False, waived=waived).lacking == ["m"]
