"""A closed site: hosts of two distributions, with no way out and no names, are deployed from a bundle alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.bundle.manifest import Manifest, parse
from ingot.bundle.store import Store
from ingot.sandbox import Paths, Sandbox, TestHost, aptrepo, mirror
from tests.e2e import standin_image
from tests.e2e.deploying import INGOT, ROOT, Run, deploy

pytestmark = [pytest.mark.e2e, pytest.mark.cache, pytest.mark.timeout(1200)]

NAMES = ("closed-gpu", "closed-front")
INVENTORY = "tests/bundle/site.py"
#: No way out, no names, nothing that was fetched before, and no mirror of this machine's.
CUT = """set -e
sed -i '/^Gateway=/d' /etc/systemd/network/10-host0.network
networkctl reload
ip route del default 2>/dev/null || :
: >/etc/resolv.conf
umount -l /srv/ingot-mirror
apt-get clean
rm -rf /var/lib/apt/lists/*
"""
#: Packets to anywhere but this machine and its hosts, by where they go. Multicast stays on the cable.
COUNT = """table ip {table} {{
  set seen {{
    type ipv4_addr
    flags dynamic
  }}
  chain leaving {{
    type filter hook prerouting priority -300
    iifname {bridge} ip daddr != {{ {subnet}, 224.0.0.0/4 }} add @seen {{ ip daddr }}
  }}
}}
"""


@dataclass(frozen=True)
class Site:
    """The hosts, and the bundle for them."""

    hosts: tuple[TestHost, TestHost]
    bundle: Path
    values: dict[str, Any]

    def ingot(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "INGOT_TEST_VALUES": json.dumps(dict.fromkeys(NAMES, self.values))}
        return subprocess.run(
            [str(INGOT), "bundle", *words, "--key", str(self.bundle.parent / "bundle.pub")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def deploy(self) -> Run:
        """With the values that the bundle itself prints."""
        said = self.ingot("values", str(self.bundle), "--json")
        assert said.returncode == 0, said.stderr
        os.environ["INGOT_TEST_VALUES"] = json.dumps(json.loads(said.stdout)["hosts"])
        return deploy(*NAMES, inventory=INVENTORY)

    @property
    def manifest(self) -> Manifest:
        return parse((self.bundle / "manifest.json").read_bytes(), "manifest.json")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    cache = Paths.from_environment().cache
    directory = tmp_path_factory.mktemp("bundle")
    vendor = aptrepo.source_values()["sources"]["nvidia_driver"] | {
        "uri": f"file:{cache}/mirror/apt",
        "key_url": f"file:{cache}/mirror/apt/{aptrepo.KEY_NAME}",
    }
    mirror.model_values()
    models = {"kind": "mirror", "uri": f"file://{cache}/mirror/models"}
    values = {
        **standin_image.write(directory),
        "sources": {"nvidia_driver": vendor, "nvidia_toolkit": vendor, "models": models},
    }
    sandbox = Sandbox()
    try:
        gpu = sandbox.up(NAMES[0], profile="rtx4090x1")
        front = sandbox.up(NAMES[1], profile="none", os="debian12")
        made = Site((gpu, front), directory / "bundle", values)
        done = made.ingot("create", INVENTORY, "--to", str(made.bundle), "--without-ingot")
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        os.environ.pop("INGOT_TEST_VALUES", None)
        for name in NAMES:
            if any(host.name == name for host in sandbox.hosts()):
                sandbox.down(name)


@pytest.fixture(scope="module")
def deployed(site: Site) -> Run:
    for host in site.hosts:
        host.succeeds(CUT)
    with outside(site.hosts[0]) as seen:
        done = site.ingot("push", INVENTORY, "--from", str(site.bundle))
        assert done.returncode == 0, done.stderr
        run = site.deploy()
        assert run.status == 0, run.output[-5000:]
        assert seen() == []
    return run


def test_a_flipped_byte_is_found_before_anything_is_pushed(site: Site) -> None:
    one = next(one for one in site.manifest.files if one.path.endswith(".deb"))
    file = Store(site.bundle).object(one.sha256)
    before = file.read_bytes()
    file.write_bytes(before[:99] + bytes([before[99] ^ 1]) + before[100:])
    try:
        for words in (("verify", str(site.bundle)), ("push", INVENTORY, "--from", str(site.bundle))):
            done = site.ingot(*words)
            assert done.returncode == 1 and one.path in done.stderr and "copy it again" in done.stderr, done.stderr
    finally:
        file.write_bytes(before)
    for host in site.hosts:
        host.fails("ls /srv/ingot-bundle")


def test_hosts_with_no_way_out_are_deployed_from_the_bundle_alone(site: Site, deployed: Run) -> None:
    for host in site.hosts:
        host.succeeds('test -z "$(ip route show default)" && ! getent hosts debian.org')
        assert "file:/" in host.succeeds("apt-cache policy nginx") and host.succeeds("nginx -v")
    assert "Engine | Serve the plan" in deployed.changed(NAMES[0])


def test_a_second_run_and_a_second_push_change_nothing(site: Site, deployed: Run) -> None:
    again = site.deploy()
    assert again.status == 0 and not [one for name in NAMES for one in again.changed(name)], again.output[-3000:]
    said = json.loads(site.ingot("push", INVENTORY, "--from", str(site.bundle), "--json").stdout)
    assert [one["new"] for one in said["hosts"]] == [0, 0]


def test_an_older_bundle_is_refused_unless_told_to(site: Site, deployed: Run) -> None:
    front = site.hosts[1]
    front.succeeds(f"echo {site.manifest.serial + 1} >/srv/ingot-bundle/serial")
    words = ("push", INVENTORY, NAMES[1], "--from", str(site.bundle))
    done = site.ingot(*words)
    assert done.returncode == 1 and f"{NAMES[1]}: it has a newer bundle" in done.stderr, done.stderr
    assert site.ingot(*words, "--older").returncode == 0
    assert front.succeeds("cat /srv/ingot-bundle/serial").strip() == str(site.manifest.serial)


@contextmanager
def outside(host: TestHost) -> Iterator[Any]:
    """What tells where packets of the hosts went, by this machine's side of the cable."""
    table = f"{host.network.bridge}_outside"
    rules = COUNT.format(table=table, bridge=host.network.bridge, subnet=host.network.subnet)
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def seen() -> list[str]:
        words = ["nft", "-j", "list", "set", "ip", table, "seen"]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        (found,) = (one["set"] for one in json.loads(said.stdout)["nftables"] if "set" in one)
        return [str(one) for one in found.get("elem", [])]

    try:
        yield seen
    finally:
        subprocess.run(["nft", "delete", "table", "ip", table], check=True)
