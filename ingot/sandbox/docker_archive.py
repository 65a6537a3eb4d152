"""A container image as one file that `docker load` reads, written without docker and the same for the same content.

The file is an OCI image layout with docker's own manifest.json beside it, as `docker save` writes since 25.
Layers are plain tar: loading is then one pass of copying, and a layer's digest is also its identity.
"""

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

#: The time of every file in an image: images differ when contents do, not when they were built.
EPOCH_S = 1_767_225_600
_DATE = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """One layer as a tar file: its size and SHA-256 (64 hex digits)."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A written image: `image_id` is what `docker image inspect` shows after loading it."""

    image_id: str
    sha256: str
    size: int


class _Hashing:
    """A file to write to that knows the size and SHA-256 of what went through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_layer(
    path: Path,
    root: Path,
    keep: Callable[[str], bool] = lambda name: True,
    owners: Callable[[str], tuple[int, int] | None] = lambda name: None,
) -> Layer:
    """Pack the tree below `root` into the tar file `path`, sorted, with fixed times and numeric owners.

    Args:
        path: the file to write.
        root: the directory that becomes `/`.
        keep: whether a path (`usr/bin/python3`) goes in; a refused directory takes what is below it along.
        owners: user and group of a path; None: as they are on disk.
    """
    links: dict[tuple[int, int], str] = {}
    with path.open("wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for entry, name in _walk(root, root, keep):
                _add(tar, entry, name, links, owners(name))
    return Layer(path, hashing.size, hashing.hexdigest())


def write_archive(path: Path, name: str, layers: Iterable[Layer], config: dict[str, Any]) -> Archive:
    """Write the image `name` (`repository:tag`) made of `layers`; `config` is its run configuration (Env, User, …)."""
    layers = list(layers)
    image = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _DATE,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}" for layer in layers]},
            "history": [{"created": _DATE, "created_by": "ingot"} for _ in layers],
        }
    )
    image_sha256 = hashlib.sha256(image).hexdigest()
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", image_sha256, len(image)),
            "layers": [
                _descriptor("application/vnd.oci.image.layer.v1.tar", layer.sha256, layer.size) for layer in layers
            ],
        }
    )
    manifest_sha256 = hashlib.sha256(manifest).hexdigest()
    index = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest_sha256, len(manifest))
    index["annotations"] = {
        "io.containerd.image.name": f"docker.io/{name}",
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    docker = {
        "Config": f"blobs/sha256/{image_sha256}",
        "RepoTags": [name],
        "Layers": [f"blobs/sha256/{layer.sha256}" for layer in layers],
    }
    with path.open("wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|") as tar:  # type: ignore[call-overload]
            _add_bytes(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add_bytes(tar, "index.json", _json({"schemaVersion": 2, "manifests": [index]}))
            _add_bytes(tar, "manifest.json", _json([docker]))
            _add_bytes(tar, f"blobs/sha256/{manifest_sha256}", manifest)
            _add_bytes(tar, f"blobs/sha256/{image_sha256}", image)
            for layer in layers:
                with layer.path.open("rb") as blob:
                    tar.addfile(_member(f"blobs/sha256/{layer.sha256}", layer.size), blob)
    return Archive(f"sha256:{image_sha256}", hashing.hexdigest(), hashing.size)


def _walk(root: Path, directory: Path, keep: Callable[[str], bool]) -> Iterable[tuple[Path, str]]:
    for entry in sorted(directory.iterdir(), key=lambda path: path.name):
        name = str(entry.relative_to(root))
        if keep(name):
            yield entry, name
            if entry.is_dir() and not entry.is_symlink():
                yield from _walk(root, entry, keep)


def _add(
    tar: tarfile.TarFile, path: Path, name: str, links: dict[tuple[int, int], str], owner: tuple[int, int] | None
) -> None:
    status = path.lstat()
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode)
    member.uid, member.gid = owner or (status.st_uid, status.st_gid)
    member.mtime = EPOCH_S
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type = tarfile.SYMTYPE
        member.linkname = str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and inode in links:
            member.type = tarfile.LNKTYPE
            member.linkname = links[inode]
        else:
            links[inode] = name
            member.size = status.st_size
            with path.open("rb") as content:
                tar.addfile(member, content)
            return
    else:
        # Devices and sockets: the container runtime makes its own.
        return
    tar.addfile(member)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = EPOCH_S
    return member


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


def _descriptor(media_type: str, sha256: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
