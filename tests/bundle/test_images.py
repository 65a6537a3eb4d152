"""Archives of images: both digests that Docker may call an image by, from each form of archive."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from ingot.bundle.images import digests, loadable
from ingot.errors import IngotError
from ingot.sandbox.docker_archive import write_archive, write_layer


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/file").write_text("x")
    layer = write_layer(tmp_path / "layer.tar", tmp_path / "root", owners=lambda name: (0, 0))
    write_archive(tmp_path / "image.tar", "example/engine:1", [layer], {"Env": []})
    return tmp_path / "image.tar"


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]


def written(path: Path, files: dict[str, bytes]) -> Path:
    import io

    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_both_digests_are_read(archive: Path) -> None:
    files = members(archive)
    config, manifest = digests(archive)
    assert f"blobs/{config.replace(':', '/')}" == json.loads(files["manifest.json"])[0]["Config"]
    assert manifest == json.loads(files["index.json"])["manifests"][0]["digest"] and config != manifest


def test_an_archive_of_an_older_docker_has_no_manifest(archive: Path, tmp_path: Path) -> None:
    files = members(archive)
    del files["index.json"]
    assert digests(written(tmp_path / "old.tar", files)) == (digests(archive)[0], None)


def test_an_image_of_a_registry_becomes_an_archive_with_the_same_digests(archive: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    files = members(archive)
    for name, content in files.items():
        if name.startswith("blobs/"):
            (layout / Path(name).name).write_bytes(content)
    (layout / "manifest.json").write_bytes(files[f"blobs/{str(digests(archive)[1]).replace(':', '/')}"])
    made = loadable(layout, "example/engine:1", tmp_path / "made.tar")
    assert digests(made) == digests(archive)
    assert json.loads(members(made)["manifest.json"])[0]["RepoTags"] == ["example/engine:1"]
    first = hashlib.sha256(made.read_bytes()).hexdigest()
    assert hashlib.sha256(loadable(layout, "example/engine:1", made).read_bytes()).hexdigest() == first


def test_what_is_no_archive_or_damaged_is_one_sentence(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    files = members(archive)
    name = f"blobs/{str(digests(archive)[1]).replace(':', '/')}"
    files[name] = files[name].replace(b'"schemaVersion":2', b'"schemaVersion":3').replace(b": 2", b": 3")
    for path in (tmp_path / "text", written(tmp_path / "damaged.tar", files)):
        with pytest.raises(IngotError, match="is no archive of one image"):
            digests(path)
