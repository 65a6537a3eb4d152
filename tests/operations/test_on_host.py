"""The operations on a real machine: sudo, systemd, apt with its locks, and what happens when they are cut off."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.context import host as pyinfra_host

from ingot.catalog import load_models
from ingot.engines import Mount
from ingot.facts.apt_sources import AptSources
from ingot.facts.boot import BootId
from ingot.facts.models import DAMAGE, MARKER
from ingot.facts.packages import AptLook
from ingot.operations import detached, packages, reboot, tree, units
from ingot.operations.bundle import pack
from ingot.operations.containers import docker, image
from ingot.operations.containers import proxy as docker_proxy
from ingot.operations.driver import debian_archive
from ingot.operations.operation import operation
from ingot.operations.package_source import Source
from ingot.operations.preflight import preflight
from ingot.operations.serving import planning
from ingot.operations.serving.services import compose_file
from ingot.operations.weights import models, scrub
from ingot.operations.weights.manifest import MANIFEST
from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.aptrepo import source_values
from ingot.sandbox.mirror import model_values
from ingot.sandbox.paths import Paths
from ingot.settings import of_host
from tests.operations import proxies
from tests.operations.serving.onehost import OneHost
from tests.operations.weights.test_models import CONTENT, REVISION, Mirror, serving, wanted

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

SERVICE = """[Service]
ExecStart=/bin/sh -c 'cp /etc/ingot-test/conf /run/ingot-test; exec sleep infinity'
ExecReload=/bin/cp /etc/ingot-test/reloaded /run/ingot-test
[Install]
WantedBy=multi-user.target
"""
UNIT = units.Unit("ingot-test", restart_on=("/etc/ingot-test/conf",), reload_on=("/etc/ingot-test/reloaded",))


@pytest.fixture(scope="module")
def host() -> Iterator[TestHost]:
    sandbox = Sandbox()
    yield sandbox.up("t-operations")
    sandbox.down("t-operations")


def entries(conf: str = "one", reloaded: str = "one") -> tuple[tree.Entry, ...]:
    return (
        tree.File("/etc/systemd/system/ingot-test.service", SERVICE),
        tree.Dir("/etc/ingot-test", mode="0750"),
        tree.File("/etc/ingot-test/conf", conf),
        tree.File("/etc/ingot-test/reloaded", reloaded),
        tree.File("/etc/ingot-test/key", "CANARY-SECRET", group="daemon", mode="0640", secret=True),
    )


def test_a_tree_is_written_once_with_its_secret_kept(host, run_operation):
    first = run_operation(tree.tree, entries(), on=host, diff=True)
    assert first.succeeded and first.changed
    assert "CANARY" not in first.everything
    assert host.succeeds("stat -c '%U:%G %a' /etc/ingot-test /etc/ingot-test/key").split("\n")[:2] == [
        "root:root 750",
        "root:daemon 640",
    ]
    assert host.succeeds("cat /etc/ingot-test/key") == "CANARY-SECRET"
    assert not run_operation(tree.tree, entries(), on=host).changed
    assert host.succeeds("ls -A /run/ingot /etc/ingot-test") == "/etc/ingot-test:\nconf\nkey\nreloaded\n\n/run/ingot:\n"


def test_a_unit_is_started_then_left_alone_then_restarted_or_reloaded_for_newer_files(host, run_operation):
    host.run("systemctl stop ingot-test")
    run_operation(tree.tree, entries(), on=host)
    assert run_operation(units.units, UNIT, on=host).changed
    host.wait_until_succeeds("grep -x one /run/ingot-test")
    assert not run_operation(units.units, UNIT, on=host).changed

    # This run dies between writing and restarting: nothing tells the next one except the host itself.
    run_operation(tree.tree, entries(conf="two"), on=host)
    restarted = run_operation(units.units, UNIT, on=host)
    assert "restart ingot-test.service: /etc/ingot-test/conf changed since it started" in restarted.said
    host.wait_until_succeeds("grep -x two /run/ingot-test")

    run_operation(tree.tree, entries(conf="two", reloaded="three"), on=host)
    reloaded = run_operation(units.units, UNIT, on=host)
    assert "reload ingot-test.service" in reloaded.said
    assert host.succeeds("cat /run/ingot-test") == "three"
    assert not run_operation(units.units, UNIT, on=host).changed


def test_a_unit_started_by_someone_else_with_the_present_files_is_left_alone(host, run_operation):
    run_operation(tree.tree, entries(), on=host)
    host.succeeds("systemctl enable --now ingot-test && systemctl restart ingot-test")
    assert not run_operation(units.units, UNIT, on=host).changed
    host.succeeds("rm -r /run/ingot/units; touch /etc/ingot-test/conf")
    assert run_operation(units.units, UNIT, on=host).changed
    assert not run_operation(units.units, UNIT, on=host).changed


def test_a_changed_unit_file_is_read_again(host, run_operation):
    (unit_file, *others) = entries()
    run_operation(tree.tree, (unit_file, *others), on=host)
    run_operation(units.units, UNIT, on=host)
    run_operation(tree.tree, (tree.File(unit_file.path, SERVICE + "# changed\n"), *others), on=host)
    assert "read systemd's configuration again for ingot-test.service" in run_operation(units.units, UNIT, on=host).said
    assert not run_operation(units.units, UNIT, on=host).changed


def test_a_unit_that_does_not_start_is_one_sentence(host, run_operation):
    host.put(
        "/etc/systemd/system/ingot-bad.service",
        "[Service]\nExecStart=/bin/sh -c 'echo no key >&2; exit 3'\nType=oneshot\n",
    )
    failed = run_operation(units.units, units.Unit("ingot-bad", enabled=False), on=host)
    assert not failed.succeeded
    assert "t-operations: systemctl start ingot-bad.service failed: no key" in failed.said

    # Put right, it starts, although systemd saw it fail too often by now.
    host.run("for i in 1 2 3 4 5 6; do systemctl start ingot-bad; done")
    host.put("/etc/systemd/system/ingot-bad.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    assert run_operation(units.units, units.Unit("ingot-bad", enabled=False), on=host).succeeded


def test_a_package_is_installed_while_another_package_manager_holds_the_lock(host, run_operation):
    hold_the_package_lock(host)
    release = threading.Thread(target=release_the_package_lock, args=(host,))
    release.start()
    first = run_operation(packages.packages, ("jq",), holds=("jq",), on=host)
    release.join()
    assert first.succeeded and first.changed, first.said
    host.succeeds("jq --version")
    assert host.succeeds("apt-mark showhold").split() == ["jq"]
    assert not run_operation(packages.packages, ("jq",), holds=("jq",), on=host).changed


def test_an_installation_outlives_its_connection_which_is_made_again(host, run_operation):
    hold_the_package_lock(host)
    cut = threading.Thread(target=release_the_package_lock, args=(host, "pkill -9 -u ops sshd"))
    cut.start()
    run = run_operation(packages.packages, ("tini",), on=host)
    cut.join()
    assert run.succeeded, run.said
    assert run.said.count("Connected") == 2
    host.succeeds("test -x /usr/bin/tini")


def test_the_next_run_waits_for_the_installation_of_one_that_was_killed(host, run_operation, monkeypatch):
    monkeypatch.setattr(packages.proxy, "members", dict)  # Outside of a run there is no host in context.
    hold_the_package_lock(host)
    plan = packages.compare(AptLook({}), ("pinentry-curses",))
    members = packages.members(plan, host.name, lock_timeout_s=60)
    start = shlex.quote(detached.starter("ingot-packages", 60))
    host.run(f"sh -c {start}", stdin=pack(detached.packed(packages.RUN, members)))
    assert host.succeeds("systemctl is-active ingot-packages") == "active\n"
    release = threading.Timer(2, release_the_package_lock, [host])
    release.start()
    assert run_operation(packages.packages, ("pinentry-curses",), on=host).succeeded
    release.join()
    assert host.succeeds("grep -c '^Setting up pinentry-curses' /var/log/ingot/ingot-packages.log") == "1\n"


def test_a_key_with_another_fingerprint_is_refused_before_it_is_used(host, run_operation):
    source = sandbox_source("F" * 40)
    refused = run_operation(packages.packages, (), sources=(source,), on=host)
    assert not refused.succeeded
    assert f"where {'F' * 40} was expected" in refused.said
    host.fails("ls /etc/apt/sources.list.d/ingot-* /etc/apt/keyrings/ingot-*")


def test_a_signed_source_is_added_once_and_a_broken_one_leaves_nothing_behind(host, run_operation):
    good = sandbox_source()
    assert run_operation(packages.packages, (), sources=(good,), on=host).succeeded
    assert not run_operation(packages.packages, (), sources=(good,), on=host).changed
    broken = Source("broken", "file:/srv/nowhere", "stable", "main", good.key_url, good.key_fingerprint)
    failed = run_operation(packages.packages, (), sources=(broken,), on=host)
    assert not failed.succeeded and "package source broken does not work and was not added: E:" in failed.said
    assert host.succeeds("ls /etc/apt/sources.list.d | grep ingot") == "ingot-sandbox.sources\n"
    host.succeeds("apt-get update")


BAD_INDEXES = {
    "not as signed": ("sed -i s/ingot-sandbox/somebody/ InRelease", "is not signed"),
    "another list of packages": ("cd main/binary-amd64 && echo >>Packages && gzip -kf Packages", "Hash Sum mismatch"),
    "too old": (
        "printf 'Acquire::%s;\\n' 'Check-Date true' 'Check-Valid-Until true' 'Max-ValidTime 1'"
        " >/etc/apt/apt.conf.d/zz-expired",
        "is expired",
    ),
}


@pytest.mark.cache
@pytest.mark.parametrize("fault", BAD_INDEXES)
def test_an_index_that_is_not_as_signed_or_too_old_is_refused(host, run_operation, fault):
    harm, words = BAD_INDEXES[fault]
    host.succeeds(f"cp -rL /srv/ingot-mirror/apt /srv/bad && cd /srv/bad/dists/stable && {harm}")
    bad = replace(sandbox_source(), name="bad", uris="file:/srv/bad")
    before = host.succeeds("ls /etc/apt/sources.list.d /etc/apt/keyrings")
    failed = run_operation(packages.packages, (), sources=(bad,), on=host)
    host.succeeds("rm -rf /srv/bad /etc/apt/apt.conf.d/zz-expired")
    assert not failed.succeeded and "package source bad does not work and was not added: E:" in failed.said, failed.said
    assert words in failed.said, failed.said
    assert host.succeeds("ls /etc/apt/sources.list.d /etc/apt/keyrings") == before


RESOLVER = """import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.2", 53))
while True:
    asked, whose = server.recvfrom(512)
    end = asked.index(b"\\0", 12) + 5
    a = asked[end - 3] == 1
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\0\\0\\1" if a else b""
    head = asked[:2] + b"\\x81\\x80\\0\\1\\0" + bytes([a]) + b"\\0\\0\\0\\0"
    server.sendto(head + asked[12:end] + answer, whose)
"""


@pytest.fixture
def resolver(host: TestHost) -> Iterator[Callable[[str], None]]:
    """Give the host a resolver of its own: one that says 127.0.0.1 to every question, or none."""
    host.put("/root/resolver.py", RESOLVER)
    host.succeeds("cp /etc/resolv.conf /root/resolv.conf")

    def starts(how: str) -> None:
        if how == "lies":
            host.succeeds("systemd-run --quiet --collect --unit=resolver python3 /root/resolver.py")
            host.wait_until_succeeds("ss -Hlun 'sport = :53' | grep 127.0.0.2")
        host.succeeds("echo nameserver 127.0.0.2 >/etc/resolv.conf")

    yield starts
    host.succeeds("cat /root/resolv.conf >/etc/resolv.conf; systemctl stop resolver || true")


@pytest.mark.parametrize(("how", "words"), [("is down", "resolve host: models.ingot.example"), ("lies", "connect")])
def test_a_name_that_is_not_resolved_or_leads_elsewhere_is_named(
    host, run_operation, resolver, monkeypatch, how, words
):
    resolver(how)
    place = {"kind": "mirror", "uri": "http://models.ingot.example"}
    data = {**model_data(monkeypatch), "sources": {"models": place}, "models_lock": None}
    failed = run_operation(models.cached, on=host, data=data)
    assert not failed.succeeded
    assert re.search(rf"http://models.ingot.example/\S+ could not be read \(curl: .*{words}", failed.said), failed.said


def test_components_that_the_host_has_off_are_added_beside_its_own_description(host, run_operation):
    before = host.succeeds("sha256sum /etc/apt/sources.list")
    host.fails("apt-get -s install nvidia-detect")
    described = AptSources().process(host.succeeds(AptSources().command()).splitlines())
    more = debian_archive.extension(described)
    added = run_operation(packages.packages, ("nvidia-detect",), sources=(more,), on=host)
    assert added.succeeded and added.changed, added.said
    assert host.succeeds("apt-get update 2>&1 | grep -E '^(W|E):' || true") == ""
    assert host.succeeds("sha256sum /etc/apt/sources.list") == before
    assert not run_operation(packages.packages, ("nvidia-detect",), sources=(more,), on=host).changed


def test_a_package_is_removed_only_where_that_was_asked_for(host, run_operation):
    open_module, other = "nvidia-kernel-open-dkms", "nvidia-kernel-dkms"
    assert run_operation(packages.packages, (open_module,), sources=(sandbox_source(),), on=host).succeeded
    refused = run_operation(packages.packages, (other,), on=host)
    assert not refused.succeeded
    assert f"installing {other} would remove {open_module}, which nobody asked for" in refused.said
    assert run_operation(packages.packages, (other,), absent=(open_module,), on=host).succeeded
    host.fails(f"dpkg --status {open_module} | grep 'ok installed'")
    assert not run_operation(packages.packages, (other,), absent=(open_module,), on=host).changed


def test_a_package_that_does_not_exist_is_one_sentence(host, run_operation):
    failed = run_operation(packages.packages, ("no-such-package",), on=host)
    assert not failed.succeeded
    assert "t-operations: apt-get cannot install no-such-package: E: Unable to locate package" in failed.said


def test_a_half_configured_package_is_finished_or_named(host, run_operation):
    host.put("/var/lib/dpkg/info/jq.postinst", "#!/bin/sh\nexit 1\n", mode="0755")
    host.succeeds("sed -i '/^Package: jq$/,/^$/s/^Status: .*/Status: hold ok half-configured/' /var/lib/dpkg/status")
    failed = run_operation(packages.packages, ("jq",), on=host)
    assert not failed.succeeded
    assert "t-operations: dpkg --configure -a failed: dpkg: error processing package jq" in failed.said

    host.succeeds("rm /var/lib/dpkg/info/jq.postinst")
    run = run_operation(packages.packages, ("jq",), on=host)
    assert run.succeeded and "finish configuring jq" in run.said
    assert not run_operation(packages.packages, ("jq",), on=host).changed


def group_data() -> dict[str, Any]:
    directory = Path(__file__).parents[2] / "group_data"
    values: dict[str, Any] = {}
    for name in ("all", "sandbox"):
        values |= runpy.run_path(str(directory / f"{name}.py"))
    return values


def model_data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Values to cache the tiny model, whatever a plan would say: this host has no GPU."""
    values = model_values()
    (variant,) = load_models(values["site_models"])["tiny-qwen3"].variants
    monkeypatch.setattr(planning, "host_plan", lambda: None)
    monkeypatch.setattr(models, "wanted_models", lambda root, _: (models.Wanted("tiny-qwen3", variant, root),))
    return {"cache_root": "/srv/models", "cache_hub_token_file": None, "sources": values["sources"]}


HOLDER = """import fcntl, pathlib, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/run/held").touch()
while not pathlib.Path("/run/released").exists():
    time.sleep(0.1)
"""


def hold_the_package_lock(host: TestHost) -> None:
    """As another package manager would, until it is released."""
    host.put("/root/holder.py", HOLDER)
    host.succeeds("rm -f /run/held /run/released; systemd-run --quiet --collect python3 /root/holder.py")
    host.wait_until_succeeds("test -e /run/held")


def release_the_package_lock(host: TestHost, first: str = "true") -> None:
    """Once an installation runs, which waits for the lock; what is done `first` may cut the connection that does it."""
    host.wait_until_succeeds("systemctl is-active ingot-packages", timeout_s=600)
    host.run(first)
    host.succeeds("touch /run/released")


def sandbox_source(fingerprint: str | None = None) -> Source:
    where = source_values()["sources"]["nvidia_driver"]
    return Source(
        "sandbox", where["uri"], where["suite"], where["component"], where["key_url"],
        fingerprint or where["key_fingerprint"],
    )  # fmt: skip


def test_daemon_json_is_merged_and_dockerd_restarted_once(host, run_operation):
    values = {key: value for key, value in group_data().items() if key.startswith(("docker_", "sources"))}
    host.put("/etc/docker/daemon.json", '{"registry-mirrors": ["https://mirror.example"], "icc": true}')
    first = run_operation(docker.engine, on=host, data=values)
    assert first.succeeded, first.said
    written = json.loads(host.succeeds("cat /etc/docker/daemon.json"))
    assert written["registry-mirrors"] == ["https://mirror.example"] and written["icc"] is False
    assert not run_operation(docker.engine, on=host, data=values).changed

    dockerd = units.Unit("docker", restart_on=(docker.CONFIG,))
    assert run_operation(units.units, dockerd, on=host).succeeded
    assert host.succeeds("docker info --format '{{.LiveRestoreEnabled}}'") == "true\n"
    assert not run_operation(units.units, dockerd, on=host).changed


@operation()
def brought():
    yield from image.brought(("vllm",))


@pytest.fixture
def only_a_proxy(host: TestHost, tmp_path: Path) -> Iterator[proxies.Site]:
    """A host that reaches nothing but this machine, and a site's proxy there that asks for a login and opens TLS."""
    machine = host.succeeds("ip route show default | cut -d' ' -f3").strip()
    # The package's unit allows three starts a minute.
    host.succeeds("mkdir -p /run/systemd/system/docker.service.d && ip route del default")
    host.put("/run/systemd/system/docker.service.d/test.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    try:
        with proxies.site(tmp_path, machine, "user:pass-word-of-the-site") as site:
            yield site
    finally:
        host.succeeds(f"ip route add default via {machine}; rm -rf /srv/models /run/engine.yaml")


@pytest.mark.cache
def test_all_comes_through_the_sites_proxy_alone_and_engines_and_logs_see_none_of_it(
    host, run_operation, tmp_path, monkeypatch, only_a_proxy
):
    site, secret, planned = only_a_proxy, "pass-word", OneHost()
    service = planned.wanted()[0]
    values = {key: value for key, value in group_data().items() if key.startswith(("docker_", "sources"))}
    (tmp_path / "login").write_text("user:pass-word-of-the-site")
    through = {"uri": site.proxy, "login_file": str(tmp_path / "login"), "ca_file": str(site.ca)}
    with_proxy = {**values, "proxy": {**through, "direct": [site.machine]}}
    archive = host.succeeds("apt-get indextargets --format '$(SITE)' | grep -m 1 ^http").strip()
    host.fails(f"curl -sS --max-time 5 {archive}")

    # apt
    fetched = run_operation(packages.packages, ("hello",), on=host, data=with_proxy)
    assert fetched.succeeded and secret not in fetched.everything, fetched.said
    assert re.search(r"GET \S+/hello_\S+\.deb", site.log.read_text())

    # Models: from a hub that only the proxy reaches and opens, and from a mirror that is near and is asked directly.
    monkeypatch.setattr(planning, "host_plan", lambda: None)
    monkeypatch.setattr(models, "wanted_models", lambda root, _: (wanted(root),))
    cached = {"cache_hub_token_file": None, "proxy": with_proxy["proxy"]}
    below = f"/models/tiny/{REVISION}"
    site.files.update({f"{below}/{name}": data for name, data in CONTENT.items()})
    site.files[f"{below}/{MANIFEST}"] = Mirror(dict(CONTENT)).manifest()
    far = {"models": {"kind": "mirror", "uri": f"{site.behind}/models"}}
    got = run_operation(models.cached, on=host, data={**cached, "cache_root": "/srv/models/far", "sources": far})
    assert got.succeeded and secret not in got.everything, got.said
    for mirror in serving(site.machine):
        near = {"models": {"kind": "mirror", "uri": mirror.url}}
        got = run_operation(models.cached, on=host, data={**cached, "cache_root": "/srv/models/near", "sources": near})
        assert got.succeeded and mirror.asked and mirror.url not in site.log.read_text(), got.said
    assert len(host.succeeds(f"ls /srv/models/*/tiny/bf16/{REVISION}/{MARKER}").split()) == 2

    # Docker
    dockerd = units.Unit("docker", restart_on=(docker.CONFIG, *docker_proxy.FILES))
    first = run_operation(docker.engine, on=host, data=with_proxy, diff=True)
    assert first.succeeded and secret not in first.everything, first.said
    assert run_operation(units.units, dockerd, on=host).succeeded
    assert not run_operation(docker.engine, on=host, data=with_proxy).changed
    assert not run_operation(units.units, dockerd, on=host).changed
    digest, answers = proxies.registry("tiny", tmp_path)
    site.files.update(answers)
    registry = site.behind.removeprefix("https://")
    pinned = {"engine_image": f"{registry}/tiny:1", "engine_image_digest": digest, "engine_image_archive": None}
    pulled = run_operation(brought, on=host, data={**with_proxy, **pinned})
    assert pulled.succeeded and secret not in pulled.everything, pulled.said

    # What a container of an engine is given is what its service says, and nothing else.
    mounts = (Mount("/srv/models", "/model"),)
    service = replace(service, image=f"{registry}/tiny@{digest}", devices=(), mounts=mounts)
    host.put("/run/engine.yaml", compose_file([service], of_host(planned)))
    host.succeeds("docker compose --file /run/engine.yaml create 2>&1")
    given = json.loads(host.succeeds(f"docker inspect --format '{{{{json .Config.Env}}}}' ingot-engine-{service.name}"))
    assert sorted(given) == [f"{name}={value}" for name, value in service.env]
    host.succeeds("docker compose --file /run/engine.yaml down")

    assert host.succeeds(f"stat -c '%a %U' {docker_proxy.VARIABLES}") == "600 root\n"
    assert secret not in host.succeeds("grep -rs pass-word /run/ingot /var/log || true")
    assert secret not in host.succeeds("docker info; systemctl show docker; ps axww; journalctl -b -u docker")
    assert run_operation(docker.engine, on=host, data=values).succeeded
    assert run_operation(units.units, dockerd, on=host).succeeded
    host.succeeds(f"! ls -d {' '.join(docker_proxy.FILES)} 2>/dev/null")


def test_a_daemon_json_that_dockerd_refuses_never_replaces_the_old_one(host, run_operation):
    values = {key: value for key, value in group_data().items() if key.startswith(("docker_", "sources"))}
    before = host.succeeds("cat /etc/docker/daemon.json")
    refused = run_operation(docker.engine, on=host, data={**values, "docker_daemon": {"no-such-key": True}})
    assert not refused.succeeded
    assert "directives don't match any configuration option: no-such-key; nothing was changed" in refused.said
    assert host.succeeds("cat /etc/docker/daemon.json") == before


@pytest.mark.cache
def test_a_model_that_does_not_fit_is_refused_before_it_is_fetched(host, run_operation, monkeypatch):
    host.succeeds("mkdir -p /srv/models && mount -t tmpfs -o size=1m none /srv/models")
    refused = run_operation(models.cached, on=host, data=model_data(monkeypatch))
    host.succeeds("umount /srv/models")
    assert not refused.succeeded
    assert "at /srv/models (10 % to spare), 0.0 GB are free there (mounted at /srv/models)" in refused.said


@pytest.mark.cache
def test_a_disk_that_fills_in_the_middle_is_one_sentence_and_the_next_run_goes_on(host, run_operation, monkeypatch):
    data = model_data(monkeypatch)
    host.succeeds("mkdir -p /srv/models && mount -t tmpfs -o size=3m none /srv/models")
    try:
        with monkeypatch.context() as meanwhile:
            # There was room when it was looked at, and somebody else has taken it since.
            meanwhile.setattr(models, "no_room", lambda *_: None)
            failed = run_operation(models.cached, on=host, data=data)
        assert not failed.succeeded
        # Four files are fetched at a time: any of them may be the one that finds no room.
        assert re.search(r"t-operations: no room for \S+: ", failed.said), failed.said
        assert "are free on /srv/models; free some and run again, what is there is kept" in failed.said
        host.succeeds("test -s /srv/models/tiny-qwen3/bf16/*.incomplete/model.safetensors.part")
        host.succeeds("! ls /srv/models/tiny-qwen3/bf16 | grep -v incomplete")
        host.succeeds("mount -o remount,size=64m /srv/models")
        kept = host.succeeds("cat /srv/models/tiny-qwen3/bf16/*.incomplete/model.safetensors.part | wc -c")
        healed = run_operation(models.cached, on=host, data=data)
        assert healed.succeeded and int(kept) > 1_000_000, healed.said
        assert not run_operation(models.cached, on=host, data=data).changed
    finally:
        host.succeeds("umount /srv/models")


@pytest.mark.cache
def test_a_model_is_fetched_from_the_mirror_in_a_unit_of_its_own(host, run_operation, monkeypatch):
    data = model_data(monkeypatch)
    first = run_operation(models.cached, on=host, data=data)
    assert first.succeeded and first.changed, first.said
    host.succeeds(f"cd /srv/models/tiny-qwen3/bf16/* && test -s {MARKER} && test -s config.json")
    assert host.succeeds("find /srv/models ! -user root -o -perm /022 ! -type l") == ""
    assert not run_operation(models.cached, on=host, data=data).changed


@pytest.mark.cache
def test_a_model_is_pushed_by_a_user_who_is_not_root(host, run_operation, monkeypatch):
    data = model_data(monkeypatch)
    here = {"kind": "push", "uri": str(Paths.from_environment().mirror / "models")}
    host.succeeds("rm -r /srv/models/tiny-qwen3")
    pushed = run_operation(models.cached, on=host, data={**data, "sources": {"models": here}})
    assert pushed.succeeded, pushed.said
    assert host.succeeds("find /srv/models ! -user root -o -perm /022 ! -type l") == ""
    assert "incoming" not in host.succeeds("ls /srv/models/tiny-qwen3/bf16")
    assert not run_operation(models.cached, on=host, data=data).changed, "verified, wherever it came from"


@pytest.mark.cache
def test_a_disk_that_is_not_mounted_is_refused_and_the_root_disk_stays_empty(host, run_operation):
    root = {"cache_root": "/mnt/data/models"}
    host.succeeds("mkdir -p /mnt/data && echo 'tmpfs /mnt/data tmpfs size=64m 0 0' >>/etc/fstab")
    refused = run_operation(preflight.preflight, on=host, data=root)
    assert not refused.succeeded
    assert (
        "/mnt/data of /etc/fstab is not mounted, expected it mounted since cache_root (/mnt/data/models)"
        in refused.said
    )
    host.succeeds("mount /mnt/data && mount -o remount,ro /mnt/data")
    said = run_operation(preflight.preflight, on=host, data=root).said
    assert "cache_root (/mnt/data/models) lies on /mnt/data, which is mounted read-only" in said
    host.succeeds("mount -o remount,rw /mnt/data")
    said = run_operation(preflight.preflight, on=host, data={**root, "cache_mount": "/mnt/data"}).said
    assert "cache_root" not in said
    taken = run_operation(preflight.preflight, on=host, data={**root, "cache_mount": "/mnt/data", "cache_images": True})
    assert (
        "is mounted at /var/lib/docker, expected /mnt/data/docker or nothing, since cache_images is set" in taken.said
    )
    # As disk.sh writes it for the daemons: who needs the directory waits for it, and stays away without it.
    waits = "x-systemd.required-by=ssh.service,x-systemd.before=ssh.service"
    host.succeeds(f"echo /mnt/data /mnt/images none bind,nofail,{waits} 0 0 >>/etc/fstab && systemctl daemon-reload")
    needs = host.succeeds("systemctl show ssh.service -p Requires -p After")
    assert needs.count("mnt-images.mount") == 2
    host.succeeds("sed -i '/mnt.images/d' /etc/fstab && systemctl daemon-reload")
    host.succeeds("umount /mnt/data && sed -i '/mnt.data/d' /etc/fstab && test -z \"$(ls -A /mnt/data)\"")
    said = run_operation(preflight.preflight, on=host, data={**root, "cache_mount": "/mnt/data"}).said
    assert "cache_root (/mnt/data/models) lies on /, expected /mnt/data mounted there" in said


@pytest.mark.cache
def test_what_rots_on_the_disk_is_found_by_the_scrub_and_healed_by_the_next_run(host, run_operation, monkeypatch):
    data = model_data(monkeypatch)
    assert run_operation(scrub.scheduled, on=host, data=data).succeeded
    assert not run_operation(scrub.scheduled, on=host, data=data).changed
    assert host.succeeds("systemctl is-active ingot-scrub.timer") == "active\n"
    shard = host.succeeds("ls /srv/models/tiny-qwen3/bf16/*/model.safetensors").strip()
    host.succeeds(
        f"touch -r {shard} /run/when; printf X | dd of={shard} bs=1 seek=5000 conv=notrunc; touch -r /run/when {shard}"
    )
    assert not run_operation(models.cached, on=host, data=data).changed, "size and time tell nothing"
    host.succeeds("systemctl start ingot-scrub")
    assert "\thas sha256 " in host.succeeds(f"grep {shard} {DAMAGE}")
    healed = run_operation(models.cached, on=host, data=data)
    assert healed.succeeded and "model.safetensors has sha256 " in healed.said
    host.succeeds(f"test ! -s {DAMAGE}; systemctl start ingot-scrub; test ! -s {DAMAGE}")
    assert not run_operation(models.cached, on=host, data=data).changed
    off = run_operation(scrub.scheduled, on=host, data={**data, "cache_scrub": None})
    assert off.succeeded and host.fails("systemctl is-enabled ingot-scrub.timer")


@operation()
def goes_on():
    script = "echo begun >>/var/tmp/begun; until [ -e /var/tmp/enough ]; do sleep 0.2; done"
    yield from detached.begun("ingot-travels", script, {"secret": "of root"}, again=True)


@operation()
def waited_for():
    yield from detached.joined("ingot-travels", 60)


@pytest.mark.speed
def test_a_reboot_happens_once_and_the_host_is_back_with_its_units(host, run_operation):
    run_operation(tree.tree, entries(), on=host)
    assert run_operation(goes_on, on=host).succeeded
    assert run_operation(goes_on, on=host).succeeded, "it is at work already"
    kept = "/var/lib/ingot/again/ingot-travels"
    assert host.succeeds(f"stat -c '%a %U' {kept} {kept}/secret").split() == ["700", "root", "600", "root"]
    before = host.boot_id()

    def needed() -> str | None:
        return "the test asks for it" if pyinfra_host.get_fact(BootId) == before else None

    run = run_operation(reboot.reboot, needed, timeout_s=60, on=host)
    assert run.succeeded and "reboot: the test asks for it" in run.said
    assert host.boot_id() != before
    assert not run_operation(reboot.reboot, needed, on=host).changed
    assert not run_operation(units.units, UNIT, on=host).changed, "started at boot with its present files"
    # What was at work is so again, by itself, until a run has joined it.
    host.succeeds("timeout 60 sh -c 'until systemctl is-active -q ingot-travels; do sleep 0.2; done'")
    host.succeeds("(sleep 1; touch /var/tmp/enough) </dev/null >/dev/null 2>&1 &")
    assert run_operation(waited_for, on=host).succeeded
    assert host.succeeds("cat /var/tmp/begun").split() == ["begun"] * 2
    host.fails(f"ls {kept} || ls /etc/systemd/system/ingot-travels-again.service")
    host.fails("ls -l /etc/systemd/system/multi-user.target.wants | grep ingot-travels")


def test_a_host_that_does_not_come_back_is_one_sentence(host, run_operation):
    host.succeeds("mv /usr/bin/systemctl /usr/bin/systemctl.away")
    try:
        run = run_operation(reboot.reboot, lambda: "the test asks for it", timeout_s=3, on=host)
    finally:
        host.succeeds("mv /usr/bin/systemctl.away /usr/bin/systemctl")
    assert not run.succeeded
    assert "(the test asks for it) and the same boot as before was found after 3 s, expected a new boot" in run.said
