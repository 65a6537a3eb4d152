"""A shell completes commands, hosts, models and GPUs, and waits for nothing that a command needs only when it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from ingot.catalog import load_gpus, load_models
from ingot.commands import words
from ingot.commands.cli import cli
from ingot.sandbox.paths import Paths

pytestmark = pytest.mark.speed

#: What a completion must not wait for.
HEAVY = ("pyinfra", "pydantic", "yaml", "jinja2", "paramiko", "gevent", "cryptography", "rich")


def completed(*words: str) -> list[str]:
    """What the last word may become."""
    found = ShellComplete(cli, {}, "ingot", "_INGOT_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **how)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet of three hosts in two inventories."""
    for file in ("prod/gpu-01.yaml", "prod/gpu-02.yaml", "lab/gpu-09.yaml", "prod/notes.txt"):
        (tmp_path / "inventories" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "inventories" / file).touch()
    (tmp_path / "inventories" / "models.site.yaml").write_text("# Ours.\nours/mine:\n  config: {a: 1}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path / "sandbox"))
    return tmp_path


def test_commands_are_completed() -> None:
    assert completed("re") == ["recommend", "report"]
    assert completed("lock", "") == ["break", "show"]


def test_hosts_are_completed_by_their_files(checkout: Path) -> None:
    assert completed("plan", "") == ["gpu-01", "gpu-02", "gpu-09"]
    assert completed("verify", "gpu-01", "gpu-") == ["gpu-02", "gpu-09"], "one that is named is not offered again"
    assert completed("report", "--limit", "gpu-0") == ["gpu-01", "gpu-02", "gpu-09"]
    assert completed("report", "--inventory", "inventories/lab.py", "") == ["gpu-09"]


def test_test_hosts_are_completed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "sandbox" / "hosts" / "demo").mkdir(parents=True)
    assert completed("status", "d") == ["demo"]
    assert completed("status", "--inventory", "inventories/sandbox.py", "") == ["demo"]
    assert words.booted() == Paths.from_environment().hosts
    monkeypatch.delenv("INGOT_SANDBOX_STATE")
    assert words.booted() == Paths.from_environment().hosts


def test_where_there_is_no_fleet_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path / "sandbox"))
    assert completed("plan", "") == []


@pytest.mark.parametrize("before", [("plan", "--model"), ("recommend",), ("models", "show")], ids=" ".join)
def test_models_are_completed_as_the_catalog_and_the_site_have_them(checkout: Path, before: tuple[str, ...]) -> None:
    assert completed(*before, "") == sorted({*load_models(), "ours/mine"})
    assert completed(*before, "ou") == ["ours/mine"]


def test_gpus_are_completed_also_the_last_of_several() -> None:
    assert completed("plan", "--gpu", "") == sorted(load_gpus())
    also = completed("plan", "--gpu", "rtx3090+rtx40")
    assert also == [f"rtx3090+{name}" for name in sorted(load_gpus()) if name.startswith("rtx40")] != []


@pytest.mark.parametrize("line", ["ingot ", "ingot plan g", "ingot recommend q", "ingot models sh"])
def test_a_completion_waits_for_no_library(checkout: Path, line: str) -> None:
    watched = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *({{*{HEAVY}}} & {{*sys.modules}}), file=sys.stderr))\n"
        "sys.argv = ['ingot']\n"
        "from ingot.commands.cli import main\n"
        "main()\n"
    )
    asked = {"_INGOT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = run([sys.executable, "-c", watched], env={**os.environ, **asked})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plain,"), done.stderr
    assert done.stderr.splitlines() == ["HEAVY"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_reads_calls_ingot(shell: str) -> None:
    done = run([str(Path(sys.executable).parent / "ingot"), "completion", shell])
    assert done.returncode == 0, done.stderr
    assert f"_INGOT_COMPLETE={shell}_complete" in done.stdout
