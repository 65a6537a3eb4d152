"""The repository of stand-ins: signed, reproducible, complete, and resolved by apt as the real one would be."""

import re
import subprocess
from pathlib import Path

import pytest

from ingot.sandbox import aptrepo
from ingot.sandbox.paths import Paths
from ingot.sandbox.simulated.packages import all_packages

KERNEL = "6.12.99-test-amd64"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    base = tmp_path_factory.mktemp("sandbox")
    made = Paths(base / "cache", base / "state")
    aptrepo.build(made, KERNEL)
    return made


def contents(repository: Path) -> dict[str, bytes]:
    return {str(path.relative_to(repository)): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def apt(paths: Paths, scratch: Path, *arguments: str, preferences: str = "") -> str:
    """Run apt-get against the repository alone, with every directory of its own."""
    key = paths.mirror / "apt" / aptrepo.KEY_NAME
    for name in ("etc", "lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    (scratch / "status").write_text(
        "Package: kmod\nStatus: install ok installed\nVersion: 34\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
    )
    (scratch / "etc/sources.list").write_text(
        f"deb [signed-by={key}] file:{paths.mirror}/apt {aptrepo.SUITE} {aptrepo.COMPONENT}\n"
    )
    (scratch / "etc/preferences").write_text(preferences)
    options = {
        "Dir::Etc": f"{scratch}/etc",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": str(scratch),
        "Dir::State::status": f"{scratch}/status",
        "Dir::Cache": f"{scratch}/cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    done = subprocess.run(["apt-get", *flags, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed_versions(simulation: str) -> dict[str, str]:
    return dict(re.findall(r"^Inst (\S+) \((\S+) ", simulation, re.MULTILINE))


def test_apt_trusts_the_exported_key(paths: Paths, tmp_path: Path) -> None:
    assert "InRelease" in apt(paths, tmp_path, "update")


def test_apt_refuses_the_repository_when_a_signed_index_was_changed(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    forged = Paths(tmp_path / "cache", tmp_path / "state")
    subprocess.run(["cp", "-a", str(paths.cache), str(forged.cache)], check=True)
    release = forged.mirror / "apt/dists/stable/InRelease"
    release.write_text(release.read_text().replace("Origin: ingot-sandbox", "Origin: somebody-else"))
    with pytest.raises(AssertionError, match=r"BADSIG|not signed|invalid|verification"):
        apt(forged, tmp_path / "scratch", "update", "-o", "APT::Update::Error-Mode=any")


def test_the_fingerprint_is_that_of_the_exported_key(paths: Paths, tmp_path: Path) -> None:
    values = aptrepo.source_values(paths)["sources"]
    command = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys"]
    shown = subprocess.check_output([*command, str(paths.mirror / "apt" / aptrepo.KEY_NAME)], text=True)
    found = [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:")]
    assert found == [values["nvidia_driver"]["key_fingerprint"]]
    assert values["nvidia_driver"] == values["nvidia_toolkit"]


def test_the_secret_key_is_readable_by_its_owner_only_and_outside_the_mirror(paths: Paths) -> None:
    assert (paths.cache / "apt-key/secret.asc").stat().st_mode & 0o777 == 0o600
    assert not [name for name, data in contents(paths.mirror).items() if b"PRIVATE KEY" in data]


def test_the_same_inputs_give_the_same_packages_and_index(paths: Paths, tmp_path: Path) -> None:
    again = Paths(tmp_path / "cache", tmp_path / "state")
    again.cache.mkdir()
    subprocess.run(["cp", "-a", str(paths.cache / "apt-key"), str(again.cache)], check=True)
    first, second = contents(aptrepo.build(paths, KERNEL)), contents(aptrepo.build(again, KERNEL))
    del first["dists/stable/InRelease"], second["dists/stable/InRelease"]
    assert first == second


def test_nothing_is_rebuilt_while_nothing_changed_and_all_of_it_when_the_kernel_did(tmp_path: Path) -> None:
    own = Paths(tmp_path / "cache", tmp_path / "state")
    repository = aptrepo.build(own, KERNEL)
    before = repository.resolve()
    made = before.stat().st_mtime_ns
    assert aptrepo.build(own, KERNEL).resolve() == before
    assert before.stat().st_mtime_ns == made
    after = aptrepo.build(own, "6.13.1-other-amd64").resolve()
    assert after != before
    assert not before.exists()
    assert (after / "pool/linux-headers-6.13.1-other-amd64_1.0-1_amd64.deb").exists()


def test_a_build_that_was_killed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Paths(tmp_path / "cache", tmp_path / "state")
    monkeypatch.setattr(aptrepo, "_release", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        aptrepo.build(own, KERNEL)
    monkeypatch.undo()
    assert list(own.mirror.iterdir()) == []
    assert (aptrepo.build(own, KERNEL) / "dists/stable/InRelease").exists()


def test_every_dependency_is_in_the_repository_or_in_any_debian() -> None:
    packages = all_packages(KERNEL)
    names = {package.name for package in packages} | {"kmod"}
    for package in packages:
        for alternatives in package.depends:
            assert {word.split()[0] for word in alternatives.split(" | ")} <= names, package.name


def test_no_two_packages_that_go_together_own_one_file() -> None:
    owners: dict[str, set[str]] = {}
    for package in all_packages(KERNEL):
        for path in (*package.files, *package.programs, *package.links):
            owners.setdefault(path, set()).add(package.name)
    shared = {path: names for path, names in owners.items() if len(names) > 1}
    # The two flavours of the module, and the pinning packages, exclude each other.
    assert all(
        names <= {"nvidia-kernel-dkms", "nvidia-kernel-open-dkms"}
        for path, names in shared.items()
        if "pinning" not in path
    )


@pytest.mark.parametrize(
    ("pinned", "version"),
    [("", "595.71.05-1"), ("580.*", "580.173.02-1"), ("580.159.03*", "580.159.03-1")],
    ids=["unpinned", "branch", "exact"],
)
def test_apt_chooses_the_driver_that_a_pin_says(paths: Paths, tmp_path: Path, pinned: str, version: str) -> None:
    preferences = f"Package: src:nvidia-graphics-drivers\nPin: version {pinned}\nPin-Priority: 1000\n" if pinned else ""
    apt(paths, tmp_path, "update", preferences=preferences)
    chosen = installed_versions(apt(paths, tmp_path, "-s", "install", "nvidia-open", preferences=preferences))
    assert {name for name in chosen if name.startswith("nvidia-kernel")} == {
        "nvidia-kernel-open-dkms",
        "nvidia-kernel-support",
    }
    assert {chosen[name] for name in ("nvidia-open", "nvidia-driver-cuda", "libnvidia-ml1")} == {version}


def test_the_toolkit_s_packages_come_at_one_version(paths: Paths, tmp_path: Path) -> None:
    apt(paths, tmp_path, "update")
    chosen = installed_versions(apt(paths, tmp_path, "-s", "install", "nvidia-container-toolkit"))
    assert len(chosen) == 4
    assert set(chosen.values()) == {"1.20.0-1"}


def test_the_fabric_manager_matches_the_driver_in_its_upstream_version_only() -> None:
    versions = {(package.name, package.version) for package in all_packages(KERNEL)}
    assert ("nvidia-fabricmanager", "580.159.03-2") in versions
    assert ("nvidia-driver", "580.159.03-1") in versions
