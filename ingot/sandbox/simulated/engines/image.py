"""One image with the stand-ins under the names that each engine's command line begins with: Python, and a script."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ingot.sandbox import image
from ingot.sandbox.docker_archive import Layer, write_archive, write_layer
from ingot.sandbox.paths import Paths

NAME = "ingot/simulated-engines:1"
SCRIPT = Path(__file__).parent / "standin.py"
#: Where Debian's Python looks by itself: the simulated GPUs set PYTHONPATH.
LIBRARY = "usr/lib/python3/dist-packages"
#: Engine -> the version whose command line it takes, and where that begins, below the root of the image.
PROGRAMS = {
    "llama.cpp-cuda": ("b11669", "app/llama-server"),
    "sglang": ("0.5.23", f"{LIBRARY}/sglang/launch_server.py"),
    "tensorrt-llm": ("1.2.1", "usr/bin/trtllm-serve"),
    "tgi": ("3.3.7", "usr/bin/text-generation-launcher"),
    "ollama": ("0.33.0", "usr/bin/ollama"),
    "lmstudio": ("0.4.0", "opt/lmstudio/bin/lms"),
}
#: Of the root file system: what Python needs to serve HTTP, and bash to run.
LIBRARIES = (
    *("ld-linux", "libacl.so", "libattr.so", "libc.so", "libexpat.so", "libm.so", "libpcre2-8.so", "libselinux.so"),
    *("libtinfo.so", "libz.so"),
)
#: With env, by which the simulated GPUs' nvidia-smi starts; images of Ollama and LM Studio have a shell.
BINARIES = ("bash", "cp", "env", "grep", "ln", "mkdir", "python3", "rm", "sleep")


def _kept(name: str) -> bool:
    parts = name.split("/")
    if parts[0] in ("bin", "lib", "lib64"):
        return True
    if parts[0] != "usr" or "__pycache__" in parts or "test" in parts:
        return False
    if len(parts) == 1 or parts[1] == "lib64":
        return True
    if parts[1] == "bin":
        return len(parts) == 2 or parts[2].startswith(BINARIES)
    if parts[1] == "lib":
        return len(parts) == 2 or parts[2].startswith("python3") or _is_library(parts[2:])
    return False


def _is_library(parts: list[str]) -> bool:
    return parts[0] == "x86_64-linux-gnu" and (len(parts) == 1 or parts[1].startswith(LIBRARIES))


def python_layer(path: Path) -> Layer:
    """Python out of a test host's root file system, some 50 MB, as a layer in the file `path`."""
    root = image.root(Paths.from_environment(), image.recipe_for("debian13").key)
    return write_layer(path, root, keep=_kept, owners=lambda name: (0, 0))


def write(directory: Path) -> dict[str, Any]:
    """Write the archive into a directory. Returns: `engine_images`, by which hosts get it from this machine."""
    with tempfile.TemporaryDirectory(dir=directory) as work:
        own = Path(work) / "own"
        for engine, (_, program) in PROGRAMS.items():
            file = own / program
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_launcher(engine))
            file.chmod(0o755)
        (own / LIBRARY / "standin.py").write_text(SCRIPT.read_text())
        layers = [
            python_layer(Path(work) / "python.tar"),
            write_layer(Path(work) / "own.tar", own, owners=lambda name: (0, 0)),
        ]
        config = {"Env": ["PATH=/usr/bin:/bin"]}
        made = write_archive(directory / "engines.tar", NAME, layers, config)
    archive = {"image": NAME, "archive": str(directory / "engines.tar"), "id": made.image_id}
    return {engine: {**archive, "version": version} for engine, (version, _) in PROGRAMS.items()}


def _launcher(engine: str) -> str:
    return (
        "#!/usr/bin/python3\n# Simulated: stands in for the engine of this name on a test host.\nimport sys\n\n"
        f"import standin\n\nstandin.main({engine!r}, sys.argv[1:])\n"
    )
