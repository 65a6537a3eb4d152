"""The filter's files and container: what is rendered, and what is started or ended for what is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ingot.facts.filter import FilterContainer, FilterHost, parse_filter_host
from ingot.gateway.routes import endpoints
from ingot.gateway.upstreams import Upstream
from ingot.operations import tree
from ingot.operations.gateway import filter as operations
from ingot.operations.gateway import filter_site, site
from tests.gateway.checkers import gixy
from tests.gateway.filter_process import team
from tests.gateway.test_site import DEBIAN_13, PRESENTED, SETTINGS
from tests.gateway.test_tls import KNOWN, NO_HSTS

pytestmark = pytest.mark.gateway

TEAMS = (team("sales", redact=("all",)), team("lab", tokens_per_minute=1000), team("plain"))


def wanted(**asked: Any) -> filter_site.Filter:
    made = filter_site.wanted((*TEAMS, *([team("more", **asked)] if asked else [])), {}, {}, 1024, "sha256:0", 3600)
    assert made
    return made


def files(one: filter_site.Filter | None, *upstreams: Upstream, groups: tuple[str, ...] = ()) -> dict[str, str]:
    found = replace(DEBIAN_13, upstreams=upstreams or DEBIAN_13.upstreams)
    settings = replace(SETTINGS, filter=one, endpoints=endpoints(groups))
    made = site.entries(found, settings, [], PRESENTED)
    return {entry.path: str(entry.content) for entry in made if isinstance(entry, tree.File)}


def test_only_the_teams_that_asked_pass_the_filter() -> None:
    conf = files(wanted())[filter_site.NGINX]
    assert "sales 1;" in conf and "lab 1;" in conf and "plain" not in conf


def test_counts_that_outlive_the_process_have_a_directory_of_their_own() -> None:
    made = filter_site.wanted((team("lab", tokens_per_month=10),), {}, {}, 1024, "sha256:0", 3600)
    assert made is not None and f"source: {filter_site.COUNTS}, target: /counts" in made.compose
    assert tree.Dir(filter_site.COUNTS, user="2000", mode="0700") in filter_site.entries(made)
    usual = filter_site.wanted((team("lab", tokens_per_minute=10),), {}, {}, 1024, "sha256:0", 3600)
    assert usual is not None and "/counts" not in usual.compose


def test_without_such_a_team_nothing_of_it_is_there() -> None:
    assert filter_site.wanted((team("plain"),), {}, {}, 1024, "sha256:0", 3600) is None
    made = files(None)
    assert not [path for path in made if "filter" in path]
    assert "filtered" not in made["/etc/nginx/nginx.conf"] and "_or_filter" not in made["/etc/nginx/nginx.conf"]


def test_every_way_to_an_engine_asks_whether_the_team_is_filtered() -> None:
    two = (Upstream("a", ("172.31.213.10:8000",)), Upstream("b", ("172.31.213.11:8000",)))
    for upstreams in ((), two):
        conf = files(wanted(), *upstreams, groups=("realtime", "audio"))["/etc/nginx/nginx.conf"]
        ways = [line.strip() for line in conf.splitlines() if "proxy_pass http" in line]
        unguarded = [way for way in ways if "_or_filter/" not in way]
        assert unguarded == ["proxy_pass http://$asked_engine/v1/realtime;"]
        assert "if ($filtered) { return 404; }" in conf.split("location = /v1/realtime {")[1].split("}\n        }")[0]


def test_the_filters_way_back_knows_several_models() -> None:
    two = (Upstream("a", ("172.31.213.10:8000",)), Upstream("b", ("172.31.213.11:8000",)))
    conf = files(wanted(), *two)[filter_site.NGINX].split("listen unix")[1]
    assert conf.count("js_content by_model.choose;") == 5
    assert "proxy_pass http://engine_1/v1/completions;" in conf and "_or_filter" not in conf


def test_the_container_may_do_nothing_but_use_its_sockets() -> None:
    one = wanted()
    (service,) = yaml.safe_load(one.compose)["services"].values()
    assert service["network_mode"] == "none" and service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"] and service["restart"] == "always"
    assert [(mount["source"], mount.get("read_only", False)) for mount in service["volumes"]] == [
        ("/etc/ingot/filter", True),
        ("/run/ingot/filter", False),
    ]
    assert service["labels"]["ingot.digest"] == service["command"][-1] == one.digest


def test_another_rule_or_image_is_another_filter() -> None:
    digests = {wanted().digest, wanted(redact=("mobile",)).digest, replace(wanted(), image="sha256:1").digest}
    assert len(digests) == 3 and wanted().digest == wanted().digest


def test_what_a_host_has_of_it_is_read() -> None:
    answers = {
        "filter_docker": "/usr/bin/docker",
        "filter_sockets": "there",
        "filter_containers": "/ingot-filter-a running always a\n/ingot-filter-b exited no b",
        "filter_health": '{"digest":"a","running":0}',
    }
    assert parse_filter_host(answers) == FilterHost(
        docker=True,
        sockets=True,
        containers=(
            FilterContainer("ingot-filter-a", "a", running=True, drains=False),
            FilterContainer("ingot-filter-b", "b", running=False, drains=True),
        ),
        serving="a",
    )
    without = {**dict.fromkeys(answers, ""), "filter_containers": "sh: 1: docker: not found"}
    assert parse_filter_host(without) == FilterHost()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run one of the operation's steps as on a host, and give its commands."""
    monkeypatch.setattr(operations, "host", SimpleNamespace(name="gpu-01"))
    monkeypatch.setattr(operations, "state", SimpleNamespace(is_executing=True))
    monkeypatch.setattr(operations.changes, "announce", list)
    return lambda generator: [str(command) for command in generator]


def container(digest: str, **changed: Any) -> FilterContainer:
    return replace(FilterContainer(f"ingot-filter-{digest}", digest, running=True, drains=False), **changed)


def test_a_filter_that_serves_as_wanted_is_left_alone(commands: Any) -> None:
    one = wanted()
    ending = container("old", drains=True)
    found = FilterHost(docker=True, sockets=True, containers=(container(one.digest), ending), serving=one.digest)
    assert commands(operations.sockets(found, one)) == []
    assert commands(operations.start(found, one)) == []
    assert commands(operations.remove(found, one, 60)) == []


def test_another_one_is_started_before_the_old_one_is_told_to_end(commands: Any) -> None:
    one = wanted()
    found = FilterHost(docker=True, sockets=True, containers=(container("old"),), serving="old")
    start, end = commands(operations.start(found, one))
    assert "docker compose" in start and one.digest in start
    assert "docker update --restart no ingot-filter-old" in end and "docker stop --time 3600 ingot-filter-old" in end


def test_where_no_team_needs_it_it_ends(commands: Any) -> None:
    found = FilterHost(docker=True, containers=(container("old"), container("older", running=False, drains=True)))
    assert commands(operations.start(found, None)) == []
    first, second = commands(operations.remove(found, None, 60))
    assert "docker stop --time 60 ingot-filter-old" in first and second.startswith("docker rm --force")


def test_a_host_without_docker_cannot_filter(commands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(operations.refuse, "refuse", lambda sentence: said.append(sentence) or "refused")
    assert commands(operations.start(FilterHost(), wanted())) == ["refused"]
    assert said[0].startswith("gpu-01: sales, lab asked for redaction")


def test_gixy_finds_nothing_more_where_teams_are_filtered(tmp_path: Path) -> None:
    two = (Upstream("a", ("172.31.213.10:8000",)), Upstream("b", ("172.31.213.11:8000",)))
    texts = {path: text for path, text in files(wanted(), *two).items() if path.startswith("/etc/nginx/")}
    # It takes a group of servers in a variable for a name that must be looked up.
    assert gixy(tmp_path, texts) == KNOWN | NO_HSTS | {("missing_resolver", "MEDIUM", "nginx.conf")}
