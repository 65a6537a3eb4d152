"""The clients that people use, before the real engine: the matrix of benchmarks/clients.py, and the page's snippets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.e2e import snippets
from tests.e2e.deploying import ROOT, deploy

pytestmark = [pytest.mark.clients, pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME, MODEL = "e2e", "tiny-qwen3"
#: What loads a gateway with HTTP/2 switched on at its side.
LOADING = ("httpx", "httpx2", "undici", "openai-python", "openai-node")
SNIPPETS = [one for one in snippets.snippets() if one.heading not in snippets.DEMANDING]


@pytest.fixture(scope="module")
def served(host: TestHost, key: str) -> TestHost:
    if host.run("docker ps | grep tiny-qwen3")[0] != 0:
        assert deploy(NAME).status == 0
    return host


def matrix(served: TestHost, key: str, directory: Path, *words: str) -> dict[str, dict[str, str]]:
    """What each client's calls came to; the host is called by its name, as the certificate has it."""
    (directory / "key").write_text(key)
    command = [sys.executable, "benchmarks/clients.py", "--json", "--url", f"https://{served.address}/v1"]
    command += ["--key-file", str(directory / "key"), "--ca", str(Sandbox().secrets_dir / "ca.crt"), "--model", MODEL]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.stdout, done.stderr
    rows: dict[str, dict[str, str]] = json.loads(done.stdout)
    return rows


def test_every_client_gets_what_it_asks_for(served: TestHost, key: str, tmp_path: Path) -> None:
    rows = matrix(served, key, tmp_path)
    wrong = {f"{client} {call}": said for client, row in rows.items() for call, said in row.items() if said != "ok"}
    assert not wrong and len(rows) == 14


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[f"{one.heading} {one.language}" for one in SNIPPETS])
def test_a_snippet_of_the_page_for_callers_runs_as_it_stands(
    snippet: snippets.Snippet, served: TestHost, key: str, tmp_path: Path
) -> None:
    snippets.runs(snippet, snippets.environment(served, key, MODEL, tmp_path), tmp_path)


def test_a_load_loses_no_request_although_nginx_reloads(served: TestHost, key: str, tmp_path: Path) -> None:
    """By clients that would take HTTP/2, of which each keeps its own retries."""
    over = threading.Event()

    def reload() -> None:
        while not over.wait(1):
            served.succeeds("systemctl reload nginx")

    reloading = threading.Thread(target=reload)
    reloading.start()
    try:
        only = [word for client in LOADING for word in ("--only", client)]
        rows = matrix(served, key, tmp_path, "--load", "300", "--call", "load", *only)
    finally:
        over.set()
        reloading.join()
    assert rows == {client: {"load": "ok"} for client in LOADING}
