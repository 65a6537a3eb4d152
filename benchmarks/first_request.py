"""How long a host without a GPU takes to its first answer: from the start of deploy.py, Docker and the image there.

    .venv/bin/python benchmarks/first_request.py [--rounds 3]

Boots a test host (root, Linux), deploys llama.cpp there once, and then, for each round, takes away what Ingot made of
the engine and the gateway's list of it (containers, plan, measurements) and deploys again, asking through the gateway
all the while. Docker, its image, the model's file and nginx stay. Exits 1 when the median misses its target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.membership import HOST_FILES
from ingot.secrets.keys import create

ROOT = Path(__file__).parent.parent
PYINFRA = Path(sys.executable).parent / "pyinfra"
NAME, MODEL, TARGET_S = "bench-first", "tiny-gguf", 30
ASK = f'{{"model": "{MODEL}", "prompt": "Hello", "max_tokens": 4}}'
WIPE = (
    "systemctl stop ingot-replica-watch.timer; "
    "docker ps --all --quiet --filter label=com.docker.compose.project=ingot-engine | xargs --no-run-if-empty docker "
    "rm --force >/dev/null; rm -rf /etc/ingot/engine /var/lib/ingot/engine /var/lib/ingot/plan.json "
    "/var/lib/ingot/measured.json /var/lib/ingot/upstreams.json"
)


def deploy() -> subprocess.Popen[bytes]:
    """`deploy.py` on the host, begun."""
    command = [str(PYINFRA), "-y", "inventories/sandbox.py", "deploy.py", "--limit", NAME]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(run: subprocess.Popen[bytes]) -> None:
    """Wait for a deploy. Raises: SystemExit where it failed."""
    output, _ = run.communicate(timeout=300)
    if run.returncode:
        sys.exit(output.decode()[-3000:])


def answers(host: TestHost, key: str) -> bool:
    """Whether a caller gets a completion."""
    asked = [
        "curl",
        "-sk",
        "--max-time",
        "5",
        "-o",
        os.devnull,
        "-w",
        "%{http_code}",
        "-H",
        f"Authorization: Bearer {key}",
    ]
    asked += ["-H", "Content-Type: application/json", "-d", ASK, f"https://{host.address}/v1/completions"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "200"


def first_answer_s(host: TestHost, key: str) -> float:
    """Seconds from the start of a deploy to the first answer."""
    host.succeeds(WIPE)
    began = time.monotonic()
    run = deploy()
    while not answers(host, key):
        if run.poll() is not None and not answers(host, key):
            sys.exit("the deploy ended and nothing answers")
        time.sleep(0.1)
    spent = time.monotonic() - began
    ended(run)
    return spent


def main() -> int:
    """Print the figures: 0 where the target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    sandbox = Sandbox()
    if any(one.name == NAME for one in sandbox.hosts()):
        sandbox.down(NAME)
    host = sandbox.up(NAME, profile="none")
    try:
        HOST_FILES.mkdir(exist_ok=True)
        with (HOST_FILES / "known_hosts").open("a") as pins:
            pins.write(f"{host.pin}\n")
        serve = [{"model": MODEL, "context": 4096, "concurrency": 2, "engine": "llama.cpp"}]
        said = {"address": host.address, "user": host.user, "ssh_key": str(host.key_path), "serve": serve}
        (HOST_FILES / f"{NAME}.yaml").write_text(yaml.safe_dump(said))
        key = create(sandbox.secrets_dir, NAME)
        ended(deploy())
        spent = [first_answer_s(host, key) for _ in range(rounds)]
    finally:
        sandbox.down(NAME)
    middle = statistics.median(spent)
    met = middle <= TARGET_S
    each = ", ".join(f"{one:.1f}" for one in spent)
    print(
        f"first answer after {each} s, median {middle:.1f} s (target {TARGET_S}) {'met' if met else 'MISSED'}; ", end=""
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
