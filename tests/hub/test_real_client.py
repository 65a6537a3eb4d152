"""The hub's own client against the stand-in that the other tests use for the hub: so what they prove holds there."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ingot.hub.client import Hub
from tests.e2e.snippets import CLIENTS
from tests.hub.standin import FIRST, QWEN3, Repository, StandIn, hub

#: It needs no host, but what `make clients` installs, as other tests beside hosts do.
pytestmark = [pytest.mark.e2e, pytest.mark.cache, pytest.mark.timeout(300)]

NAME = "Qwen/Tiny"
FILES: dict[str, bytes | int] = {
    "config.json": repr(QWEN3).encode(),
    "README.md": b"# Tiny",
    "model-00001-of-00002.safetensors": bytes(range(256)) * 4000,
    "model-00002-of-00002.safetensors": bytes(range(255, -1, -1)) * 4000,
}
SHARDS = [content for path, content in FILES.items() if path.endswith(".safetensors") and isinstance(content, bytes)]
DOWNLOAD = """
import sys
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
try:
    print(snapshot_download(sys.argv[1], revision=sys.argv[2]))
except HfHubHTTPError as error:
    sys.exit(f"{type(error).__name__} {error.response.status_code}")
"""


def download(standin: StandIn, home: Path, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """A snapshot by huggingface_hub, in a process that reads nothing of this machine's."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": standin.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **({"HF_TOKEN": token} if token else {}),
    }
    line = [str(CLIENTS / "python"), "-c", DOWNLOAD, *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)


def tiny(standin: StandIn, **asks: Any) -> None:
    standin.repositories[NAME] = Repository({FIRST: FILES}, FIRST, **asks)


def test_the_hubs_own_client_takes_a_snapshot_of_the_stand_in(tmp_path: Path) -> None:
    with hub(cdn=True) as standin:
        tiny(standin)
        done = download(standin, tmp_path, NAME, "main")
        assert done.returncode == 0, done.stderr[-3000:]
        snapshot = Path(done.stdout.strip())
        assert snapshot.name == FIRST, "X-Repo-Commit, or the listing, says which commit main is"
        assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == FILES
        # It keeps files by their ETag: of large ones that is the digest which Ingot locks.
        kept = {path.name for path in (snapshot.parents[1] / "blobs").iterdir()}
        listed = {one.path: one for one in Hub(standin.url).commit(NAME).files}
        assert kept == {one.sha256 or one.git_sha1 for one in listed.values()}
        assert {sha256(one).hexdigest() for one in SHARDS} <= kept
        assert len(standin.from_cdn) >= len(SHARDS), "large files are where the redirect leads"
        standin.from_cdn.clear()
        assert download(standin, tmp_path, NAME, FIRST).returncode == 0
        assert standin.from_cdn == [], "what it has it does not fetch again"


def test_a_token_opens_a_gated_repository_and_stays_with_the_hub(tmp_path: Path) -> None:
    with hub(cdn=True) as standin:
        tiny(standin, gated=True)
        refused = download(standin, tmp_path / "without", NAME, FIRST)
        assert "GatedRepoError 403" in refused.stderr, refused.stderr[-2000:]
        done = download(standin, tmp_path / "with", NAME, FIRST, token=standin.token)
        assert done.returncode == 0, done.stderr[-2000:]
        assert {said for _, said in standin.from_cdn} == {None}
        assert "RepositoryNotFoundError 401" in download(standin, tmp_path, "Qwen/None", FIRST).stderr
        assert "RevisionNotFoundError 404" in download(standin, tmp_path, NAME, "0" * 40, token=standin.token).stderr


def test_a_full_quota_is_read_by_it_as_by_ingot(tmp_path: Path) -> None:
    full = (429, {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'})
    with hub(cdn=True) as standin:
        tiny(standin)
        waits: list[float] = []
        standin.first.append(full)
        assert Hub(standin.url, wait=waits.append).commit(NAME).sha == FIRST and waits == [2]
        standin.first.append(full)
        done = download(standin, tmp_path, NAME, "main")
        # Newer ones wait as long as they are told, older ones give up with the hub's status.
        assert done.returncode == 0 or "429" in done.stderr, done.stderr[-2000:]
        assert download(standin, tmp_path, NAME, "main").returncode == 0
