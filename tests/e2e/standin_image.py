"""An engine's image of some 50 MB: Python out of a test host's root file system, and a stand-in for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingot.sandbox import image
from ingot.sandbox.docker_archive import write_archive, write_layer
from ingot.sandbox.paths import Paths

NAME = "ingot/standin-vllm:1"
#: Of the root file system: what Python needs to serve HTTP.
LIBRARIES = ("ld-linux", "libc.so", "libexpat.so", "libm.so", "libz.so")


def _kept(name: str) -> bool:
    parts = name.split("/")
    if parts[0] in ("bin", "lib", "lib64"):
        return True
    if parts[0] != "usr" or "__pycache__" in parts or "test" in parts:
        return False
    if len(parts) == 1 or parts[1] == "lib64":
        return True
    if parts[1] == "bin":
        return len(parts) == 2 or parts[2].startswith("python3")
    if parts[1] == "lib":
        return len(parts) == 2 or parts[2].startswith("python3") or _is_library(parts[2:])
    return False


def _is_library(parts: list[str]) -> bool:
    return parts[0] == "x86_64-linux-gnu" and (len(parts) == 1 or parts[1].startswith(LIBRARIES))


def write(directory: Path, label: str = "") -> dict[str, Any]:
    """Write the archive into a directory. Returns: the values by which hosts get it from this machine.

    Another label makes another image of the same.
    """
    root = image.root(Paths.from_environment(), image.recipe_for("debian13").key)
    (directory / "own/usr/bin").mkdir(parents=True)
    script = directory / "own/usr/bin/vllm"
    script.write_text("#!/usr/bin/python3\n" + (Path(__file__).parent / "standin_vllm.py").read_text())
    script.chmod(0o755)
    layers = [
        write_layer(directory / "python.tar", root, keep=_kept, owners=lambda name: (0, 0)),
        write_layer(directory / "own.tar", directory / "own", owners=lambda name: (0, 0)),
    ]
    made = write_archive(directory / "image.tar", NAME, layers, {"Env": ["PATH=/usr/bin:/bin", f"LABEL={label}"]})
    return {
        "engine_image": NAME,
        "engine_image_archive": str(directory / "image.tar"),
        "engine_image_id": made.image_id,
    }
