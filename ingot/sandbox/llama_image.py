"""llama.cpp's image of test hosts: Debian's own package of it, over the small Debian that has it.

One layer, put together without docker, with the server where the official image has it. Kept in the cache with a key of
everything that decides its content, so that it is built once.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ingot.sandbox import docker_archive, engine_image, image
from ingot.sandbox.commands import run
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import locked, write_file

#: The build that Debian's package holds (1:0.7.0+dfsg-2).
VERSION = "b11669"
NAME = f"ingot/llama-cpp:{VERSION}"
#: The first suite of Debian that has it; whose index the mirrors of a machine may have let expire.
SUITE = "forky"
PACKAGE = "llama.cpp-tools"
SERVER = "app/llama-server"
#: A step dies with its caller, with everything it started and every mount it made.
ISOLATED = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc"
STEP_LIMIT_S = 1200
KEPT = 3

# As the official image has it.
CONFIG = {
    "Entrypoint": [f"/{SERVER}"],
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LLAMA_ARG_HOST=0.0.0.0",
        # The tiny model gains nothing by more threads: on a machine at work each waits for the other at every layer.
        "LLAMA_ARG_THREADS=1",
    ],
    "ExposedPorts": {"8080/tcp": {}},
    "WorkingDir": "/app",
}


@dataclass(frozen=True)
class LlamaImage:
    """A built image, as its JSON file beside the archive tells; `archive` is that archive's file name."""

    image: str
    image_id: str
    archive: str
    bytes: int
    version: str


def ensure(paths: Paths, say: Callable[[str], None]) -> LlamaImage:
    """The image in the mirror, built now if the cache has none with these contents.

    Raises: SandboxError when this machine cannot build it.
    """
    key = _key()
    made = read(paths, key)
    if made is None:
        with locked(paths.cache / "llama-image" / "lock"):
            made = read(paths, key) or _build(paths, key, say)
    return made


def read(paths: Paths, key: str) -> LlamaImage | None:
    """The image of this key in the mirror; None where there is none."""
    directory = paths.mirror / "images"
    try:
        made = LlamaImage(**json.loads((directory / f"llama-cpp-{key}.json").read_text()))
        return made if (directory / made.archive).stat().st_size == made.bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def command(recipe: image.Recipe, root: Path) -> list[str]:
    """The mmdebstrap call that makes its file system, from the mirrors that this machine's own Debian comes from."""
    options = (*recipe.apt_options, 'Acquire::Languages "none";', 'Acquire::Check-Valid-Until "false";')
    return [
        *ISOLATED.split(),
        *("env", f"SOURCE_DATE_EPOCH={docker_archive.EPOCH_S}"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGE}"),
        *(f"--aptopt={option}" for option in options),
        SUITE,
        str(root),
        *(f"deb {mirror.uri} {SUITE} main" for mirror in recipe.mirrors if not mirror.kind),
    ]


def _build(paths: Paths, key: str, say: Callable[[str], None]) -> LlamaImage:
    work = paths.cache / "llama-image"
    for leftover in work.glob("building-*"):
        shutil.rmtree(leftover)
    building = work / f"building-{key}"
    root = building / "root"
    building.mkdir(parents=True)
    try:
        say(f"building llama.cpp's image: Debian {SUITE} with {PACKAGE}")
        run(command(image.recipe_for("debian13"), root), timeout_s=STEP_LIMIT_S)
        (root / "app").mkdir()
        (root / SERVER).symlink_to("/usr/bin/llama-server")
        layer = docker_archive.write_layer(building / "root.tar", root, engine_image.keep_base)
        archive = docker_archive.write_archive(building / "image.tar", NAME, [layer], CONFIG)
        made = LlamaImage(NAME, archive.image_id, f"llama-cpp-{key}.tar", archive.size, VERSION)
        directory = paths.mirror / "images"
        directory.mkdir(parents=True, exist_ok=True)
        (building / "image.tar").replace(directory / made.archive)
        write_file(directory / f"llama-cpp-{key}.json", json.dumps(asdict(made), indent=2) + "\n")
        _forget_old(directory)
    except CommandFailed as failed:
        last = str(failed).strip().splitlines()[-1]
        raise SandboxError(f"llama.cpp's image could not be built: {last}") from failed
    finally:
        shutil.rmtree(building, ignore_errors=True)
    say(f"llama.cpp's image is ready ({made.bytes / 1e6:.0f} MB)")
    return made


def _forget_old(directory: Path) -> None:
    newest_first = sorted(directory.glob("llama-cpp-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for record in newest_first[KEPT:]:
        record.unlink()
        record.with_suffix(".tar").unlink(missing_ok=True)


def _key() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
