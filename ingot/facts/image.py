"""The engine's image on a host."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import sections


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image on the host: Docker's id and the digests that registries know it by; `present` is False without."""

    present: bool = False
    image_id: str = ""
    digests: tuple[str, ...] = ()
    archive_bytes: int | None = None


class ImageLook(FactBase[EngineImage]):
    """Whether an image (by id, or by name and digest) is on the host, and the size of its archive there."""

    def command(self, reference: str, archive: str = "") -> str:
        return sections.Question.of(
            {
                "image": f"docker image inspect {shlex.quote(reference)}",
                "archive": f"stat --format %s {shlex.quote(archive)}" if archive else "false",
            }
        )

    @staticmethod
    def default() -> EngineImage:
        return EngineImage()

    def process(self, output: list[str]) -> EngineImage:
        return parse_image(output)


def parse_image(output: Iterable[str]) -> EngineImage:
    """The answer of `ImageLook`."""
    found = sections.split(output)
    archive = int(found["archive"].line) if found["archive"].status == 0 else None
    if found["image"].status != 0:
        return EngineImage(archive_bytes=archive)
    (image,) = json.loads(found["image"].output)
    digests = tuple(name.partition("@")[2] for name in image.get("RepoDigests") or ())
    return EngineImage(True, image["Id"], digests, archive)
