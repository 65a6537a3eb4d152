"""Do callers notice a change? Steady requests while everything is changed that changes in a fleet's life.

    .venv/bin/python benchmarks/rollout.py [--requests 10000] [--rate 40] [--limit-s 3000] [--only CHANGE ...]

Boots three test hosts (root, Linux): `roll-a` with two replicas, `roll-b` with one, and `roll-front`, a fleet gateway
without a GPU before both. Half of the callers ask roll-a, half ask roll-front; each is OpenAI's client as it comes, and
every other answer is streamed. Meanwhile one change after the other is brought by the real `pyinfra` and
`deploy.py`; rounds of changes are repeated until so many requests were sent. The engines are stand-ins for vLLM, which
start in a second and take half a second per streamed answer; everything before them is what production has.

Prints a row per change: requests that were sent meanwhile, failed (refused, broken off, or not complete), the longest
time without a complete answer, the slowest answer, and what the change took, in seconds. Exits 1 where any request
failed or a change did not come out as expected.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.steady_load import Row, row, steady_load
from ingot.errors import IngotError
from ingot.operations.gateway import site
from ingot.sandbox import Sandbox, TestHost, inventory, mirror
from ingot.sandbox.tiny_models import directory as models
from ingot.sandbox.tiny_models import generator
from ingot.secrets import files, keys, pki
from tests.e2e import standin_image
from tests.e2e.deploying import deploy

#: Name of each host and its simulated hardware.
A, B, FRONT = "roll-a", "roll-b", "roll-front"
PROFILES = {A: "a10gx4", B: "rtx4090x1", FRONT: "none"}
TEAM, MODEL = "callers", generator.NAME
OLDER_DRIVER, NEWER_DRIVER = "580.159.03", "580.173.02"
INVENTORY = """
from ingot.sandbox.inventory import hosts
_values = {values!r}
_own = {own!r}
_hosts = {{name.removeprefix("@ingot/"): (name, data) for name, data in hosts()}}
_entry = lambda name: (_hosts[name][0], {{**_hosts[name][1], **_values, **_own.get(name, {{}})}})
gpu = [_entry(name) for name in {gpu!r}]
gateway = [_entry(name) for name in {front!r}]
"""
#: Seconds of requests before and after each change.
AROUND_S = 2
#: The distribution's nginx with a higher version than the installed one: what an upgrade from the distribution does.
UPGRADE_NGINX = r"""
set -e
cd "$(mktemp -d)"
apt-get download -q "nginx=$(apt-cache madison nginx | awk 'NR == 1 { print $3 }')"
dpkg-deb -R nginx_*.deb tree
version=$(dpkg-query -W -f '${Version}' nginx)
sed -i "s/^Version: .*/Version: $version+again/" tree/DEBIAN/control
dpkg-deb --build --root-owner-group tree newer.deb
DEBIAN_FRONTEND=noninteractive dpkg -i newer.deb
"""


class Unexpected(Exception):
    """A change that did not come out as it should."""


@dataclass
class Fleet:
    """The hosts, what the inventory says about them, and the callers."""

    hosts: dict[str, TestHost]
    work: Path
    values: dict[str, Any]
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)
    revisions: list[dict[str, Any]] = field(default_factory=list)
    changes: int = 0

    @property
    def secrets(self) -> Path:
        return Sandbox().secrets_dir

    @property
    def key_file(self) -> Path:
        return self.work / "key"

    def use_key(self, key: str) -> None:
        """Have the callers use this key from now on."""
        files.replace(self.key_file, key, mode=0o600)

    def callers(self, at: Sequence[str], rate: float) -> AbstractContextManager[Path]:
        """Callers at these hosts, so many requests per second in all; yields the file of their records."""
        addresses = [self.hosts[name].address for name in at]
        return steady_load(addresses, self.secrets / "ca.crt", self.key_file, MODEL, self.work / "requests.jsonl", rate)

    def inventory(self, name: str = "fleet.py") -> Path:
        """An inventory file of what the values say now."""
        gpu, front = ([name for name in self.hosts if (name == FRONT) == is_front] for is_front in (False, True))
        path = self.work / name
        path.write_text(INVENTORY.format(values=self.values, own=self.own, gpu=gpu, front=front))
        return path

    def deploy(self, *limit: str, expected: int = 0, says: str = "", deploy_file: str = "deploy.py") -> None:
        """Bring what the values say. Raises: Unexpected."""
        run = deploy(*limit, inventory=str(self.inventory()), deploy_file=deploy_file, timeout_s=900)
        (self.work / f"deploy-{time.time():.0f}.log").write_text(run.output)
        if run.status != expected or says not in run.output:
            raise Unexpected(f"the deploy ended with {run.status}, expected {expected}: {run.output[-3000:]}")


def arguments(fleet: Fleet) -> None:
    fleet.changes += 1
    fleet.values["engine_extra_args"] = ["--seed", str(fleet.changes)]
    fleet.deploy()


def image(fleet: Fleet) -> None:
    fleet.images.reverse()
    fleet.values.update(fleet.images[0])
    fleet.deploy()


def revision(fleet: Fleet) -> None:
    fleet.revisions.reverse()
    fleet.values.update(fleet.revisions[0])
    fleet.deploy()


def gateway(fleet: Fleet) -> None:
    fleet.changes += 1
    fleet.values["gateway_max_body"] = f"{8 + fleet.changes}m"
    fleet.deploy()


def rotated_keys(fleet: Fleet) -> None:
    old = keys.fingerprint(fleet.key_file.read_text())
    new, _ = keys.rotate(fleet.secrets, TEAM, timedelta(hours=1), datetime.now(UTC))
    role = "roles.gateway.gateway"
    fleet.deploy(deploy_file=role)
    fleet.use_key(new)
    # Answers that began with the old key may end.
    time.sleep(AROUND_S)
    for one in keys.read(fleet.secrets):
        if one.sha256 == old:
            keys.revoke_id(fleet.secrets, one.id)
    fleet.deploy(deploy_file=role)


def certificate(fleet: Fleet) -> None:
    """One that ends in 27 days lies on each host, which is sooner than a deploy leaves it."""
    before = [age_certificate(host, fleet.secrets) for host in fleet.hosts.values()]
    fleet.deploy(deploy_file="roles.gateway.gateway")
    if set(before) & {host.succeeds(f"cat {site.CERTIFICATE}") for host in fleet.hosts.values()}:
        raise Unexpected("a certificate was not renewed")


def age_certificate(host: TestHost, secrets: Path) -> str:
    """Put a certificate in the place of the host's, 20 days older than a new one. Returns: its text."""
    request = host.succeeds(f"cat {Path(site.CERTIFICATE).with_name('request.pem')}")
    names = host.succeeds(f"openssl x509 -in {site.CERTIFICATE} -noout -ext subjectAltName | tail -n 1")
    wanted = [word.strip().partition(":")[2] for word in names.split(",")]
    older = pki.sign(pki.authority(secrets, ()), request, wanted, now=datetime.now(UTC) - timedelta(days=20))
    host.put(site.CERTIFICATE, older)
    return host.succeeds(f"cat {site.CERTIFICATE}")


def nginx_package(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        host.succeeds(UPGRADE_NGINX, timeout_s=300)


def dockerd(fleet: Fleet) -> None:
    fleet.values["docker_log_max_files"] = 9 - fleet.values.get("docker_log_max_files", 5)
    fleet.deploy()


def driver(fleet: Fleet) -> None:
    """On roll-b alone: roll-front passes it by."""
    newer = fleet.own.setdefault(B, {}).get("driver_version") == OLDER_DRIVER
    fleet.own[B]["driver_version"] = NEWER_DRIVER if newer else OLDER_DRIVER
    fleet.deploy(B)


def broken(fleet: Fleet) -> None:
    kept = fleet.values["engine_extra_args"]
    fleet.values["engine_extra_args"] = ["--crash"]
    fleet.deploy(expected=1, says="serves again.")
    fleet.values["engine_extra_args"] = kept
    fleet.deploy()


CHANGES: dict[str, Callable[[Fleet], None]] = {
    "arguments": arguments,
    "image": image,
    "revision": revision,
    "gateway": gateway,
    "keys": rotated_keys,
    "certificate": certificate,
    "nginx": nginx_package,
    "dockerd": dockerd,
    "driver": driver,
    "broken": broken,
}


@contextmanager
def fleet_of_test_hosts(work: Path, names: Sequence[str] = tuple(PROFILES)) -> Iterator[Fleet]:
    """Boot the hosts and bring them to serve; they end with the block."""
    sandbox = Sandbox()
    try:
        with ThreadPoolExecutor(len(names)) as pool:
            booted = pool.map(lambda name: sandbox.up(name, profile=PROFILES[name]), names)
            hosts = {host.name: host for host in booted}
        images = [standin_image.write(work / f"image-{number}", str(number)) for number in (1, 2)]
        revisions = [revision_values(work, number) for number in (1, 2)]
        serve = {"model": MODEL, "context": 4096, "concurrency": 8}
        fleet = Fleet(
            hosts,
            work,
            {
                "docker_default_ulimits": {},
                "docker_source": "distribution",
                "engine_extra_args": [],
                "engine_hold_s": 1,
                "rollout_canary_hold_s": 2,
                **images[0],
                **revisions[0],
            },
            {
                A: {"serve": [{**serve, "replicas": 2}]},
                B: {"serve": [{**serve, "replicas": 1}], "driver_version": OLDER_DRIVER},
            },
            images,
            revisions,
        )
        fleet.use_key(keys.create(fleet.secrets, TEAM))
        fleet.deploy()
        yield fleet
    finally:
        for name in {host.name for host in sandbox.hosts()} & set(names):
            sandbox.down(name)


def revision_values(work: Path, number: int) -> dict[str, Any]:
    """The values by which hosts get one revision of the model from this machine."""
    contents = {**generator.files(), "generation_config.json": models.as_json({"seed": number})}
    made = models.make(work / "models", MODEL, contents)
    lock = work / f"models.lock.{number}.yaml"
    listed = json.loads((made / models.MANIFEST).read_text())["files"]
    source = {"kind": "push", "uri": str(work / "models")}
    entry = {"commit": made.name, "files": listed}
    lock.write_text(json.dumps({"schema": 1, "hub": source["uri"], "repositories": {MODEL: entry}}))
    sources = inventory.hosts()[0][1]["sources"]
    return {
        "models_lock": str(lock),
        "site_models": {MODEL: mirror.catalog_entry(generator, made.name)},
        "sources": {**sources, "models": source},
    }


def shown(cells: Sequence[object]) -> str:
    return "{:<12} {:>8} {:>7} {:>10} {:>14} {:>10} {:>8}".format(*cells)


def measure(args: argparse.Namespace, work: Path) -> int:
    rows: list[Row] = []
    end, troubles = time.monotonic() + args.limit_s, 0
    with fleet_of_test_hosts(work) as fleet, fleet.callers((A, FRONT), args.rate) as record:
        time.sleep(AROUND_S)
        print(
            shown(("change", "requests", "failed", "sent again", "longest gap, s", "slowest, s", "took, s")), flush=True
        )
        began = time.time()
        while sum(one.sent for one in rows) < args.requests and time.monotonic() < end:
            for name in args.only or CHANGES:
                changing = time.monotonic()
                try:
                    CHANGES[name](fleet)
                except (Unexpected, IngotError) as error:
                    troubles += 1
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                took = time.monotonic() - changing
                time.sleep(AROUND_S)
                ended = time.time()
                one = row(name, record, began, ended, took)
                began = ended
                rows.append(one)
                gap, slowest = f"{one.longest_gap_s:.1f}", f"{one.slowest_s:.1f}"
                print(shown((name, one.sent, one.failed, one.again, gap, slowest, f"{took:.0f}")), flush=True)
                for said in sorted(set(one.wrong)):
                    print(f"  {one.wrong.count(said)} x {said[:300]}", flush=True)
                if time.monotonic() > end:
                    break
    last = row("(last)", record, began, time.time(), 0)
    sent, failed = sum(one.sent for one in (*rows, last)), sum(one.failed for one in (*rows, last))
    again = sum(one.again for one in (*rows, last))
    longest = f"{max(one.longest_gap_s for one in rows):.1f}"
    slowest = f"{max(one.slowest_s for one in rows):.1f}"
    print(shown(("all", sent, failed, again, longest, slowest, f"{sum(one.took_s for one in rows):.0f}")))
    if sent < args.requests:
        print(f"only {sent} of {args.requests} requests were sent within {args.limit_s:.0f} s", file=sys.stderr)
    return 1 if failed or troubles or sent < args.requests else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=40, help="requests per second in all")
    parser.add_argument("--limit-s", type=float, default=3000, help="no change begins later than this")
    parser.add_argument("--only", nargs="*", choices=list(CHANGES))
    parser.add_argument("--keep", type=Path, help="keep the logs of deploys and the records in this directory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
        sys.exit(measure(args, args.keep or Path(temporary)))


if __name__ == "__main__":
    main()
