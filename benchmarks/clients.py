#!/usr/bin/env python3
"""Every client that people use, against one gateway: client x call, ok or why.

    benchmarks/clients.py --url https://gpu-01/v1 --key-file KEY --ca ca.crt --model qwen3-8b [--json] [--load N]

Each client runs in its own process, from `make clients`' environments, trusts the CA as docs/clients.md says for its
runtime, and keeps its own retries. With `--load N` each sends N requests, 16 at a time.
Exits with 1 when a call of a client came to anything else than it should.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CALLS = ROOT / "benchmarks" / "client_calls"
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
#: What each client is asked to do: the functions of its file.
CLIENTS: dict[str, tuple[str, ...]] = {
    "openai-python": ("models", "chat", "stream", "tools", "responses", "wrong_key", "refused_body", "load"),
    "anthropic-python": ("chat", "stream", "count", "wrong_key"),
    "httpx": ("models", "chat", "stream", "refused_body", "load"),
    "httpx2": ("models", "chat", "stream", "refused_body", "load"),
    "requests": ("models", "chat", "stream", "wrong_key"),
    "litellm": ("chat", "stream", "wrong_key", "unknown_model"),
    "langchain": ("chat", "stream", "wrong_key"),
    "instructor": ("chat",),
    "pydantic-ai": ("chat",),
    "openai-node": ("models", "chat", "stream", "responses", "wrong_key", "refused_body", "load"),
    "anthropic-node": ("chat", "stream", "wrong_key"),
    "undici": ("models", "chat", "stream", "refused_body", "load"),
    "vercel-ai": ("chat", "stream"),
    "curl": ("models", "chat", "stream", "wrong_key", "refused_body"),
}
#: Clients that JavaScript's runtime runs.
OF_NODE = ("openai-node", "anthropic-node", "undici", "vercel-ai")
#: A client that does not come to an end is an error, seconds; each request of a load adds to it.
LIMIT_S, PER_REQUEST_S = 120, 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True, help="with /v1")
    parser.add_argument("--key-file", required=True, type=Path)
    parser.add_argument("--ca", required=True, type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--load", type=int, default=0, metavar="N")
    parser.add_argument("--only", choices=sorted(CLIENTS), action="append")
    parser.add_argument("--call", action="append", help="only this one, or these")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = {client: run(client, asked) for client in asked.only or CLIENTS}
    if asked.json:
        print(json.dumps(rows, indent=1))
    else:
        for client, row in rows.items():
            print(f"{client:<18}" + "  ".join(f"{call}: {said}" for call, said in row.items()))
    return 0 if all(said == "ok" for row in rows.values() for said in row.values()) else 1


def run(client: str, asked: argparse.Namespace) -> dict[str, str]:
    """What each call of a client came to."""
    calls = [call for call in CLIENTS[client] if call in (asked.call or CLIENTS[client])]
    if not asked.load and "load" in calls:
        calls.remove("load")
    ca = str(asked.ca.resolve())
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "OPENAI_BASE_URL": asked.url,
        "OPENAI_API_KEY": asked.key_file.read_text().strip(),
        "INGOT_MODEL": asked.model,
        "INGOT_LOAD": str(asked.load),
        # The CA for each runtime, as docs/clients.md has it.
        "SSL_CERT_FILE": ca,
        "REQUESTS_CA_BUNDLE": ca,
        "NODE_EXTRA_CA_CERTS": ca,
        "CURL_CA_BUNDLE": ca,
        # LiteLLM would fetch its prices from the internet, and others report to their makers.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DO_NOT_TRACK": "1",
    }
    command = _command(client)
    if command is None:
        return dict.fromkeys(calls, "not run: its runtime is missing; run `make clients`")
    limit_s = LIMIT_S + asked.load * PER_REQUEST_S
    try:
        done = subprocess.run(
            [*command, *calls], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(calls, f"did not end within {limit_s:g} s")
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return {call: said.get(call, f"it ended with {done.returncode}: {last[:200]}") for call in calls}


def _command(client: str) -> list[str] | None:
    if client == "curl":
        return ["bash", str(CALLS / "curl.sh")] if shutil.which("curl") else None
    if client in OF_NODE:
        node = shutil.which("node")
        ready = node and (CALLS / "node_modules").exists()
        return [str(node), str(CALLS / "node_clients.mjs"), client] if ready else None
    return [str(PYTHON), str(CALLS / "python_clients.py"), client] if PYTHON.exists() else None


if __name__ == "__main__":
    sys.exit(main())
