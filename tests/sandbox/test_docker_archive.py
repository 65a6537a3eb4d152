"""The image archive: what docker load needs, in a file that depends on contents alone."""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ingot.sandbox import docker_archive
from ingot.sandbox.docker_archive import Archive, Layer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/same").hardlink_to(root / "usr/bin/tool")
    (root / "bin").symlink_to("usr/bin")
    (root / "var/cache/apt").mkdir(parents=True)
    (root / "var/cache/apt/archive.deb").write_bytes(b"x" * 1000)
    os.mkfifo(root / "run.fifo")
    return root


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}


def test_layer_has_files_links_and_modes_but_no_devices(tree: Path, tmp_path: Path) -> None:
    docker_archive.write_layer(tmp_path / "layer.tar", tree)
    found = members(tmp_path / "layer.tar")
    assert "run.fifo" not in found
    assert found["bin"].issym() and found["bin"].linkname == "usr/bin"
    assert found["usr/bin/tool"].islnk() and found["usr/bin/tool"].linkname == "usr/bin/same"
    assert found["usr/bin/same"].mode == 0o4755
    assert list(found) == sorted(found)


def test_layer_leaves_out_a_refused_directory_with_all_below_it(tree: Path, tmp_path: Path) -> None:
    docker_archive.write_layer(tmp_path / "layer.tar", tree, keep=lambda name: name != "var/cache")
    assert [name for name in members(tmp_path / "layer.tar") if name.startswith("var")] == ["var"]


def test_layer_takes_the_owners_it_is_told(tree: Path, tmp_path: Path) -> None:
    docker_archive.write_layer(
        tmp_path / "layer.tar", tree, owners=lambda name: (2000, 0) if name == "usr/bin" else (7, 8)
    )
    found = members(tmp_path / "layer.tar")
    assert (found["usr/bin"].uid, found["usr/bin"].gid) == (2000, 0)
    assert (found["usr"].uid, found["usr"].gid) == (7, 8)


def test_layer_states_its_own_hash_and_size(tree: Path, tmp_path: Path) -> None:
    layer = docker_archive.write_layer(tmp_path / "layer.tar", tree)
    data = layer.path.read_bytes()
    assert (layer.size, layer.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def image(directory: Path, root: Path) -> tuple[Archive, Path, list[Layer]]:
    directory.mkdir()
    layers = [
        docker_archive.write_layer(directory / "1.tar", root, keep=lambda name: not name.startswith("var")),
        docker_archive.write_layer(directory / "2.tar", root, keep=lambda name: name.startswith("var")),
    ]
    path = directory / "image.tar"
    return docker_archive.write_archive(path, "ingot/toy:1", layers, {"User": "2000"}), path, layers


def test_same_tree_at_another_time_gives_the_same_image(tree: Path, tmp_path: Path) -> None:
    first, _, _ = image(tmp_path / "a", tree)
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    second, _, _ = image(tmp_path / "b", tree)
    assert first == second


def test_one_changed_byte_gives_another_image(tree: Path, tmp_path: Path) -> None:
    first, _, _ = image(tmp_path / "a", tree)
    (tree / "var/cache/apt/archive.deb").write_bytes(b"y" + b"x" * 999)
    second, _, _ = image(tmp_path / "b", tree)
    assert first.image_id != second.image_id


def test_archive_is_what_docker_reads(tree: Path, tmp_path: Path) -> None:
    made, path, layers = image(tmp_path / "a", tree)
    files = contents(path)
    (manifest,) = json.loads(files["manifest.json"])
    assert manifest["RepoTags"] == ["ingot/toy:1"]
    assert made.image_id == "sha256:" + hashlib.sha256(files[manifest["Config"]]).hexdigest()
    config = json.loads(files[manifest["Config"]])
    assert config["config"] == {"User": "2000"}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{layer.sha256}" for layer in layers]
    assert [files[name] for name in manifest["Layers"]] == [layer.path.read_bytes() for layer in layers]
    data = path.read_bytes()
    assert (made.size, made.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_archive_is_also_an_oci_layout(tree: Path, tmp_path: Path) -> None:
    made, path, layers = image(tmp_path / "a", tree)
    files = contents(path)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (index,) = json.loads(files["index.json"])["manifests"]
    assert index["annotations"]["io.containerd.image.name"] == "docker.io/ingot/toy:1"

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert len(data) == descriptor["size"]
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].removeprefix("sha256:")
        return data

    manifest = json.loads(blob(index))
    blob(manifest["config"])
    assert manifest["config"]["digest"] == made.image_id
    assert [blob(layer) for layer in manifest["layers"]] == [layer.path.read_bytes() for layer in layers]
