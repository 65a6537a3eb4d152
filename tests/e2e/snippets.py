"""The snippets of the page for callers, run as they stand against a served host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.e2e.deploying import ROOT

NODE = ROOT / "benchmarks" / "client_calls"
CLIENTS, AGENTS = ROOT / ".venv-clients" / "bin", ROOT / ".venv-agents" / "bin"
#: Clients whose pins collide with the others' have an environment of their own.
OF_AGENTS = ("llama_index",)
#: Clients with prompts of thousands of tokens, and tools: the served model must be able to take both.
DEMANDING = ("aider", "Continue", "Codex")
#: A snippet that does not come to an end is an error, seconds; Codex took 180 at load 22 on two cores.
LIMIT_S = 600
_BLOCK = re.compile(r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block of the page, and the heading that it stands under."""

    heading: str
    language: str
    code: str

    def run(self, environment: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
        """Run it in a directory of its own, as a caller would who has copied it into a file."""
        of_agents = any(name in self.code for name in OF_AGENTS)
        command = {
            "bash": ["bash", "-euo", "pipefail"],
            "python": [str((AGENTS if of_agents else CLIENTS) / "python")],
            "js": ["node", "--input-type=module", "-"],
        }[self.language]
        file, of_node = directory / "snippet", self.language == "js"
        file.write_text(self.code)
        # Node.js looks for packages from where the code is: on standard input, from where it runs.
        with (file if of_node else Path(os.devnull)).open() as given:
            return subprocess.run(
                # It ends what a snippet has started too, not the shell alone.
                ["timeout", "--kill-after=10", str(LIMIT_S), *command, *([] if of_node else [str(file)])],
                cwd=NODE if of_node else directory,
                stdin=given,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )


def snippets() -> list[Snippet]:
    """Every fenced block of docs/clients.md, in order."""
    found, heading = [], ""
    for block in _BLOCK.finditer((ROOT / "docs" / "clients.md").read_text(encoding="utf-8")):
        heading = block["heading"] or heading
        if block["code"]:
            found.append(Snippet(heading, block["language"], block["code"]))
    return found


def environment(served: TestHost, key: str, model: str, home: Path) -> dict[str, str]:
    """What the page tells a caller to set, and nothing else that a client would read."""
    ca = str(Sandbox().secrets_dir / "ca.crt")
    return {
        "PATH": ":".join([str(CLIENTS), str(AGENTS), str(NODE / "node_modules" / ".bin"), os.environ["PATH"]]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "OPENAI_BASE_URL": f"https://{served.address}/v1",
        "OPENAI_API_KEY": key,
        "INGOT_MODEL": model,
        "SSL_CERT_FILE": ca,
        "REQUESTS_CA_BUNDLE": ca,
        "NODE_EXTRA_CA_CERTS": ca,
        # Clients that look for news, prices or their makers would wait for an internet that a site may not have.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DO_NOT_TRACK": "1",
        "CONTINUE_TELEMETRY_ENABLED": "0",
    }


def runs(snippet: Snippet, environment: dict[str, str], directory: Path) -> None:
    """Assert that a snippet runs and prints something."""
    if snippet.heading == "aider" and not shutil.which("aider", path=environment["PATH"]):
        pytest.skip("aider has no release for Python 3.13 and newer, which is all that this machine has")
    done = snippet.run(environment, directory)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    assert done.stdout.strip(), done.stderr[-3000:]
    # aider tells an error and ends with 0.
    assert not re.search(r"\wError: ", done.stdout), done.stdout[-3000:]
