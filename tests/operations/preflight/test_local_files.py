"""Files of this machine that a deploy reads are judged before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingot.operations.preflight.local_files import unusable
from tests.settings.values import host


def said(directory: Path, **values: Any) -> list[str]:
    from ingot.settings import of_host

    one = host(secrets_dir=str(directory), **values)
    return list(unusable(one, of_host(one)))


def test_what_is_not_there_yet_is_nothing_wrong(tmp_path: Path) -> None:
    assert said(tmp_path / "none") == []
    assert not (tmp_path / "none").exists(), "and it is not made"


def test_what_is_served_needs_a_lock_of_models(tmp_path: Path) -> None:
    serve = [{"model": "qwen3-0.6b", "context": 4096, "concurrency": 1}]
    lock = tmp_path / "models.lock.yaml"
    (found,) = said(tmp_path, serve=serve, models_lock=str(lock))
    assert found.startswith(f"{lock} is not there, expected the commits and files of what is served")
    assert found.endswith("run `ingot models lock`")
    assert said(tmp_path, serve=serve, models_lock=None) == []
    assert said(tmp_path, serve=[], models_lock=str(lock)) == []
    files = [{"path": "model.safetensors", "bytes": 5, "sha256": "a"}]
    repositories = {"Qwen/Qwen3-0.6B": {"commit": "c" * 40, "files": files}}
    lock.write_text(json.dumps({"schema": 1, "hub": "h", "repositories": repositories}))
    assert said(tmp_path, serve=serve, models_lock=str(lock)) == []


@pytest.mark.parametrize(
    ("name", "text", "mode", "sentence"),
    [
        ("ca.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----", 0o600, "ca.pem: no usable CA in it"),
        ("ca.pem", "", 0o644, "ca.pem: the CA's private key has mode 0644, expected 0600"),
        ("keys.yaml", "keys: [{team: A}]", 0o600, "keys.yaml: not a list of keys"),
    ],
)
def test_a_file_that_no_role_could_use_is_one_sentence(
    tmp_path: Path, name: str, text: str, mode: int, sentence: str
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(mode)
    (found,) = said(tmp_path)
    assert sentence in found and not found.endswith(".")
    assert "\n" not in found


def test_a_certificate_from_files_needs_no_ca(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert said(tmp_path, gateway_certificate="files") == []


def test_a_token_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (found,) = said(tmp_path, cache_hub_token_file=str(tmp_path / "token"))
    assert found == f"cache_hub_token_file {tmp_path}/token cannot be read (No such file or directory); correct it"
    (tmp_path / "token").write_text("two words")
    (found,) = said(tmp_path, cache_hub_token_file=str(tmp_path / "token"))
    assert "holds no token, expected one word" in found
