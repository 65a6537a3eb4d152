"""What a host lacks is asked of apt itself, out of a signed repository that is copied in part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingot.bundle import repository
from ingot.bundle.closure import Root
from ingot.bundle.repository import Part
from ingot.bundle.store import Store
from ingot.bundle.wishes import wish
from ingot.errors import IngotError
from ingot.facts.docker import DockerState
from ingot.facts.models import SWARM_LIBRARY
from ingot.sandbox import aptrepo
from ingot.sandbox.paths import Paths
from tests.operations.preflight.test_package_sources import BARE
from tests.settings.values import settings

STATUS = b"Package: libcuda1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0\n\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with real packages, signed with a real key."""
    directory = tmp_path_factory.mktemp("cache")
    return aptrepo.build(Paths(state=directory / "state", cache=directory)).resolve()


def part(published: Path) -> Part:
    key = (published / aptrepo.KEY_NAME).read_bytes()
    return Part("apt/vendor", f"file:{published}", ("stable",), ("main",), "amd64", key)


def root(tmp_path: Path, store: Store, one: Part, status: bytes = b"") -> Root:
    store.tree(repository.index(store, one), tmp_path / "tree")
    made = Root(tmp_path / "apt", tmp_path / "tree", "amd64")
    text = (
        f"Types: deb\nURIs: file:{tmp_path}/tree/{one.place}\nSuites: stable\nComponents: main\n"
        f"Signed-By: {made.keyring('vendor.asc')}\n"
    )
    made.prepare(status, {"vendor": text}, {"vendor.asc": one.keyring})
    return made


def test_the_closure_is_what_the_host_lacks_with_the_digests_of_the_signed_index(
    published: Path, tmp_path: Path
) -> None:
    store, one = Store(tmp_path / "bundle"), part(published)
    apt = root(tmp_path, store, one)
    apt.read()
    needed = {Path(one.path).name.partition("_")[0]: one for one in apt.closure(["nvidia-persistenced"])}
    assert "libnvidia-ml1" in needed and "docker.io" not in needed
    for package in needed.values():
        file = package.path.removeprefix("apt/vendor/")
        entry = repository.pool(store, one, file, package.sha256, package.bytes)
        assert store.object(entry.sha256).read_bytes() == (published / file).read_bytes()


def test_what_the_host_has_is_not_fetched(published: Path, tmp_path: Path) -> None:
    apt = root(tmp_path, Store(tmp_path / "bundle"), part(published))
    apt.read()
    (ml,) = (one for one in apt.closure(["libnvidia-ml1"]))
    version = Path(ml.path).name.split("_")[1]
    has = f"Package: libnvidia-ml1\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
    again = root(tmp_path, Store(tmp_path / "bundle"), part(published), has.encode())
    again.read()
    assert again.closure(["libnvidia-ml1"]) == ()


def test_an_index_that_was_changed_or_is_signed_by_others_is_refused(published: Path, tmp_path: Path) -> None:
    store, one = Store(tmp_path / "bundle"), part(published)
    apt = root(tmp_path, store, one)
    index = tmp_path / "tree/apt/vendor/dists/stable/InRelease"
    content = index.read_text()
    index.unlink()
    index.write_text(content.replace("Label: ingot-sandbox", "Label: somebody"))
    with pytest.raises(IngotError, match="apt-get update"):
        apt.read()


def test_a_bundle_has_the_library_of_swarms_for_hosts_that_shall_be_in_one() -> None:
    look = replace(BARE, docker=DockerState("debian", "13", "trixie", "amd64"))

    def extra(*, fronts: bool = False, **values: Any) -> tuple[set[str], set[str]]:
        found = wish(look, settings(**values), fronts=fronts)
        plain = wish(look, settings(), fronts=fronts)
        return set(found.names) - set(plain.names), set(found.optional) - set(plain.optional)

    both = {"cache_peer_port": 8444, "cache_swarm_port": 8445}
    assert extra(**both) == (set(), {SWARM_LIBRARY}), "taken where a repository has it"
    assert extra(cache_peer_port=8444) == extra(**both, fronts=True) == (set(), set())


def test_what_is_optional_is_taken_where_a_repository_has_it(published: Path, tmp_path: Path) -> None:
    apt = root(tmp_path, Store(tmp_path / "bundle"), part(published))
    apt.read()
    assert apt.has("libnvidia-ml1") and not apt.has(SWARM_LIBRARY)


def test_what_no_repository_has_is_apts_own_sentence(published: Path, tmp_path: Path) -> None:
    apt = root(tmp_path, Store(tmp_path / "bundle"), part(published))
    apt.read()
    with pytest.raises(IngotError, match="Unable to locate package none-such"):
        apt.closure(["none-such"])


def test_a_key_with_another_fingerprint_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(IngotError, match="where 0000 was expected"):
        repository.key(Store(tmp_path), f"file:{published}/{aptrepo.KEY_NAME}", ("0000",), "keys/vendor.asc")


def test_a_repository_without_a_signed_index_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(IngotError, match="has no signed index"):
        list(repository.index(Store(tmp_path), replace(part(published), suites=("nosuch",))))
    with pytest.raises(IngotError, match="has no none/binary-amd64/Packages in its index"):
        list(repository.index(Store(tmp_path), replace(part(published), components=("none",))))
