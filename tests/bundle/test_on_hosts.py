"""A closed site, by the very commands of docs/airgap.md: hosts of two distributions, with no way out and no names."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ingot.bundle.manifest import Manifest, parse
from ingot.bundle.store import Store
from ingot.sandbox import Sandbox, TestHost
from tests.bundle.page import Machine, another_revision, blocks, machines

pytestmark = [pytest.mark.e2e, pytest.mark.cache, pytest.mark.timeout(1800)]

#: As the page has them.
NAMES = GPU, FRONT = "gpu-01", "gw-01"
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
    """Two hosts, the machine with internet, the site's, and the lines of the page."""

    hosts: tuple[TestHost, TestHost]
    connected: Machine
    here: Machine
    directory: Path

    def follow(self, step: str, number: int = 0) -> str:
        """Do what a block of the page says, on the machine that its step is about: what it printed."""
        machine = self.connected if (step, number) in (("2", 0), ("5", 0)) else self.here
        # Ingot's own packages, some 100 MB, are the internet's; and the address is this site's.
        words = {"10.0.0.17": self.hosts[1].address, "--to bundle": "--without-ingot --to bundle"}
        done = machine.follow(blocks()[step][number], words)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def ingot(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.here.run(["ingot", *words])

    @property
    def manifest(self) -> Manifest:
        return parse((self.here.checkout / "bundle/manifest.json").read_bytes(), "manifest.json")

    def are_served(self) -> None:
        """Both hosts are what the page promises."""
        for host in self.hosts:
            host.succeeds('test -z "$(ip route show default)" && ! getent hosts debian.org && nginx -v')
        self.hosts[0].succeeds("docker ps --format '{{.Names}}' | grep -q ingot-engine")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    sandbox = Sandbox()
    try:
        gpu = sandbox.up(GPU, profile="rtx4090x1")
        front = sandbox.up(FRONT, profile="none", os="debian12")
        for host in (gpu, front):
            host.succeeds(CUT)
        yield Site((gpu, front), *machines(directory, gpu, front), directory)
    finally:
        for host in sandbox.hosts():
            if host.name in NAMES:
                sandbox.down(host.name)


@pytest.fixture(scope="module")
def carried(site: Site) -> Site:
    """The page's first three steps: the bundle is on the site's machine, and proven."""
    site.follow("1")
    (site.connected.checkout / f"{GPU}.state").write_bytes((site.here.checkout / f"{GPU}.state").read_bytes())
    site.follow("2")
    for name in ("bundle", "commits"):
        site.connected.carried_on(name)
    said = site.follow("3")
    assert f"every byte is as signed at {site.manifest.created}; it is for {GPU}, {FRONT}" in said
    assert "Signature Verified Successfully" in site.follow("3", 1)
    return site


def test_a_flipped_byte_is_found_before_anything_is_pushed(carried: Site) -> None:
    one = next(one for one in carried.manifest.files if one.path.endswith(".deb"))
    file = Store(carried.here.checkout / "bundle").object(one.sha256)
    before = file.read_bytes()
    file.write_bytes(before[:99] + bytes([before[99] ^ 1]) + before[100:])
    try:
        for words in (["verify", "bundle"], ["push", "--from", "bundle"], ["serve", FRONT, "--from", "bundle"]):
            done = carried.ingot("bundle", *words)
            assert done.returncode == 1 and one.path in done.stderr and "copy it again" in done.stderr, done.stderr
    finally:
        file.write_bytes(before)
    for host in carried.hosts:
        host.fails("ls -d /srv/ingot-*/objects")


@pytest.fixture(scope="module")
def pushed(carried: Site) -> Site:
    """Each host has its own part, and is deployed from it."""
    with outside(carried.hosts[0]) as seen:
        carried.follow("4")
        assert seen() == []
    return carried


def test_hosts_with_no_way_out_are_deployed_from_what_is_pushed_to_them(pushed: Site) -> None:
    pushed.are_served()
    for host in pushed.hosts:
        assert "file:/srv/ingot-bundle" in host.succeeds("apt-cache policy nginx")
    said = json.loads(pushed.ingot("bundle", "push", "--from", "bundle", "--json").stdout)
    assert [one["new"] for one in said["hosts"]] == [0, 0]


@pytest.fixture(scope="module")
def served(pushed: Site) -> Site:
    """One host has left, the other is a new one, nothing of the pushed bundle stays; and one serves it to both."""
    site, front = pushed, pushed.hosts[1]
    with ThreadPoolExecutor() as pool:
        fresh = pool.submit(_new_host, GPU)
        done = site.ingot("decommission", FRONT, "--yes")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        gpu = fresh.result()
    front.fails("ls -d /etc/ingot || ls -d /etc/nginx/ingot || grep -rl ngot /etc/apt || command -v nginx")
    front.succeeds("rm -r /srv/ingot-bundle && grep -rqE '^(deb|URIs:) ' /etc/apt/sources.list /etc/apt/sources.list.d")
    site.here.run(["git", "checkout", "-q", "--", "inventories"])
    (site.here.checkout / "inventories/prod/known_hosts").write_text(f"{gpu.pin}\n{front.pin}\n")
    site = replace(site, hosts=(gpu, front))
    with outside(gpu) as seen:
        site.follow("4", 1)
        assert seen() == []
    return site


def _new_host(name: str) -> TestHost:
    sandbox = Sandbox()
    sandbox.down(name)
    host = sandbox.up(name, profile="rtx4090x1")
    host.succeeds(CUT)
    return host


@pytest.mark.long
def test_hosts_with_no_way_out_are_deployed_from_the_one_that_serves(served: Site) -> None:
    served.are_served()
    at = f"https://{served.hosts[1].address}:8445"
    for host in served.hosts:
        assert at in host.succeeds("apt-get update 2>&1 && apt-cache policy nginx"), "by their own apt too"
    served.hosts[0].fails("ls -d /srv/ingot-bundle || ls -d /srv/ingot-served")
    again = served.ingot("bundle", "serve", FRONT, "--from", "bundle", "--json")
    assert json.loads(again.stdout) == {"address": at, "new": 0, "new_bytes": 0, "changed": False, "errors": []}


@pytest.mark.long
def test_who_is_none_of_the_sites_hosts_is_given_nothing(served: Site) -> None:
    front = served.hosts[1]
    ask = f"curl -sk -o /dev/null -w '%{{http_code}}' https://{front.address}:8445"
    assert front.succeeds(f"{ask}/keys/") == "403", "no list of what is there"
    path = next(one.path for one in served.manifest.files if one.path.startswith("keys/"))
    assert front.succeeds(f"{ask}/{path}") == "200"
    stranger = subprocess.run(["bash", "-c", f"{ask}/{path}"], capture_output=True, text=True, check=False)
    assert stranger.stdout == "403"


@pytest.mark.long
def test_a_second_bundle_brings_what_is_new_and_an_older_one_is_refused(served: Site) -> None:
    first = served.manifest
    revision = another_revision(served.connected, served.directory)
    said = served.follow("5")
    for name in ("bundle-2", "commits"):
        served.connected.carried_on(name)
    new = len(list((served.connected.drive / "bundle-2/objects").rglob("*/*")))
    assert 0 < new < 30, said
    with outside(served.hosts[0]) as seen:
        served.follow("5", 1)
        assert seen() == []
    assert served.manifest.serial > first.serial
    served.hosts[0].succeeds(f"docker inspect $(docker ps -q) | grep -q /srv/models/tiny-qwen3/bf16/{revision}")
    older = ("bundle", "serve", FRONT, "--from", str(served.connected.checkout / "bundle"))
    refused = served.ingot(*older)
    assert refused.returncode == 1 and f"{FRONT}: it has a newer bundle" in refused.stderr, refused.stderr
    assert re.search(r"give --older to go back", refused.stderr)
    deployed = served.here.run(["pyinfra", "inventories/prod.py", "deploy.py", "--json"])
    results = json.loads(deployed.stdout[deployed.stdout.find("{") :])["results"]["operations"]
    assert not [one["name"] for one in results if one["success"]], deployed.stdout[-3000:]


@pytest.mark.long
def test_who_serves_no_more_leaves_the_files(served: Site) -> None:
    front = served.hosts[1]
    assert served.ingot("bundle", "serve", FRONT, "--stop").returncode == 0
    front.succeeds("test -d /srv/ingot-served/objects && ! ss -ltnH 'sport = :8445' | grep -q .")
    front.fails("ls /etc/systemd/system/ingot-bundle.service /etc/ingot/bundle")


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
