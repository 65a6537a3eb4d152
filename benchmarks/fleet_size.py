"""What one control process costs with many hosts: seconds and memory of a run over 1, 8, 50 and 200 of them.

    .venv/bin/python benchmarks/fleet_size.py [--hosts 1 8 50 200] [--keep NAME]

Boots one test host (root, Linux), deploys it, and records what its look answers. Then every host of a fleet is that
one under another name: real SSH connections, each look answered by what was recorded, so that the machine's cores are
the control process' own and not two hundred hosts'. Simulated is the host's own work, and nothing else. The run is
pyinfra's `--dry`, which asks and decides everything once, as a run that changes nothing does; it holds no host, since
one host has one lock. `--keep NAME` takes a host that is deployed already, and leaves it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from ingot.facts.look import FILE  # noqa: E402
from ingot.sandbox import Sandbox, TestHost  # noqa: E402
from ingot.sandbox.inventory import hosts as sandbox_hosts  # noqa: E402

NAME = "bench-fleet"
RECORDED = "/run/ingot-recorded"
#: Run by pyinfra as the inventory `sandbox`, whose group has the sources of test hosts.
INVENTORY = """import json
from pathlib import Path
hosts = [tuple(one) for one in json.loads((Path(__file__).parent / "hosts.json").read_text())]
"""


def record(host: TestHost) -> None:
    """Have the host's look answer from now on what it answers now; only the clock is still read."""
    text = host.succeeds(f"cat {FILE}")
    _run(host, "sh -s >/dev/null", text.replace("rm -rf", f'mkdir -p {RECORDED}; cp "$out"/* {RECORDED}; rm -rf', 1))
    before, kept, rest = text.partition('>"$out/kept"\n')
    replayed = "\n".join(f'cat {RECORDED}/{lane} >"$out/{lane}"' for lane in re.findall(r'>"\$out/(\d+)" &', rest))
    _run(host, f"umask 077; cat >{FILE}", f"{before}{kept}{replayed}\n{rest.rpartition(chr(10) + 'wait' + chr(10))[2]}")
    # Two hundred logins at once, which sshd takes for an attack.
    host.succeeds("printf 'MaxStartups 1000\\nPerSourcePenalties no\\n' >/etc/ssh/sshd_config.d/00-fleet.conf")
    host.succeeds("systemctl reload ssh")


def _run(host: TestHost, command: str, text: str) -> None:
    status, output = host.run(command, timeout_s=120, stdin=text)
    if status:
        sys.exit(f"fleet_size: the look could not be recorded: {output[-2000:]}")


def measured(name: str, count: int) -> dict[str, float]:
    """One run over so many hosts: seconds, the process' own processor time, and the most memory that it had."""
    data = dict(sandbox_hosts())[f"@ingot/{name}"]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        (scratch / "sandbox.py").write_text(INVENTORY)
        names = [f"{name}-{number:03}" for number in range(count)]
        (scratch / "hosts.json").write_text(json.dumps([(f"@ingot/{one}", data) for one in names]))
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        log, started = scratch / "log", time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                [Path(sys.executable).parent / "pyinfra", "--dry", scratch / "sandbox.py", "deploy.py"],
                cwd=ROOT, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        text = log.read_text()
        if status or text.count("] Connected") != count:
            sys.exit(f"fleet_size: the run over {count} hosts went wrong:\n{text[-4000:]}")
    return {
        "seconds": time.monotonic() - started,
        "processor": usage.ru_utime + usage.ru_stime,
        "MiB": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 8, 50, 200])
    parser.add_argument("--keep", metavar="NAME", help="A deployed test host to take instead of a new one.")
    options = parser.parse_args()
    sandbox, name = Sandbox(), options.keep or NAME
    host = sandbox.up(name, profile="rtx4090x1")
    try:
        # The second deploy asks what the first could not know.
        for _ in range(2):
            command = [Path(sys.executable).parent / "pyinfra", "-y", "inventories/sandbox.py", "deploy.py"]
            subprocess.run([*command, "--limit", name], cwd=ROOT, check=True, capture_output=True, timeout=1800)
        record(host)
        print(f"{'hosts':>6}{'seconds':>10}{'processor':>11}{'memory':>11}{'load':>7}")
        for count in options.hosts:
            load, found = os.getloadavg()[0], measured(name, count)
            cells = f"{found['seconds']:>8.1f} s{found['processor']:>9.1f} s{found['MiB']:>7.0f} MiB"
            print(f"{count:>6}{cells}{load:>7.1f}", flush=True)
    finally:
        if options.keep:
            host.run(f"rm -rf {FILE} {RECORDED} /etc/ssh/sshd_config.d/00-fleet.conf; systemctl reload ssh")
        else:
            sandbox.down(name)


if __name__ == "__main__":
    main()
