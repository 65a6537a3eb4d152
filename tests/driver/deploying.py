"""Some of the roles on some test hosts, as `pyinfra` runs them."""

from __future__ import annotations

import json
import subprocess

from tests.e2e.deploying import PYINFRA, ROOT, Run

TO_THE_DRIVER = "tests/driver/deploy_driver.py"
TO_CONTAINERS = "tests/driver/deploy_containers.py"


def command(*names: str, roles: str = TO_THE_DRIVER, data: tuple[str, ...] = ()) -> list[str]:
    """`pyinfra -y` over these hosts with these roles."""
    limits = [word for name in names for word in ("--limit", name)]
    values = [word for value in data for word in ("--data", value)]
    return [str(PYINFRA), "-y", "--json", "inventories/sandbox.py", roles, *limits, *values]


def run(*names: str, roles: str = TO_THE_DRIVER, data: tuple[str, ...] = ()) -> Run:
    """The same, to its end."""
    done = subprocess.run(
        command(*names, roles=roles, data=data), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    start = done.stdout.find("{")
    payload = json.loads(done.stdout[start:]) if start >= 0 else {}
    operations = tuple((payload.get("results") or {"operations": []})["operations"])
    return Run(done.returncode, done.stdout + done.stderr, operations)
