"""An engine's image of some 50 MB: Python out of a test host's root file system, and a stand-in for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingot.sandbox.docker_archive import write_archive, write_layer
from ingot.sandbox.simulated.engines.image import python_layer

NAME = "ingot/standin-vllm:1"


def write(directory: Path, label: str = "") -> dict[str, Any]:
    """Write the archive into a directory, made where it is missing. Returns: the values by which hosts get it.

    Another label makes another image of the same.
    """
    (directory / "own/usr/bin").mkdir(parents=True)
    script = directory / "own/usr/bin/vllm"
    script.write_text("#!/usr/bin/python3\n" + (Path(__file__).parent / "standin_vllm.py").read_text())
    script.chmod(0o755)
    layers = [
        python_layer(directory / "python.tar"),
        write_layer(directory / "own.tar", directory / "own", owners=lambda name: (0, 0)),
    ]
    made = write_archive(directory / "image.tar", NAME, layers, {"Env": ["PATH=/usr/bin:/bin", f"LABEL={label}"]})
    return {
        "engine_image": NAME,
        "engine_image_archive": str(directory / "image.tar"),
        "engine_image_id": made.image_id,
    }
