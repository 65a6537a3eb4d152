"""A fleet gateway's configuration, and its members': who is trusted, by which name, and what is shut while draining."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_host

from ingot.errors import IngotError
from ingot.facts.gateway import ENGINES, FLEET
from ingot.gateway import fleet
from ingot.gateway.fleet import Member
from ingot.gateway.upstreams import Upstream
from ingot.inventory.host_files import load
from ingot.operations import tree
from ingot.operations.gateway import fronting
from ingot.operations.gateway import site as gateway
from ingot.operations.gateway.pool import engines_conf
from tests.gateway.conftest import ROOT
from tests.gateway.test_site import DEBIAN_13, PRESENTED, SETTINGS, TWO_MODELS, files, lines
from tests.operations.serving.onehost import SMALL
from tests.settings.values import DEFAULTS, Data, settings

pytestmark = pytest.mark.gateway

MEMBERS = (Member("gpu-01", "10.0.0.11", ("org/llama", "qwen")), Member("gpu-02", "10.0.0.12", ("qwen",)))
FRONT = replace(SETTINGS, place=replace(SETTINGS.place, members=MEMBERS))
FRONTED = replace(SETTINGS, place=replace(SETTINGS.place, fronted=True))
#: A gateway host as found: it has no engines of its own.
NO_GPU = replace(DEBIAN_13, upstreams=())


def host(name: str, groups: list[str], serve: list[str] = [], **more: Any) -> Any:  # noqa: B006
    asked = [{"model": model, "context": 1, "concurrency": 1} for model in serve]
    data = Data(**{**DEFAULTS, "site_models": dict.fromkeys(("a", "b", "qwen"), SMALL), "serve": asked, **more})
    return SimpleNamespace(name=name, groups=groups, data=data, connector_data={})


def test_each_model_has_every_host_that_serves_it_at_the_models_own_port() -> None:
    made = {engine.model: [server.address for server in engine.servers] for engine in fleet.engines(MEMBERS, 8443)}
    assert made == {"org/llama": ["10.0.0.11:8443"], "qwen": ["10.0.0.11:8444", "10.0.0.12:8443"]}
    assert fleet.engines([Member("a", "fd00::1", ("m",))], 8443)[0].servers[0].address == "[fd00::1]:8443"


STANDING = (
    Member("gpu-01", "10.0.0.11", ("large",), weight=9),
    Member("gpu-02", "10.0.0.12", ("large", "small"), ("large",)),
    Member("gpu-03", "10.0.0.13", ("gone", "small"), ("gone",)),
)


@pytest.mark.engines
@pytest.mark.parametrize("affinity", [True, False])
def test_another_model_answers_where_no_host_of_the_model_can(affinity: bool) -> None:
    made = engines_conf(fleet.engines(STANDING, 8443), affinity=affinity, front=True)
    pools = {line.split()[1]: body for body in made.split("\nupstream ")[1:] for line in [f"upstream {body}"]}
    gone, large, small = pools.values()
    assert "server 10.0.0.11:8443 max_fails=1 fail_timeout=5s weight=9;" in large
    assert "server 10.0.0.12:8443 max_fails=1 fail_timeout=5s backup;" in large
    # nginx takes no backup where a hash chooses; shares are given out by turns.
    assert "hash" not in large and "least_conn" not in large and ("hash" in small) is affinity
    # Nobody serves it: who stands in for it is all there is.
    assert "10.0.0.13:8443 max_fails=1 fail_timeout=5s;" in gone and "backup" not in gone + small


@pytest.mark.engines
def test_models_that_share_a_name_get_their_shares_over_all_hosts() -> None:
    shares = {"large": 9, "next": 1}
    members = [
        *(Member(f"gpu-0{n}", f"10.0.0.1{n}", ("gpt", "large"), parts={"gpt": {"large": 9}}) for n in range(3)),
        Member("gpu-03", "10.0.0.13", ("gpt", "next"), parts={"gpt": {"next": 1}}),
    ]
    # Three hosts share nine tenths.
    assert list(fleet.weights(members, "gpt").values()) == [3, 3, 3, 1]
    assert set(fleet.weights(members, "large").values()) == {1}
    both = [*members[:1], Member("gpu-09", "10.0.0.19", ("gpt", "large", "next"), weight=2, parts={"gpt": shares})]
    # Of the first model's share one third and two thirds, and all of the other's.
    assert fleet.weights(both, "gpt") == {"gpu-00": 3, "gpu-09": 7}
    made = engines_conf(fleet.engines(members, 8443), affinity=False, front=True)
    assert "server 10.0.0.10:8443 max_fails=1 fail_timeout=5s weight=3;" in made
    assert "server 10.0.0.13:8443 max_fails=1 fail_timeout=5s;" in made


@pytest.mark.engines
def test_who_stands_in_for_a_shared_name_has_no_share_of_it() -> None:
    members = [
        Member("gpu-01", "a", ("gpt", "large"), parts={"gpt": {"large": 9}}),
        Member("gpu-02", "b", ("gpt", "small"), ("gpt",)),
    ]
    assert fleet.weights(members, "gpt") == {"gpu-01": 1, "gpu-02": 1}
    (gpt, *_) = fleet.engines(members, 8443)
    assert [one.backup for one in gpt.servers] == [False, True]


@pytest.mark.engines
def test_a_host_stands_in_for_what_it_does_not_serve() -> None:
    values = {"fallback": {"qwen": ["a", "b"]}, "aliases": {"gpt-4o": "qwen"}, "fleet_weight": 3}
    hosts = [
        host("gpu-01", ["gpu"], ["qwen", "a"], **values),
        host("gpu-02", ["gpu"], ["b", "a"], **values),
        front := host("gw-01", ["gateway"], **values),
    ]
    for one in hosts:
        one.inventory = hosts
    with ctx_host.use(front):
        assert fronting.members() == (
            Member("gpu-01", "gpu-01", ("a", "gpt-4o", "qwen"), (), 3),
            Member("gpu-02", "gpu-02", ("a", "b", "gpt-4o", "qwen"), ("gpt-4o", "qwen"), 3),
        )
    serving = settings(**{**values, "serve": hosts[1].data.serve, "site_models": hosts[1].data.site_models})
    # The first of the list that is here.
    assert (serving.fallbacks_of("a"), serving.fallbacks_of("b")) == (("gpt-4o", "qwen"), ())


def test_the_key_goes_on_only_over_a_connection_that_was_verified() -> None:
    rendered = lines(NO_GPU, FRONT)
    passes = [line for line in rendered if line.startswith("proxy_pass ")]
    assert passes and all(line.startswith("proxy_pass https://engine_") for line in passes)
    assert {
        "proxy_ssl_verify on;",
        "proxy_ssl_trusted_certificate ingot/fleet-ca.pem;",
        "proxy_ssl_name fleet.ingot.internal;",
        "proxy_set_header Authorization $http_authorization;",
        "proxy_set_header X-Api-Key $http_x_api_key;",
        "proxy_set_header Host fleet.ingot.internal;",
    } <= set(rendered)
    assert not [line for line in lines(DEBIAN_13, FRONTED) if "$http_auth" in line or "proxy_pass https://" in line]


def test_no_connection_to_a_member_is_kept() -> None:
    assert not [line for line in files(NO_GPU, FRONT)[ENGINES].splitlines() if line.strip().startswith("keepalive")]


def test_the_front_lists_the_models_of_the_whole_fleet() -> None:
    [answer] = [line for line in lines(NO_GPU, FRONT) if line.startswith('return 200 \'{"object"')]
    assert '"org/llama"' in answer and '"qwen"' in answer


def test_the_front_is_given_the_ca_and_members_are_not() -> None:
    def ca(settings: gateway.Settings) -> tree.Entry:
        made = gateway.entries(NO_GPU, settings, (), PRESENTED, "CA")
        return next(entry for entry in made if entry.path == gateway.FLEET_CA)

    assert ca(FRONT) == tree.File(gateway.FLEET_CA, "CA")
    assert ca(FRONTED) == tree.Absent(gateway.FLEET_CA)


def test_a_member_opens_a_port_per_model_and_shuts_that_of_a_model_that_drains() -> None:
    draining = replace(
        TWO_MODELS, upstreams=(TWO_MODELS.upstreams[0], Upstream("org/llama", ("a:1",), draining=("a:1",)))
    )
    ports = [
        [line for line in files(found, FRONTED)[FLEET].splitlines() if line.startswith("listen")]
        for found in (TWO_MODELS, draining, replace(TWO_MODELS, held_out=True))
    ]
    assert ports == [
        ["listen 8443 ssl;", "listen [::]:8443 ssl;", "listen 8444 ssl;", "listen [::]:8444 ssl;"],
        ["listen 8443 ssl;", "listen [::]:8443 ssl;"],
        [],
    ]
    assert lines(TWO_MODELS, FRONTED).count("include ingot/fleet.conf;") == 2
    assert FLEET not in files(TWO_MODELS)


def test_a_fleet_is_every_host_that_serves_and_a_front_is_none_of_them() -> None:
    front = host("gw-01", ["gateway", "prod"])
    inventory = [
        host("gpu-02", ["gpu"], ["b", "a"], ssh_hostname="10.0.0.12"),
        host("gpu-01", ["gpu"], ["a"]),
        host("idle", ["gpu"]),
        front,
    ]
    for one in inventory:
        one.inventory = inventory
    with ctx_host.use(front):
        assert fronting.is_front() and not fronting.is_fronted()
        assert fronting.members() == (Member("gpu-01", "gpu-01", ("a",)), Member("gpu-02", "10.0.0.12", ("a", "b")))
    with ctx_host.use(inventory[0]):
        assert fronting.is_fronted() and not fronting.is_front()


def test_a_front_that_is_told_to_serve_is_refused() -> None:
    with ctx_host.use(host("gw-01", ["gateway"], ["qwen"])), pytest.raises(IngotError, match="its `serve` names qwen"):
        fronting.members()


def test_a_front_stays_as_it_is_while_a_host_file_is_wrong() -> None:
    front, broken = (
        host("gw-01", ["gateway"]),
        host("gpu-03", ["gpu", "gateway"], inventory_error="gpu-03: unknown key"),
    )
    front.inventory = [front, broken]
    with ctx_host.use(front), pytest.raises(IngotError, match=r"not known while the host file of gpu-03 is wrong"):
        fronting.members()


def test_a_front_stays_as_it_is_while_nobody_knows_what_a_host_serves() -> None:
    def front(**wrong: Any) -> Any:
        named = [("gw-01", {}), ("gpu-01", wrong)]
        inventory = Inventory((named, DEFAULTS), gateway=(["gw-01"], {}), gpu=(["gpu-01"], {}))
        State(inventory, Config())
        return inventory.get_host("gw-01")

    with ctx_host.use(front(serve="qwen")), pytest.raises(IngotError, match="while a value is wrong: gpu-01: serve is"):
        fronting.members()
    with ctx_host.use(front(engine_port="wrong")):
        assert fronting.members() == (), "what else is wrong with it is its own matter"


def test_a_typo_in_the_gateways_file_does_not_take_the_fleet_apart(tmp_path: Path) -> None:
    (tmp_path / "gw-01.yaml").write_text("adress: 10.0.0.5\ngroups: [gateway]\n")
    (tmp_path / "gpu-01.yaml").write_text("address: 10.0.0.11\n")
    groups = load(tmp_path).groups()
    assert {name: sorted(one for one, _ in hosts) for name, hosts in groups.items()} == {
        "gateway": ["@ingot/gw-01"],
        "gpu": ["@ingot/gpu-01", "@ingot/gw-01"],
    }


def test_an_inventory_without_a_gateway_group_has_no_fleet() -> None:
    alone = host("gpu-01", ["gpu"], ["a"])
    alone.inventory = [alone]
    assert not fronting.is_fronted(alone)


def test_a_plan_of_the_inventory_leaves_its_gateways_out(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "gw-01.yaml").write_text("address: 10.0.0.5\ngroups: [gateway]\n")
    serve = "serve:\n- {model: qwen2.5-0.5b-instruct, context: 2048, concurrency: 1}\n"
    (tmp_path / "hosts" / "gpu-01.yaml").write_text(f"address: 10.0.0.11\ngpus: a10gx1\n{serve}")
    (tmp_path / "lab.py").write_text(
        "from pathlib import Path\nfrom ingot.inventory.host_files import load\n"
        'globals().update(load(Path(__file__).parent / "hosts").groups())\n'
    )
    command = [str(Path(sys.executable).parent / "ingot"), "plan", str(tmp_path / "lab.py"), "--offline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "gpu-01" in done.stdout and "gw-01" not in done.stdout + done.stderr
