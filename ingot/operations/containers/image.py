"""The engine's image on a host: pinned; loaded from an archive or pulled from a registry when the host lacks it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pyinfra.api.command import FileUploadCommand, PyinfraCommand
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.engine import STATE
from ingot.facts.footprint import IMAGES
from ingot.facts.image import ImageLook
from ingot.operations import detached
from ingot.operations.changes import announce
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.settings import of_host
from ingot.settings.engine import Engine

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


def image_source(values: Engine) -> ImageSource:
    """What the values say about the image.

    A tag alone is refused: whoever pushes it again would decide what runs here next.

    Raises: IngotError, one sentence without the host's name, when it is not pinned.
    """
    image = values.engine_image
    if values.engine_image_archive:
        if values.engine_image_id is None:
            raise IngotError(
                f"engine_image_archive is {values.engine_image_archive} and engine_image_id is not set, expected the "
                "sha256:… id that `docker image inspect` shows after `docker load`; set it in group_data."
            )
        return ImageSource(values.engine_image_id, values.engine_image_archive)
    digest = values.engine_image_digest
    if digest is None:
        raise IngotError(
            f"engine_image_digest is not set, expected the sha256:… digest of {image}; read it with "
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
    wanted = image_source(of_host(host))
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
