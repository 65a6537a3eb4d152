"""What keeping conversations together is worth: the engine's prefix cache hits on two real replicas.

    .venv/bin/python benchmarks/affinity.py [--conversations 24]

Boots a test host (root, Linux) on which vLLM's CPU build serves a tiny model in two replicas, and has the same number
of conversations with it, several at once, with `gateway_affinity` off and on: chats of many turns, and a few questions
about a long document. Each turn sends the whole conversation so far, as clients do. Reported: tokens of prompts that a
replica found in its prefix cache, by vLLM's own counters.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import secrets
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets.keys import create, revoke

ROOT = Path(__file__).parent.parent
NAME = "bench-affinity"
MODEL = "tiny-qwen3"
REPLICAS = ("172.31.213.10:8000", "172.31.213.11:8000")
AT_ONCE = 8
#: Longest time that somebody thinks before the next turn, seconds. Without it the replica that has just answered has
#: the fewest running requests and would get the next turn anyway.
THINK_S = 2.0
#: What begins a conversation (characters, each a token of this model), and its turns.
KINDS = {"chat: 300 tokens, then 6 turns": (300, 6), "document: 2,600 tokens, then 3 questions": (2600, 3)}
SERVE = [{"model": MODEL, "context": 4096, "concurrency": 4, "replicas": len(REPLICAS)}]


def deploy(affinity: bool) -> None:
    command = [str(Path(sys.executable).parent / "pyinfra"), "-y", "inventories/sandbox.py", "deploy.py"]
    values = {"serve": SERVE, "gateway_affinity": affinity}
    data = [word for name, value in values.items() for word in ("--data", f"{name}={json.dumps(value)}")]
    done = subprocess.run(
        [*command, "--limit", NAME, *data], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])


def counted(host: TestHost) -> tuple[float, float]:
    """Prompt tokens that were looked up in the prefix caches, and those that were found, since the start."""
    text = "".join(host.succeeds(f"curl -sf http://{replica}/metrics") for replica in REPLICAS)

    def total(name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^vllm:prefix_cache_{name}_total{{.*}} (\S+)$", text, re.M))

    return total("queries"), total("hits")


def converse(client: httpx.Client, opening: int, turns: int) -> None:
    """One conversation: an opening of its own, and each turn with all that was said before."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": secrets.token_hex(opening // 2)}]
    for _ in range(turns):
        time.sleep(random.uniform(0, THINK_S))
        messages.append({"role": "user", "content": f"And what of {secrets.token_hex(60)}?"})
        asked = {"model": MODEL, "messages": messages, "max_tokens": 16}
        answer = client.post("/v1/chat/completions", json=asked)
        answer.raise_for_status()
        messages.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"] or "."})


def hit_rate(host: TestHost, key: str, conversations: int, opening: int, turns: int) -> float:
    """The part of all prompts' tokens that was found."""
    context = ssl.create_default_context(cafile=str(Sandbox().secrets_dir / "ca.crt"))
    looked_up, found = counted(host)
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=f"https://{host.address}", headers=headers, verify=context, timeout=120) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        list(pool.map(lambda _: converse(client, opening, turns), range(conversations)))
    after = counted(host)
    return (after[1] - found) / (after[0] - looked_up)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conversations", type=int, default=24)
    asked = parser.parse_args()
    sandbox = Sandbox()
    if any(one.name == NAME for one in sandbox.hosts()):
        sandbox.down(NAME)
    host = sandbox.up(NAME, profile="a10gx4")
    try:
        key = create(sandbox.secrets_dir, "affinity")
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for affinity in (False, True):
            deploy(affinity)
            for kind, (opening, turns) in KINDS.items():
                rates[kind].append(hit_rate(host, key, asked.conversations, opening, turns))
        print(
            f"{asked.conversations} conversations of each kind, {AT_ONCE} at once, up to {THINK_S} s between turns, "
            f"{len(REPLICAS)} replicas"
        )
        print("prompt tokens that were found in the prefix cache\n")
        print("| conversation | fewest running requests | gateway_affinity |")
        print("| --- | --- | --- |")
        for kind, (off, on) in rates.items():
            print(f"| {kind} | {off:.1%} | {on:.1%} |")
        revoke(sandbox.secrets_dir, "affinity")
    finally:
        sandbox.down(NAME)
    return int(any(on <= off for off, on in rates.values()))


if __name__ == "__main__":
    sys.exit(main())
