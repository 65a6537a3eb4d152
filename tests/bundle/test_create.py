"""A bundle's directory: what is in it when one was made, and whose directory is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.bundle.create import create
from ingot.bundle.images import values_of
from ingot.bundle.manifest import Manifest, read_signed
from ingot.bundle.store import Store
from ingot.bundle.target import question, script
from ingot.bundle.values import as_python, shared, values
from ingot.errors import IngotError
from ingot.secrets import bundle_key
from tests.settings.values import settings


def test_a_directory_of_others_is_refused_and_stays(tmp_path: Path) -> None:
    key = bundle_key.signing_key(tmp_path / "secrets")
    (tmp_path / "repository/objects/ab").mkdir(parents=True)
    (tmp_path / "repository/objects/ab/cd").write_text("a commit")
    with pytest.raises(IngotError, match="has other files than a bundle's, expected an empty directory"):
        create(tmp_path / "repository", [], key, None)
    assert (tmp_path / "repository/objects/ab/cd").read_text() == "a commit"


def test_what_no_bundle_needs_any_more_goes_with_the_next_one(tmp_path: Path) -> None:
    key, directory = bundle_key.signing_key(tmp_path / "secrets"), tmp_path / "bundle"
    first = create(directory, [], key, None)
    old = Store(directory).put(b"of an earlier one", "apt/a")
    again = create(directory, [], key, None)
    assert not Store(directory).object(old.sha256).exists() and (again.new, again.new_bytes) == (0, 0)
    assert read_signed(directory, bundle_key.public_pem(key)).serial >= first.manifest.serial
    assert sorted(path.name for path in directory.iterdir()) == ["manifest.json", "manifest.sig", "objects"]


def test_the_script_for_hosts_asks_what_ssh_would_ask() -> None:
    assert script().startswith("#!/bin/sh\n") and script().endswith(f"{question()}\n")


def test_values_are_python_with_what_hosts_have_of_their_own() -> None:
    each = {
        "gpu-01": {"sources": {"models": {"kind": "mirror"}}, "engine_image_id": "sha256:1"},
        "gpu-02": {"sources": {"models": {"kind": "mirror"}}, "engine_image_id": "sha256:2"},
        "front": {"sources": {"models": {"kind": "mirror"}}},
    }
    assert shared(each) == {"sources": {"models": {"kind": "mirror"}}}
    alone = {name: each[name] for name in ("gpu-01", "front")}
    assert shared(alone)["engine_image_id"] == "sha256:1", "who serves no model does not mind"
    said: dict[str, object] = {}
    exec(as_python(each), said)  # noqa: S102
    assert said["sources"] == {"models": {"kind": "mirror"}} and "engine_image_id" not in said
    assert '# In the file of gpu-02: {"engine_image_id": "sha256:2"}' in as_python(each)


def test_each_engines_image_has_values_of_its_own_at_the_bundles_place() -> None:
    pinned = {"image": "lmsysorg/sglang:v0.5.23", "version": "0.5.23", "digest": "sha256:" + "0" * 64}
    engines = settings(engine_images={"sglang": pinned})
    made: dict[str, object] = {}
    for engine in ("vllm", "llama.cpp", "sglang"):
        made |= values_of(engines, engine, f"{{base}}/images/{engine}.tar", f"sha256:{engine}")
    bundle = Manifest(1, "now", (), {"gpu-01": ()}, {"gpu-01": made})
    on_host = values(bundle, "file:///srv/bundle")["gpu-01"]
    assert on_host["engine_image_archive"] == "/srv/bundle/images/vllm.tar"
    assert on_host["llama_cpp_image_archive"] == "/srv/bundle/images/llama.cpp.tar"
    assert on_host["engine_images"]["sglang"] == {
        "image": "lmsysorg/sglang:v0.5.23", "version": "0.5.23", "archive": "/srv/bundle/images/sglang.tar",
        "id": "sha256:sglang",
    }  # fmt: skip
    served = values(bundle, "https://host:8445")["gpu-01"]
    assert served["engine_images"]["sglang"]["archive"] == "https://host:8445/images/sglang.tar"
