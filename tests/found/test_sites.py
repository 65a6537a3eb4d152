"""Somebody's nginx on port 443: refused by name, served beside, or put aside until the host leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import keys
from tests.driver.deploying import run
from tests.e2e.deploying import Run
from tests.found.site_states import FILES, HOLDERS, PREPARE, SERVED
from tests.found.states import APT_WORKS
from tests.gateway.conftest import ENGINE, ROOT
from tests.hosts.https import Caller

pytestmark = [pytest.mark.e2e, pytest.mark.gateway, pytest.mark.found, pytest.mark.timeout(900)]

NAME = "found-sites"
DEPARTURE = "tests/found/deploy_departure.py"


def deploy(takeover: str, *over: str) -> Run:
    return run(NAME, roles="tests/found/deploy_sites.py", data=(f"gateway_takeover={takeover}", *over))


@pytest.fixture(scope="module")
def host() -> Iterator[TestHost]:
    """A host with two sites, and an engine that the gateway is told of."""
    try:
        host = Sandbox().up(NAME, profile="rtx4090x1")
        host.succeeds(PREPARE, timeout_s=600)
        ip, _, port = ENGINE.partition(":")
        host.put("/root/engine.py", (ROOT / "tests/gateway/standin_engine.py").read_text())
        engine = f"systemd-run --unit=engine python3 /root/engine.py {ip} {port} /run/engine.jsonl"
        host.succeeds(f"ip address replace {ip}/32 dev lo && {engine}")
        yield host
    finally:
        Sandbox().down(NAME)


@pytest.fixture(scope="module")
def before(host: TestHost) -> tuple[str, str]:
    return host.succeeds(SERVED), host.succeeds(FILES)


@pytest.fixture(scope="module")
def caller(host: TestHost) -> Caller:
    key = keys.create(Sandbox().secrets_dir, "found-sites")
    return Caller(host.address, NAME, Sandbox().secrets_dir / "ca.crt", key)


def told(host: TestHost) -> None:
    upstreams = [{"model": "stand-in", "replicas": [ENGINE]}]
    host.succeeds("mkdir -p /var/lib/ingot")
    host.put("/var/lib/ingot/upstreams.json", json.dumps(upstreams))


def leave(host: TestHost, before: tuple[str, str]) -> None:
    left = run(NAME, roles=DEPARTURE)
    assert left.status == 0, left.output[-3000:]
    assert (host.succeeds(SERVED), host.succeeds(FILES)) == before
    host.succeeds(f"nginx -t && systemctl is-active nginx && ! test -e /var/lib/ingot && {APT_WORKS}", timeout_s=600)


def test_by_default_every_site_is_named_and_nothing_changes(host: TestHost, before: tuple[str, str]) -> None:
    refused = deploy("refuse")
    assert refused.status != 0 and "Traceback" not in refused.output
    for names, file in (
        ("shop.example, www.shop.example", "/etc/nginx/conf.d/shop.conf"),
        ("wiki.example", "/etc/nginx/sites-enabled/wiki"),
    ):
        said = [line for line in refused.said_of(NAME) if f"nginx serves {names} on port 443 ({file})" in line]
        assert len(said) == 1 and "set gateway_takeover" in said[0], refused.output[-3000:]
    assert (host.succeeds(SERVED), host.succeeds(FILES)) == before


def test_beside_them_both_serve(host: TestHost, before: tuple[str, str], caller: Caller) -> None:
    told(host)
    done = deploy("beside")
    assert done.status == 0, done.output[-5000:]
    assert (host.succeeds(SERVED), host.succeeds(FILES)) == before
    answer = caller.get("/v1/models")
    assert answer.status == 200 and "X-Shop" not in answer.headers
    again = deploy("beside")
    assert (again.status, again.changed(NAME)) == (0, []), again.output[-3000:]
    host.succeeds(APT_WORKS, timeout_s=600)


def test_a_name_that_a_site_has_already_is_refused(host: TestHost, before: tuple[str, str]) -> None:
    refused = deploy("beside", 'gateway_names=["Wiki.example"]')
    assert refused.status != 0
    assert "expected wiki.example to be the gateway's" in refused.output, refused.output[-3000:]
    leave(host, before)


def test_what_is_replaced_comes_back(host: TestHost, before: tuple[str, str], caller: Caller) -> None:
    told(host)
    done = deploy("replace")
    assert done.status == 0, done.output[-5000:]
    assert caller.get("/v1/models").status == 200
    assert "the shop" not in host.succeeds(SERVED)
    again = deploy("replace")
    assert (again.status, again.changed(NAME)) == (0, []), again.output[-3000:]
    leave(host, before)


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_is_no_nginx_of_the_host_is_named(host: TestHost, before: tuple[str, str], holder: str) -> None:
    start, says = HOLDERS[holder]
    host.succeeds(f"systemctl stop nginx; {start}")
    host.wait_until_succeeds("ss -Hltn 'sport = :443' | grep -q .")
    refused = deploy("replace")
    assert refused.status != 0 and says in refused.output, refused.output[-3000:]
    host.succeeds("systemctl stop holder; systemctl start nginx")
    assert host.succeeds(SERVED) == before[0]
