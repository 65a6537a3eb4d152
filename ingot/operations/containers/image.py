"""The engine's image on a host: pinned; loaded from an archive or pulled from a registry when the host lacks it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pyinfra.api.command import FileUploadCommand, PyinfraCommand
from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.engine import STATE
from ingot.facts.footprint import IMAGES
from ingot.facts.image import EngineImage, ImageLook
from ingot.operations import detached, proxy
from ingot.operations.changes import announce
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing
from ingot.settings import of_host
from ingot.settings.engine import Engine

SCRIPT = (files(__package__) / "image.sh").read_text()
PROGRESS = (files(__package__) / "image_progress.sh").read_text()
#: Where an archive of the control machine, or of an address, lies on the host while it is loaded.
PUSHED = f"{STATE}/engine/image.tar"
#: How long a run waits for an image of about 10 GB from a slow source, seconds.
LIMIT_S = 2 * 3600
UNIT = "ingot-image"
#: How the values of an engine's image begin, where it has values of its own; the others are in engine_images.
PREFIXES = {"vllm": "engine", "llama.cpp": "llama_cpp"}

Commands = Generator[PyinfraCommand, None, None]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where the image comes from: `reference` is what Compose runs and is immutable.

    `archive` is a path on the host or, if it is not there, on the control machine; or an address that the host fetches
    it from; None means a registry.
    """

    reference: str
    archive: str | None

    @property
    def address(self) -> str | None:
        """Where the host fetches the archive from."""
        return self.archive if self.archive and self.archive.startswith(("https://", "http://")) else None

    @property
    def path(self) -> str:
        """Where the archive is, if it is a file of this machine or of the host; else ""."""
        return "" if self.address else self.archive or ""


def image_source(values: Engine, engine: str = "vllm") -> ImageSource:
    """What the values say about an engine's image.

    A tag alone is refused: whoever pushes it again would decide what runs here next.

    Raises: IngotError, one sentence without the host's name, when it is not pinned.
    """
    if engine in PREFIXES:
        prefix = f"{PREFIXES[engine]}_image"
        named = {part: f"{prefix}_{part}" for part in ("archive", "id", "digest")}
        image, (archive, image_id, digest) = getattr(values, prefix), (getattr(values, one) for one in named.values())
    else:
        said = next((one for name, one in values.engine_images.items() if name == engine), None)
        if said is None:
            raise IngotError(
                f"engine_images has no image of {engine}, expected "
                f"{{'{engine}': {{'image': …, 'version': …, 'digest': …}}}}; set it in group_data."
            )
        named = {part: f"{part} of engine_images[{engine!r}]" for part in ("archive", "id", "digest")}
        image, archive, image_id, digest = said.image, said.archive, said.id, said.digest
    if archive:
        if image_id is None:
            raise IngotError(
                f"{named['archive']} is {archive} and {named['id']} is not set, expected the "
                "sha256:… id that `docker image inspect` shows after `docker load`; set it in group_data."
            )
        return ImageSource(image_id, archive)
    if digest is None:
        raise IngotError(
            f"{named['digest']} is not set, expected the sha256:… digest of {image}; read it with "
            f"`docker buildx imagetools inspect {image}`, check it, and set it in group_data (or set "
            f"{named['archive']} and {named['id']} for a site without a registry)."
        )
    repository, _, tag = image.rpartition(":")
    return ImageSource(f"{repository if repository and '/' not in tag else image}@{digest}", None)


def begun(engines: Sequence[str]) -> Commands:
    """Begin to bring the first of these engines' images that the host lacks, and leave that at work.

    `brought` waits for it and says what is wrong with it. An archive that this machine has to push waits for its turn.
    """
    if not state.is_executing:
        # What a run would do is told once, by the role whose work it is.
        host.noop("the engine's role says whether the image is to be brought")
        return
    said = "no engine is named"
    for engine in engines:
        try:
            wanted = image_source(of_host(host), engine)
        except IngotError as error:
            host.noop(f"what image is wanted cannot be told ({error})")
            return
        found = standing(host, ImageLook, reference=wanted.reference, archive=wanted.path)
        if not found.present and _is_reachable(wanted, found):
            announce([f"begin to {_doing(wanted)}"])
            yield from detached.begun(UNIT, SCRIPT, _members(wanted))
            return
        said = f"image {wanted.reference} is {'already here' if found.present else 'not to be had yet'}"
    host.noop(said)


def brought(engines: Sequence[str]) -> Commands:
    """Have these engines' images on the host: loaded from an archive (by id) or pulled from a registry (by digest).

    The work goes on in a unit of its own when the connection drops, and the next run waits for it.
    """
    said = []
    for engine in engines:
        said.append((yield from _image(image_source(of_host(host), engine), engine)))
    if all(said):
        host.noop("; ".join(filter(None, said)))


def _image(wanted: ImageSource, engine: str) -> Generator[PyinfraCommand, None, str | None]:
    """Have one image. Returns: what is said of one that is there; None where something is done."""
    found = standing(host, ImageLook, reference=wanted.reference, archive=wanted.path)
    if not found.present and _is_reachable(wanted, found) and state.is_executing:
        # It may be on its way since the weights are waited for.
        yield from detached.joined(UNIT, LIMIT_S)
        found = standing(host, ImageLook, reference=wanted.reference, archive=wanted.path)
    if found.present:
        return f"image {wanted.reference} is already here"
    announce([_doing(wanted)])
    members = _members(wanted)
    if wanted.archive and not _is_reachable(wanted, found):
        if not Path(wanted.archive).is_file():
            yield refuse(
                f"{host.name}: the image archive {wanted.archive} is neither on the host nor on this machine, "
                f"expected a file made by `docker save`; correct {_where(engine)}."
            )
            return None
        yield FileUploadCommand(wanted.archive, PUSHED)
        members |= {"archive": PUSHED, "pushed": ""}
    yield from detached.commands(UNIT, SCRIPT, members, LIMIT_S)
    return None


def _where(engine: str) -> str:
    """The value that says where an engine's archive is."""
    return f"{PREFIXES[engine]}_image_archive" if engine in PREFIXES else f"archive of engine_images[{engine!r}]"


def _is_reachable(wanted: ImageSource, found: EngineImage) -> bool:
    """Whether the host can take the image without this machine."""
    return not wanted.path or found.archive_bytes is not None


def _doing(wanted: ImageSource) -> str:
    if wanted.archive:
        return f"load image {wanted.reference} from {wanted.archive}"
    return f"pull image {wanted.reference}"


def _members(wanted: ImageSource) -> dict[str, str | bytes]:
    """What image.sh reads. Raises: IngotError for a proxy's files."""
    members: dict[str, str | bytes] = {
        "host": host.name,
        "image": wanted.reference,
        "known": IMAGES,
        "progress": PROGRESS,
        **proxy.members(),
    }
    if wanted.address:
        return members | {"address": wanted.address, "archive": PUSHED, "pushed": ""}
    return members | ({"archive": wanted.archive} if wanted.archive else {})
