"""The engine image: what goes in, and when it is built."""

import json
from pathlib import Path

import pytest

from ingot.sandbox import engine_image, mirror, tiny_model
from ingot.sandbox.engine_image import EngineImage, keep_base, keep_site
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.image import Mirror, Recipe
from ingot.sandbox.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def stored(paths: Paths, key: str, size: int = 7) -> EngineImage:
    directory = paths.mirror / "images"
    directory.mkdir(parents=True)
    (directory / "vllm-cpu.tar").write_bytes(b"archive")
    made = EngineImage("ingot/vllm-cpu:1", "sha256:1", "vllm-cpu.tar", "2", size, "1", key)
    (directory / "vllm-cpu.json").write_text(json.dumps(made.__dict__))
    return made


def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were built, without building."""
    built: list[str] = []

    def build(paths: Paths, key: str, *_: object) -> EngineImage:
        built.append(key)
        return EngineImage("ingot/vllm-cpu:1", "sha256:3", "vllm-cpu.tar", "4", 7, "1", key)

    monkeypatch.setattr(engine_image, "_build", build)
    return built


def test_a_cached_image_with_the_same_inputs_is_used(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    built = builds(monkeypatch)
    key = engine_image.ensure(paths, print).key
    made = stored(paths, key)
    assert engine_image.ensure(paths, print) == made
    assert built == [key]


def test_an_image_of_other_inputs_is_built_anew(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(paths, "of an older lock")
    built = builds(monkeypatch)
    assert engine_image.ensure(paths, print).image_id == "sha256:3"
    assert len(built) == 1


def test_the_key_follows_the_lock(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = builds(monkeypatch)
    engine_image.ensure(paths, print)
    changed = tmp_path / "changed.lock"
    changed.write_text(engine_image.LOCK.read_text().replace("vllm-cpu==0", "vllm-cpu==1"))
    monkeypatch.setattr(engine_image, "LOCK", changed)
    engine_image.ensure(paths, print)
    assert built[0] != built[1]


def test_an_archive_that_was_cut_short_does_not_count(paths: Paths) -> None:
    stored(paths, "key", size=8)
    assert engine_image.read(paths) is None


def test_another_architecture_is_refused_in_one_sentence(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_image.platform, "machine", lambda: "aarch64")
    with pytest.raises(SandboxError) as told:
        engine_image.ensure(paths, print)
    assert str(told.value) == (
        "the engine image is made of x86-64 packages and this machine is aarch64: use an x86-64 machine for test hosts"
    )


def test_the_first_layer_is_built_from_the_machines_own_mirrors() -> None:
    recipe = Recipe("debian12", (Mirror("http://mirror.test/debian", ""),), ('Acquire::http::Proxy "p";',), (), (), ())
    command = engine_image.base_command(recipe, Path("/build/root"))
    start = command.index("mmdebstrap")
    assert command[:2] == ["setpriv", "--pdeathsig"]
    assert command[start:] == [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--include=libnuma1,python3.11,binutils",
        '--aptopt=Acquire::http::Proxy "p";',
        '--aptopt=Acquire::Languages "none";',
        "bookworm",
        "/build/root",
        "deb http://mirror.test/debian bookworm main",
    ]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("torch/bin/torch_shm_manager", True),
        ("torch/bin/test_api", False),
        ("torch/include/ATen/ATen.h", False),
        ("torch/testing/_internal/logging_tensor.py", True),
        ("torch/lib/libtorch_cpu.so", True),
        ("numpy/linalg/tests/test_linalg.py", False),
        ("numpy/testing/__init__.py", True),
        ("numpy/__init__.pyi", False),
        ("llguidance/py.typed", True),
    ],
)
def test_wheels_leave_out_what_serving_never_reads(path: str, kept: bool) -> None:
    assert keep_site(path) is kept


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("usr/bin/python3.11", True),
        ("usr/local/lib/python3.11/dist-packages", True),
        ("usr/local/lib/python3.11/dist-packages/vllm", False),
        ("usr/local/bin/vllm", False),
        ("usr/share/doc", False),
        ("etc/resolv.conf", False),
        ("etc/passwd", True),
    ],
)
def test_the_first_layer_has_neither_vllm_nor_traces_of_this_machine(path: str, kept: bool) -> None:
    assert keep_base(path) is kept


def test_engine_values_point_a_host_at_the_archive(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch)
    assert mirror.engine_values(paths) == {
        "engine_build": "cpu",
        "engine_image": "ingot/vllm-cpu:1",
        "engine_image_archive": "/srv/ingot-mirror/images/vllm-cpu.tar",
        "engine_image_id": "sha256:3",
        "engine_version": "1",
    }


def test_model_values_name_the_model_that_was_made(paths: Paths) -> None:
    from ingot.catalog import load_models

    values = mirror.model_values(paths)
    assert values["sources"] == {"models": {"kind": "mirror", "uri": "file:///srv/ingot-mirror/models"}}
    model = load_models(values["site_models"])[tiny_model.NAME]
    (variant,) = model.variants
    assert (paths.mirror / "models" / variant.repository / str(variant.revision) / "config.json").is_file()
    assert variant.architecture.hidden_size == tiny_model.HIDDEN
