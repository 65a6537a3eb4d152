"""The same state by four ways: Ingot's operations, an Ansible playbook, that with mitogen, stock pyinfra operations.

    .venv/bin/python benchmarks/convergence.py [--hosts 1 4] [--rounds 3] [--delays-ms 0 50] [--peers DIRECTORY]

Boots bare test hosts (root, Linux), and has each way bring the state of `convergence/state.py`, then bring it again;
in between everything is taken away. Ways take turns in each round, and medians of whole processes are reported with
the machine's load meanwhile. Every way's result is compared with the state. Ansible and mitogen run from an
environment below `--peers`, made with pip where it is missing; what cannot be installed is left out and said so.

In Ansible's favour: facts are not gathered, the interpreter is given, python3-apt is there, pipelining, ControlPersist
and 20 forks are on, and packages are in apt's cache for everybody.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HERE = ROOT / "benchmarks" / "convergence"
sys.path[:0] = [str(ROOT), str(HERE)]

import state  # noqa: E402

from ingot.sandbox import Sandbox, TestHost  # noqa: E402
from ingot.sandbox.inventory import connection  # noqa: E402
from ingot.sandbox.proxy import Proxy  # noqa: E402

WAYS = ("ingot", "ansible", "mitogen", "pyinfra")
RESET = f"""
systemctl disable -q --now {" ".join(state.UNITS)} 2>/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge {" ".join(state.PACKAGES)} nginx-common >/dev/null 2>&1
rm -rf {" ".join((*state.DIRECTORIES, *state.FILES))} /var/log/ingot /run/ingot
systemctl daemon-reload
"""
PREPARE = f"""
apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install python3-apt >/dev/null &&
apt-get -qq -y --no-install-recommends --download-only install {" ".join(state.PACKAGES)} >/dev/null
"""
CHECK = f"""
sha256sum {" ".join(state.FILES)}; stat -c '%a %n' {" ".join((*state.DIRECTORIES, *state.FILES))}
systemctl is-active {" ".join(state.UNITS)}; systemctl is-enabled {" ".join(state.UNITS)}
for package in {" ".join(state.PACKAGES)}; do dpkg-query -W -f '${{Status}}\\n' $package; done
"""
Reached = list[tuple[str, dict[str, Any]]]


def expected() -> str:
    """What CHECK prints of a host that is as described."""
    sums = [f"{hashlib.sha256(content.encode()).hexdigest()}  {path}" for path, (_, content) in state.FILES.items()]
    modes = [*state.DIRECTORIES.items(), *((path, mode) for path, (mode, _) in state.FILES.items())]
    stats = [f"{mode.lstrip('0')} {path}" for path, mode in modes]
    units = ["active"] * len(state.UNITS) + ["enabled"] * len(state.UNITS)
    return "\n".join([*sums, *stats, *units, *["install ok installed"] * len(state.PACKAGES)])


def ansible(peers: Path) -> dict[str, Path]:
    """The environment of Ansible, and where mitogen has its strategies; each where it can be installed."""
    python = peers / "ansible" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", peers / "ansible"], check=True)
    found = {}
    for way, package, module in (("ansible", "ansible-core", "ansible"), ("mitogen", "mitogen", "ansible_mitogen")):
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False, capture_output=True)
        where = subprocess.run(
            [python, "-c", f"import {module} as one; print(one.__path__[0])"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if where.returncode:
            print(f"{package} cannot be installed here: {way} is left out")
        else:
            found[way] = Path(where.stdout.strip())
    return found


@contextmanager
def reached(hosts: Sequence[TestHost], delay_ms: int, scratch: Path) -> Iterator[Reached]:
    """How each host is reached: directly, or through a proxy that adds `delay_ms` to every round trip."""
    with ExitStack() as stack:
        found: Reached = []
        for host in hosts:
            data = connection(host)
            if delay_ms:
                proxy = stack.enter_context(Proxy(host.address, 22, delay_s=delay_ms / 2000))
                keys = [line.split(maxsplit=1)[1] for line in host.known_hosts_path.read_text().splitlines()]
                pinned = scratch / f"known_hosts.{host.name}"
                pinned.write_text("".join(f"[127.0.0.1]:{proxy.port} {key}\n" for key in keys))
                data |= {"ssh_hostname": "127.0.0.1", "ssh_port": proxy.port, "ssh_known_hosts_file": str(pinned)}
            found.append((host.name, data))
        yield found


class Way:
    """One way to the state, over hosts as they are reached."""

    def __init__(self, name: str, hosts: Reached, scratch: Path, peers: Path, modules: dict[str, Path]) -> None:
        self.name, self.scratch = name, scratch
        self.env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        if name in ("ingot", "pyinfra"):
            prefix = "@ingot/" if name == "ingot" else ""
            data = {"secrets_dir": str(scratch / "secrets")} if name == "ingot" else {}
            file = scratch / f"{name}.json"
            file.write_text(json.dumps([(f"{prefix}{host}", {**reach, **data}) for host, reach in hosts]))
            self.env["CONVERGENCE_HOSTS"] = str(file)
            # Ingot's defaults are in the checkout's group_data; the other has no use for them.
            self.cwd = ROOT if name == "ingot" else scratch
            deploy = HERE / f"deploy_{'ingot' if name == 'ingot' else 'stock'}.py"
            pyinfra = Path(sys.executable).parent / "pyinfra"
            self.command = [str(part) for part in (pyinfra, "-y", HERE / "hosts.py", deploy)]
            return
        self.cwd = scratch
        variables = {
            "packages": state.PACKAGES,
            "directories": [{"path": path, "mode": mode} for path, mode in state.DIRECTORIES.items()],
            "files": [{"path": path, "mode": m, "content": text} for path, (m, text) in state.FILES.items()],
            "units": state.UNITS,
        }
        of_hosts = {
            host: {
                "ansible_host": reach["ssh_hostname"],
                "ansible_port": reach.get("ssh_port", 22),
                "ansible_user": reach["ssh_user"],
                "ansible_ssh_private_key_file": reach["ssh_key"],
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={reach['ssh_known_hosts_file']}",
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for host, reach in hosts
        }
        inventory = scratch / f"{name}.json"
        inventory.write_text(json.dumps({"all": {"vars": variables, "hosts": of_hosts}}))
        self.env |= {
            "ANSIBLE_FORKS": "20",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch / "cp"),
            "ANSIBLE_HOME": str(scratch / "ansible"),
        }
        if name == "mitogen":
            self.env |= {
                "ANSIBLE_STRATEGY": "mitogen_linear",
                "ANSIBLE_STRATEGY_PLUGINS": str(modules["mitogen"] / "plugins" / "strategy"),
            }
        playbook = peers / "ansible" / "bin" / "ansible-playbook"
        # Ansible reads an inventory that ends in .json as YAML, of which JSON is a part.
        self.command = [str(part) for part in (playbook, "-i", inventory, HERE / "playbook.yaml")]

    def run(self) -> float:
        """Seconds of the whole process. Raises: SystemExit with its output where it failed."""
        log = self.scratch / f"{self.name}.log"
        started = time.monotonic()
        with log.open("w") as output:
            done = subprocess.run(
                self.command, cwd=self.cwd, env=self.env, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                timeout=1200, check=False,
            )  # fmt: skip
        seconds = time.monotonic() - started
        if done.returncode:
            sys.exit(f"convergence: {self.name} failed:\n{log.read_text()[-4000:]}")
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4], help="How many at once, for each table.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delays-ms", type=int, nargs="+", default=[0, 50])
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "convergence")
    options = parser.parse_args()
    modules = ansible(options.peers.absolute())
    ways = [way for way in WAYS if way in modules or way in ("ingot", "pyinfra")]
    sandbox = Sandbox()
    hosts = [sandbox.up(f"conv-{number}") for number in range(1, max(options.hosts) + 1)]
    try:
        for host in hosts:
            host.succeeds(PREPARE, timeout_s=600)
        for count in options.hosts:
            for delay_ms in options.delays_ms:
                measured = measure(hosts[:count], delay_ms, ways, options, modules)
                table(count, delay_ms, measured)
    finally:
        for host in hosts:
            sandbox.down(host.name)


#: By way: seconds of each first and second run, and the load when each began.
Measured = dict[str, tuple[list[float], list[float], list[float]]]


def measure(
    hosts: Sequence[TestHost], delay_ms: int, ways: Sequence[str], options: Any, modules: dict[str, Path]
) -> Measured:
    """Every way in turns, for as many rounds as asked."""
    found: Measured = defaultdict(lambda: ([], [], []))
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        with reached(hosts, delay_ms, scratch) as reach:
            for turn in range(options.rounds):
                for name in (*ways[turn % len(ways) :], *ways[: turn % len(ways)]):
                    way = Way(name, reach, scratch, options.peers.absolute(), modules)
                    for host in hosts:
                        host.run(RESET, timeout_s=300)
                    first, second, load = found[name]
                    first.append(way.run())
                    for host in hosts:
                        if (is_now := host.run(CHECK)[1].strip()) != expected():
                            sys.exit(f"convergence: after {name}, {host.name} is not as described:\n{is_now}")
                    load.append(os.getloadavg()[0])
                    second.append(way.run())
    return found


def table(count: int, delay_ms: int, measured: Measured) -> None:
    """Print the medians of one number of hosts and one delay."""
    print(f"\n{count} host{'s' if count > 1 else ''}, {delay_ms} ms more per round trip, medians of whole processes")
    print(f"{'way':<10}{'first run':>12}{'second run':>12}{'least':>9}{'times Ingot':>13}{'load':>7}")
    ours = statistics.median(measured["ingot"][1])
    for way, (first, second, load) in measured.items():
        again = statistics.median(second)
        print(
            f"{way:<10}{statistics.median(first):>10.1f} s{again:>10.1f} s{min(second):>7.1f} s"
            f"{again / ours:>13.1f}{statistics.median(load):>7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
