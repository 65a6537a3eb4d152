"""Commits and files come from a hub, a mirror or a directory; what goes wrong there is one sentence."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.catalog import load_models
from ingot.errors import IngotError
from ingot.hub.client import Hub
from ingot.hub.places import InDirectory, OnHub, OnMirror
from ingot.operations.weights.manifest import Origin, origin
from ingot.settings.sources import Models
from tests.hub.standin import FIRST, SECOND, StandIn, hub

pytestmark = pytest.mark.models


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with hub() as made:
        yield made


def test_a_branch_is_resolved_to_its_commit_with_the_files_that_an_engine_needs(standin: StandIn) -> None:
    locked = OnHub(Hub(standin.url)).locked("Qwen/Qwen3-0.6B", None)
    assert locked.commit == SECOND
    assert [one.path for one in locked.files] == [
        *("config.json", "generation_config.json", "merges.txt", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "vocab.json"),
    ]
    weights = next(one for one in locked.files if one.path == "model.safetensors")
    assert len(weights.sha256 or "") == 64 and weights.git_sha1 is None
    assert next(one for one in locked.files if one.path == "config.json").git_sha1
    assert locked.weight_bytes == 1503300328


def test_a_commit_is_asked_for_as_it_is(standin: StandIn) -> None:
    assert OnHub(Hub(standin.url)).locked("Qwen/Qwen3-0.6B", FIRST).commit == FIRST
    assert standin.asked[0][0] == f"/api/models/Qwen/Qwen3-0.6B/revision/{FIRST}?blobs=true"


def test_a_gated_repository_needs_the_token_and_gets_it(standin: StandIn) -> None:
    with pytest.raises(IngotError, match="gated or private; accept its terms there, and give a token"):
        Hub(standin.url).commit("meta-llama/Gated")
    assert Hub(standin.url, "hf_right").commit("meta-llama/Gated").gated
    assert "hf_right" not in repr(Hub(standin.url, "hf_right"))


@pytest.mark.parametrize(
    ("repository", "revision", "words"),
    [
        ("Qwen/Qwen3-0.7B", "main", "does not show Qwen/Qwen3-0.7B"),
        ("Qwen/Qwen3-0.6B", "0" * 40, "has no Qwen/Qwen3-0.6B, or not this revision of it"),
    ],
)
def test_what_is_not_there_is_said(standin: StandIn, repository: str, revision: str, words: str) -> None:
    with pytest.raises(IngotError, match=words):
        Hub(standin.url).commit(repository, revision)


def test_a_full_quota_is_waited_for_as_long_as_the_hub_says(standin: StandIn) -> None:
    waits: list[float] = []
    standin.first = [(429, {"RateLimit": '"api";r=0;t=55'}), (429, {"Retry-After": "7"}), (503, {})]
    assert Hub(standin.url, wait=waits.append).commit("Qwen/Qwen3-0.6B").sha == SECOND
    assert waits == [56, 7, 3]


def test_a_hub_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(IngotError, match="does not answer for a/b"):
        Hub("http://127.0.0.1:1").commit("a/b")


def test_a_token_is_not_carried_to_another_host(standin: StandIn) -> None:
    with hub() as other:
        standin.first = [(302, {"Location": f"{other.url}/api/models/Qwen/Qwen3-0.6B/revision/main?blobs=true"})]
        with pytest.raises(IngotError, match="redirected to"):
            Hub(standin.url, "hf_right").commit("Qwen/Qwen3-0.6B")
        assert other.asked == []


def test_an_answer_that_is_for_another_commit_is_refused(standin: StandIn) -> None:
    standin.repositories["Qwen/Qwen3-0.6B"].commits["short"] = {}
    standin.repositories["Qwen/Qwen3-0.6B"].main = "short"
    with pytest.raises(IngotError, match="with commit 'short'"):
        Hub(standin.url).commit("Qwen/Qwen3-0.6B")


def test_a_mirror_has_what_was_put_there(tmp_path: Path) -> None:
    directory = tmp_path / "site" / "small" / FIRST
    directory.mkdir(parents=True)
    digest = hashlib.sha256(b"w").hexdigest()
    listed = {"files": [{"path": "model.safetensors", "bytes": 1, "sha256": digest}]}
    (directory / "ingot-manifest.json").write_text(json.dumps(listed))
    mirror = OnMirror(f"file://{tmp_path}/site")
    assert mirror.locked("small", FIRST).files[0].sha256 == digest
    with pytest.raises(IngotError, match="does not say what the newest commit of small is"):
        mirror.locked("small", None)
    with pytest.raises(IngotError, match="cannot be read"):
        mirror.locked("small", SECOND)


def test_a_directory_is_read_and_hashed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"w")
    (tmp_path / "config.json").write_text("{}")
    place = InDirectory()
    locked = place.locked(str(tmp_path), None)
    assert re.fullmatch("[0-9a-f]{40}", locked.commit)
    assert place.text(locked, "config.json") == "{}"
    assert place.locked(str(tmp_path), "whatever was named") == locked
    # As a deploy takes it, whatever the source of other models is.
    variant = replace(load_models()["qwen3-0.6b"].variants[0], repository=str(tmp_path), revision=locked.commit)
    assert origin(Models(kind="hub", uri="https://hub.example"), variant, "x") == Origin("push", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert place.locked(str(tmp_path), locked.commit).commit != locked.commit
