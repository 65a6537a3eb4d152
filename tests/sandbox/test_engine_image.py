"""The engine image: what goes in, and when it is built."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ingot.sandbox import engine_image, llama_image, mirror, requirements
from ingot.sandbox.engine_image import EngineImage, keep_base, keep_site
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.image import Mirror, Recipe
from ingot.sandbox.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def stored(paths: Paths, key: str, size: int = 7) -> EngineImage:
    directory = paths.mirror / "images"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"vllm-cpu-{key}.tar").write_bytes(b"archive")
    made = EngineImage("ingot/vllm-cpu:1", "sha256:1", f"vllm-cpu-{key}.tar", "2", size, "1", key)
    (directory / f"vllm-cpu-{key}.json").write_text(json.dumps(made.__dict__))
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
    assert engine_image.read(paths, "key") is None


def test_a_full_disk_is_told_in_one_sentence_with_its_place(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror.aptrepo, "build", lambda paths: Path("/dev/full").write_text("packages"))
    with pytest.raises(SandboxError) as refused:
        mirror.ensure(print, paths)
    assert str(refused.value) == (
        f"what test hosts fetch could not be made in {paths.mirror}: No space left on device; "
        "mend that and say it again, it goes on where it stopped"
    )


def test_another_architecture_is_refused_in_one_sentence(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.platform, "machine", lambda: "aarch64")
    with pytest.raises(SandboxError) as told:
        engine_image.ensure(paths, print)
    assert str(told.value) == (
        "the engine image is made of x86-64 packages and this machine is aarch64: use an x86-64 machine with AVX2 for "
        "test hosts"
    )


def test_a_processor_without_avx2_is_refused_in_one_sentence(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = builds(monkeypatch)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: QEMU Virtual CPU version 2.5+\nflags\t\t: fpu sse2 ssse3\n")
    monkeypatch.setattr(requirements, "CPUINFO", cpuinfo)
    with pytest.raises(SandboxError, match=r"needs AVX2 and this machine's processor \(QEMU Virtual CPU .*\) has"):
        engine_image.ensure(paths, print)
    cpuinfo.write_text("model name\t: QEMU Virtual CPU version 2.5+\nflags\t\t: fpu sse2 avx avx2 bmi2\n")
    assert engine_image.ensure(paths, print).key == built[0]


def test_images_of_other_checkouts_stay_until_there_are_too_many(paths: Paths) -> None:
    for age, key in enumerate(["newest", "newer", "old", "older"]):
        record = paths.mirror / "images" / f"vllm-cpu-{stored(paths, key).key}.json"
        os.utime(record, (1_000_000 - age, 1_000_000 - age))
    engine_image._forget_old(paths.mirror / "images")
    kept = {path.name for path in (paths.mirror / "images").iterdir()}
    assert kept == {f"vllm-cpu-{key}.{end}" for key in ("newest", "newer", "old") for end in ("json", "tar")}


def test_torch_is_made_to_know_of_no_kernel_beyond_avx2() -> None:
    asks = "".join(f"def {name}():\n    return True\n" for name in engine_image.BEYOND_AVX2)
    module: dict[str, Callable[[], bool]] = {}
    exec(engine_image.processor_of_all_machines(asks), module)  # noqa: S102
    assert not any(module[name]() for name in engine_image.BEYOND_AVX2)
    with pytest.raises(SandboxError, match="has no _is_vnni_supported: look how this version asks"):
        engine_image.processor_of_all_machines(asks.replace("_is_vnni_supported", "_is_vnni_there"))


def test_the_engine_core_begins_as_a_copy() -> None:
    """Where vLLM begins it another way than is known, the build says so."""
    before = 'import os\n\nos.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"\n'
    assert engine_image.platform_that_copies(before) == before.replace("spawn", "fork")
    with pytest.raises(SandboxError, match=r"vLLM's vllm/platforms/cpu\.py has no os\.environ"):
        engine_image.platform_that_copies("import os\n")


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
    llama = llama_image.LlamaImage("ingot/llama-cpp:b1", "sha256:4", "llama-cpp.tar", 1, "b11669")
    monkeypatch.setattr(llama_image, "ensure", lambda paths, say: llama)
    assert mirror.engine_values(paths) == {
        "engine_build": "cpu",
        "engine_image": "ingot/vllm-cpu:1",
        "engine_image_archive": "/srv/ingot-mirror/images/vllm-cpu.tar",
        "engine_image_id": "sha256:3",
        "engine_version": "1",
        "llama_cpp_image": "ingot/llama-cpp:b1",
        "llama_cpp_image_archive": "/srv/ingot-mirror/images/llama-cpp.tar",
        "llama_cpp_image_id": "sha256:4",
        "llama_cpp_version": "b11669",
    }


def test_model_values_name_one_model_of_each_kind_that_was_made(paths: Paths) -> None:
    from ingot.catalog import load_models, lock

    values = mirror.model_values(paths)
    assert values["sources"] == {"models": {"kind": "mirror", "uri": "file:///srv/ingot-mirror/models"}}
    models = load_models(values["site_models"])
    found = {name: models[name].kind for name in values["site_models"]}
    assert found == {
        "tiny-qwen3": "generate",
        "tiny-gguf": "generate",
        "tiny-gguf-embedder": "embed",
        "tiny-bert": "embed",
        "tiny-reranker": "rerank",
        "tiny-whisper": "transcribe",
    }
    known = lock.read(Path(values["models_lock"]))
    assert known is not None
    assert lock.unlocked(list(found), models, known) == []
    for name, maker in zip(found, mirror.MAKERS, strict=True):
        (variant,) = models[name].variants
        assert known.files(variant.repository, variant.revision)
        assert (
            paths.mirror / "models" / variant.repository / str(variant.revision) / (variant.file or "config.json")
        ).is_file()
        assert variant.architecture.hidden_size == maker.HIDDEN
