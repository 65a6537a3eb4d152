"""`ingot panels` over SSH: figures of a watched host's own Prometheus, and one sentence where it does not answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.monitoring.conftest import NAME, ROOT, Watched

pytestmark = [pytest.mark.e2e, pytest.mark.observe]


def panels(watched: Watched, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ingot.commands.cli import main; main()", "panels", *words]
    inventory = ["--inventory", str(watched.directory / "lab.py")]
    return subprocess.run([*command, *inventory], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_panels_have_the_monitors_figures_and_a_silent_one_is_a_sentence(watched: Watched, tmp_path: Path) -> None:
    watched.wait_for_sample("ingot_gpu_seen")
    page = tmp_path / "panels.html"
    said = panels(watched, NAME, "--json", "--html", str(page), "--hours", "0.25")
    found = json.loads(said.stdout)
    assert said.returncode == 0 and found["errors"] == [], said.stderr
    numbers = {
        one["title"]: [series["points"][-1][1] for series in one["series"]]
        for one in found["dashboards"][0]["rows"][0]["panels"]
    }
    asked = watched.prometheus("query?query=sum(ingot_gpu_seen)")["result"][0]["value"][1]
    assert numbers["Hosts seen"] == [1] and numbers["GPUs that answer"] == [float(asked)]
    assert f"by the Prometheus of {NAME}" in page.read_text() and "No answer" not in page.read_text()

    watched.host.succeeds("systemctl stop prometheus")
    try:
        said = panels(watched, "--html", str(tmp_path / "none.html"))
    finally:
        watched.host.succeeds("systemctl start prometheus")
    assert (
        said.returncode == 1 and f"ingot: {NAME}: its Prometheus does not answer (http://127.0.0.1:9090" in said.stderr
    )
    assert not (tmp_path / "none.html").exists()
