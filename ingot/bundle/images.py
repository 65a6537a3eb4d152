"""Engine images for sites without a registry: archives that `docker load` reads, and the names that Docker gives them.

Docker calls an image by the digest of its config; with containerd's store, the default of new installations from
Docker 29 on, by that of its manifest (moby#48401). A bundle knows both.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.bundle import program
from ingot.bundle.store import Entry, Store
from ingot.errors import IngotError
from ingot.operations.containers.image import PREFIXES, ImageSource, image_source
from ingot.settings.engine import Engine, EngineImage

#: How long a registry may take for an image, seconds.
LIMIT_S = 2 * 3600
_INDEXES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)


@dataclass(frozen=True, slots=True)
class Image:
    """An archive of a bundle: `config` and `manifest` are the digests by which Docker's two stores call it."""

    entry: Entry
    config: str
    manifest: str | None


def image(store: Store, values: Engine, engine: str, work: Path) -> Image:
    """An engine's image of a host, out of its archive or its registry. Raises: IngotError."""
    wanted = image_source(values, engine)
    if wanted.archive is None:
        archive = _pulled(wanted, _name(values, engine), work)
        origin = wanted.reference
    else:
        archive, origin = Path(wanted.archive).expanduser(), wanted.archive
        if not archive.is_file():
            raise IngotError(
                f"the archive {archive} of {engine}'s image is not on this machine, expected a file of `docker save`; "
                "bring it, or set a digest instead to take the image from its registry."
            )
    config, manifest = digests(archive)
    if wanted.archive and wanted.reference not in (config, manifest):
        raise IngotError(
            f"{archive} holds the image {config} (manifest {manifest or 'unknown'}), expected {engine}'s, whose id is "
            f"{wanted.reference}; correct one of them."
        )
    entry = store.take(archive, f"images/{config.removeprefix('sha256:')}.tar", origin)
    return Image(entry, config, manifest)


def values_of(values: Engine, engine: str, archive: str, image_id: str) -> dict[str, Any]:
    """What a host's values say where an engine's image is an archive of a bundle."""
    if engine in PREFIXES:
        return {f"{PREFIXES[engine]}_image_archive": archive, f"{PREFIXES[engine]}_image_id": image_id}
    said = _said(values, engine)
    own = {"image": said.image, "version": said.version, "archive": archive, "id": image_id}
    return {"engine_images": {engine: own}}


def _name(values: Engine, engine: str) -> str:
    return str(getattr(values, f"{PREFIXES[engine]}_image")) if engine in PREFIXES else _said(values, engine).image


def _said(values: Engine, engine: str) -> EngineImage:
    """An image without values of its own. `image_source` refused one that is not there."""
    return next(one for name, one in values.engine_images.items() if name == engine)


def digests(archive: Path) -> tuple[str, str | None]:
    """The digests of config and manifest of the one image in an archive; no manifest in those of Docker before 25.

    Raises: IngotError for what is no such archive.
    """
    try:
        with tarfile.open(archive) as tar:

            def content(name: str) -> bytes:
                member = tar.extractfile(name)
                if member is None:
                    raise KeyError(name)
                return member.read()

            (listed,) = json.loads(content("manifest.json"))
            config = f"sha256:{hashlib.sha256(content(listed['Config'])).hexdigest()}"
            try:
                described = json.loads(content("index.json"))["manifests"]
            except KeyError:
                return config, None
            for one in described:
                algorithm, _, digest = str(one["digest"]).partition(":")
                body = content(f"blobs/{algorithm}/{digest}")
                named = json.loads(body)
                if named.get("mediaType") not in _INDEXES and named["config"]["digest"] == config:
                    if hashlib.sha256(body).hexdigest() != digest:
                        raise ValueError(f"the manifest {digest} is damaged")
                    return config, f"sha256:{digest}"
            return config, None
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise IngotError(
            f"{archive} is no archive of one image ({error!r}), expected a file of `docker save`."
        ) from None


def _pulled(wanted: ImageSource, name: str, work: Path) -> Path:
    layout = work / "image"
    shutil.rmtree(layout, ignore_errors=True)
    layout.mkdir(parents=True)
    argv = ["skopeo", "copy", "--quiet", "--preserve-digests", f"docker://{wanted.reference}", f"dir:{layout}"]
    words = program.Words(
        f"skopeo is not on this machine, expected it to fetch {wanted.reference}; `apt-get install skopeo`, or set "
        "an archive (a file of `docker save`).",
        f"{wanted.reference} was not fetched within {LIMIT_S} s; run it again.",
        lambda *said: f"{wanted.reference} cannot be fetched ({program.last_line(*said)}).",
    )
    program.run(argv, words, LIMIT_S)
    return loadable(layout, name, work / "image.tar")


def loadable(directory: Path, name: str, archive: Path) -> Path:
    """An image as skopeo lays it out in a directory (its own manifest, and blobs by digest) as an archive that every
    Docker loads: the same bytes for the same image.

    Source: containers/image, docs/containers-transports.5, "dir:".
    """
    content = (directory / "manifest.json").read_bytes()
    manifest = json.loads(content)
    digest = hashlib.sha256(content).hexdigest()

    def blob(one: Mapping[str, Any]) -> str:
        return f"blobs/{one['digest'].replace(':', '/')}"

    index = {
        "mediaType": manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
        "digest": f"sha256:{digest}",
        "size": len(content),
        "annotations": {
            "io.containerd.image.name": name if "/" in name else f"docker.io/library/{name}",
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    }
    docker = {
        "Config": blob(manifest["config"]),
        "RepoTags": [name],
        "Layers": [blob(one) for one in manifest["layers"]],
    }
    texts = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "manifests": [index]},
        "manifest.json": [docker],
    }
    with tarfile.open(archive, "w") as tar:
        for file, said in texts.items():
            _add(tar, file, json.dumps(said).encode())
        _add(tar, f"blobs/sha256/{digest}", content)
        for one in {one["digest"]: one for one in (manifest["config"], *manifest["layers"])}.values():
            path = directory / one["digest"].partition(":")[2]
            member = tarfile.TarInfo(blob(one))
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as opened:
                tar.addfile(member, opened)
    return archive


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))
