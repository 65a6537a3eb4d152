"""The engine's image on a host: pinned, and loaded from an archive or pulled from a registry only when it lacks."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pyinfra.api.command import FileUploadCommand, PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ingot.facts.engine import STATE
from ingot.facts.footprint import IMAGES
from ingot.facts.image import ImageLook
from ingot.operations import detached
from ingot.operations.changes import announce
from ingot.operations.refuse import Refusal, refuse

SCRIPT = (files(__package__) / "image.sh").read_text()
PROGRESS = (files(__package__) / "image_progress.sh").read_text()
#: Where an archive of the control machine lies on the host while it is loaded.
PUSHED = f"{STATE}/engine/image.tar"
#: How long a run waits for an image of about 10 GB from a slow source, seconds.
LIMIT_S = 2 * 3600


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where the image comes from: `reference` is what Compose runs and is immutable.

    `archive` is a path on the host or, if it is not there, on the control machine; None means a registry.
    """

    reference: str
    archive: str | None


def image_of_host() -> ImageSource:
    """The image that the values of the host in context ask for. Raises: Refusal when it is not pinned."""
    data = host.data
    return image_source(
        host.name,
        image=data.engine_image,
        digest=data.engine_image_digest,
        archive=data.engine_image_archive,
        image_id=data.engine_image_id,
    )


def image_source(
    name: str, *, image: str, digest: str | None, archive: str | None, image_id: str | None
) -> ImageSource:
    """What the values say about the image. Raises: Refusal when it is not pinned.

    A tag alone is refused: whoever pushes it again would decide what runs here next.
    """
    if archive:
        if not image_id or not re.fullmatch(r"sha256:[0-9a-f]{64}", image_id):
            raise Refusal(
                f"{name}: engine_image_archive is {archive} but engine_image_id is {image_id!r}, expected the "
                "sha256:… id that `docker image inspect` shows after `docker load`; set it in group_data."
            )
        return ImageSource(image_id, archive)
    if not digest or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Refusal(
            f"{name}: engine_image_digest is {digest!r}, expected the sha256:… digest of {image}; read it with "
            f"`docker buildx imagetools inspect {image}`, check it, and set it in group_data (or set "
            "engine_image_archive and engine_image_id for a site without a registry)."
        )
    repository, _, tag = image.rpartition(":")
    return ImageSource(f"{repository if repository and '/' not in tag else image}@{digest}", None)


@operation()
def image() -> Generator[PyinfraCommand, None, None]:
    """Have the engine's image on the host: loaded from an archive (by id) or pulled from a registry (by digest).

    The work goes on in a unit of its own when the connection drops, and the next run waits for it.
    """
    try:
        wanted = image_of_host()
    except Refusal as refusal:
        yield refuse(str(refusal))
        return
    found = host.get_fact(ImageLook, reference=wanted.reference, archive=wanted.archive or "")
    if found.present:
        host.noop(f"image {wanted.reference} is already here")
        return
    members = {"host": host.name, "image": wanted.reference, "known": IMAGES, "progress": PROGRESS}
    if wanted.archive is None:
        announce([f"pull image {wanted.reference}"])
    else:
        announce([f"load image {wanted.reference} from {wanted.archive}"])
        members["archive"] = wanted.archive
        if found.archive_bytes is None:
            if not Path(wanted.archive).is_file():
                yield refuse(
                    f"{host.name}: the image archive {wanted.archive} is neither on the host nor on this machine, "
                    "expected a file made by `docker save`; correct engine_image_archive."
                )
                return
            yield FileUploadCommand(wanted.archive, PUSHED)
            members |= {"archive": PUSHED, "pushed": ""}
    yield from detached.commands("ingot-image", SCRIPT, members, LIMIT_S)
