"""Independent checkers, installed by `make checkers` into an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

BIN = Path(__file__).parent.parent.parent / ".venv-checkers" / "bin"


def gixy(directory: Path, texts: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """What gixy-ng finds in a configuration given by path below /etc/nginx: check, severity, file."""
    for path, text in texts.items():
        file = directory / path.removeprefix("/etc/nginx/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run(
        [BIN / "gixy", "--format", "json", directory / "nginx.conf"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    # It says by its status that there are findings; a configuration that it cannot read leaves it without JSON.
    assert done.stdout.startswith("["), done.stdout + done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    return {
        (found["plugin"], found["severity"], str(Path(found["file"]).relative_to(directory)))
        for found in json.loads(done.stdout)
    }


def sslyze(name: str, address: str, ca_file: Path) -> tuple[int, str]:
    """sslyze's status and its judgement of a server by Mozilla's intermediate profile."""
    done = subprocess.run(
        [BIN / "sslyze", "--mozilla_config=intermediate", "--certinfo_ca_file", ca_file, f"{name}:443{{{address}}}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2] or done.stdout
