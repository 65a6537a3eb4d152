"""A model's directory: its files under a revision that names their content as a commit does, with a manifest."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "ingot-manifest.json"


def make(models: Path, name: str, contents: Mapping[str, bytes]) -> Path:
    """Writes the files under `models/<name>/<revision>` unless they are there, and returns that directory.

    The revision is the first 40 hex digits of the manifest's SHA-256.
    """
    manifest = as_json({"files": [_entry(path, data) for path, data in sorted(contents.items())]})
    revision = hashlib.sha256(manifest).hexdigest()[:40]
    target = models / name / revision
    if (target / MANIFEST).is_file() and not faults(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as staging:
        made = Path(staging) / revision
        for path, data in {**contents, MANIFEST: manifest}.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(data)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def faults(directory: Path) -> list[str]:
    """What differs between a model directory and its manifest: one sentence per file, none when all is well."""
    found = []
    for entry in json.loads((directory / MANIFEST).read_text())["files"]:
        path = directory / entry["path"]
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != entry["bytes"]:
            found.append(f"{path} has {path.stat().st_size} bytes, expected {entry['bytes']}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            found.append(f"{path} does not have the SHA-256 {entry['sha256']}")
    return found


def as_json(value: Any) -> bytes:
    """A file's JSON: the same bytes for the same value."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
