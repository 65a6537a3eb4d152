"""nginx' configuration: rendered whole, for the nginx and OpenSSL that a host was found to have."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import GatewayHost, parse_gateway_host
from ingot.gateway.errors import ERRORS
from ingot.gateway.fleet import Place
from ingot.gateway.routes import endpoints
from ingot.gateway.teams import Team
from ingot.gateway.upstreams import Upstream, parse_upstreams
from ingot.operations import tree
from ingot.operations.gateway import site as gateway
from ingot.operations.gateway.teams import Teams
from ingot.secrets import keys

pytestmark = pytest.mark.gateway

EXPECTED = Path(__file__).parent / "expected"
SETTINGS = gateway.Settings(
    names=("gpu-01", "10.0.0.11"),
    secrets=Path("/nonexistent"),
    ca_scope=(),
    read_timeout_s=3600,
    teams=Teams(Team("", 600, 60, 16, 32 << 20), {}),
    accounting_days=92,
    endpoints=endpoints(()),
    affinity=False,
    place=Place(members=None, fronted=False, name="fleet.ingot.internal", first_port=8443),
)
#: The internal CA's certificate, as every host has it unless asked otherwise.
PRESENTED = gateway.Presented(gateway.CERTIFICATE, gateway.KEY, (), http_01=False)
#: Debian 13 as found, two replicas of one model.
DEBIAN_13 = GatewayHost(
    nginx=(1, 26, 3),
    njs=True,
    openssl=(3, 5, 7),
    ipv6=True,
    request_pem="",
    certificate_pem="",
    upstreams=(Upstream("qwen", ("172.31.213.10:8000", "172.31.213.11:8000")),),
    upstreams_fault=None,
)
#: `nginx -V` of Debian 12's 1.22.1-9+deb12u11, without its configure line.
BUILD_DEBIAN_12 = """nginx version: nginx/1.22.1
built with OpenSSL 3.0.22 25 Aug 2026 (running with OpenSSL 3.0.19 27 Jan 2026)
TLS SNI support enabled"""
#: `apt-cache policy nginx libnginx-mod-http-js` of Debian 12, nothing installed.
POLICY_DEBIAN_12 = """nginx:
  Installed: (none)
  Candidate: 1.22.1-9+deb12u11
  Version table:
     1.22.1-9+deb12u11 500
        500 http://deb.example/debian-security bookworm-security/main amd64 Packages
libnginx-mod-http-js:
  Installed: (none)
  Candidate: 0.7.9-2
  Version table:
     0.7.9-2 500
        500 http://deb.example/debian bookworm/main amd64 Packages"""
#: The same question on Ubuntu 22.04, which has no package of that name.
POLICY_UBUNTU_2204 = """nginx:
  Installed: (none)
  Candidate: 1.18.0-6ubuntu14.7
  Version table:
     1.18.0-6ubuntu14.7 500
        500 http://deb.example/ubuntu jammy-updates/main amd64 Packages"""


def answers(**given: str) -> dict[str, str]:
    names = ("build", "module", "policy", "release", "packages", "inet_six", "request", "certificate", "acme")
    names += ("acme_server", "bodies", "upstreams", "acceptance")
    return {name: given.get(name, "") for name in names}


def files(found: GatewayHost, settings: gateway.Settings = SETTINGS) -> dict[str, str]:
    """Every file of nginx by its path, as `tree` installs it, for a host with one key; the digest made equal."""
    made = gateway.entries(found, settings, (keys.Key("research", "a" * 64, "2026-11-22"),), PRESENTED)
    texts = {entry.path: str(entry.content) for entry in made if isinstance(entry, tree.File)}
    return {path: re.sub(r"return 200 '[0-9a-f]{16}\$", "return 200 'digest$", text) for path, text in texts.items()}


def lines(found: GatewayHost, settings: gateway.Settings = SETTINGS) -> list[str]:
    return [line.strip() for text in files(found, settings).values() for line in text.splitlines()]


@pytest.mark.parametrize("name", sorted(path.name for path in EXPECTED.iterdir()))
def test_the_whole_configuration_on_debian_13(name: str) -> None:
    [text] = [text for path, text in files(DEBIAN_13).items() if path.endswith(f"/{name}")]
    assert re.sub(r"return 200 '[0-9a-f]{16}\$", "return 200 '0123456789abcdef$", text) == (EXPECTED / name).read_text()


def test_what_an_older_nginx_and_openssl_are_given_instead() -> None:
    older = replace(DEBIAN_13, nginx=(1, 22, 1), openssl=(3, 0, 19))
    asked = replace(SETTINGS, http2=True)
    new, old = lines(DEBIAN_13, asked), lines(older, asked)
    assert [line for line in new if line not in old] == [
        "listen 443 ssl default_server;",
        "listen [::]:443 ssl default_server;",
        "http2 on;",
        "listen 443 ssl;",
        "listen [::]:443 ssl;",
        "http2 on;",
        "ssl_ecdh_curve ?X25519MLKEM768:X25519:prime256v1:secp384r1;",
    ]
    assert [line for line in old if line not in new] == [
        "listen 443 ssl http2 default_server;",
        "listen [::]:443 ssl http2 default_server;",
        "listen 443 ssl http2;",
        "listen [::]:443 ssl http2;",
        "ssl_ecdh_curve X25519:prime256v1:secp384r1;",
        "ssl_session_tickets off;",
    ]


@pytest.mark.parametrize("nginx", [(1, 22, 1), (1, 26, 3), (1, 30, 4)])
def test_http_2_is_spoken_only_where_asked_for(nginx: tuple[int, ...]) -> None:
    found = replace(DEBIAN_13, nginx=nginx)
    assert not [line for line in lines(found) if line.startswith(("listen", "http2")) and "http2" in line]
    assert [line for line in lines(found, replace(SETTINGS, http2=True)) if "http2" in line]


def test_a_worker_that_goes_waits_for_requests_on_their_way_where_nginx_can() -> None:
    waits = "keepalive_min_timeout 2s;"
    assert waits not in lines(DEBIAN_13) and waits in lines(replace(DEBIAN_13, nginx=(1, 30, 4)))


def test_proxies_in_front_are_believed_from_their_networks_alone() -> None:
    said = lines(DEBIAN_13, replace(SETTINGS, behind=("10.0.5.0/24", "fd00::/8")))
    assert {"set_real_ip_from 10.0.5.0/24;", "set_real_ip_from fd00::/8;", "fd00::/8 1;"} <= set(said)
    assert "real_ip_header X-Forwarded-For;" in said and '"HTTP/1.0 " 1;' in said
    assert not [line for line in lines(DEBIAN_13) if "real_ip" in line]
    by_protocol = lines(DEBIAN_13, replace(SETTINGS, behind=("10.0.5.0/24",), proxy_port=8442))
    assert "real_ip_header proxy_protocol;" in by_protocol
    assert [line for line in by_protocol if "proxy_protocol" in line and "listen" in line] == [
        "listen 8442 ssl proxy_protocol default_server;",
        "listen [::]:8442 ssl proxy_protocol default_server;",
        "listen 8442 ssl proxy_protocol;",
        "listen [::]:8442 ssl proxy_protocol;",
    ]


def test_what_only_the_host_is_told_is_not_told_to_who_a_proxy_says_it_is() -> None:
    """X-Forwarded-For: 127.0.0.1 must open nothing."""
    assert "if ($realip_remote_addr != 127.0.0.1) { return 404; }" in lines(DEBIAN_13)


def test_the_ca_is_served_where_it_signed_the_certificate_and_no_other_file_is() -> None:
    without = files(DEBIAN_13)
    made = gateway.entries(DEBIAN_13, SETTINGS, (), replace(PRESENTED, ca_pem="-----BEGIN CERTIFICATE-----"))
    served = {entry.path: str(entry.content) for entry in made if isinstance(entry, tree.File)}
    assert served[f"{gateway.PUBLIC}/ca.crt"].startswith("-----BEGIN CERTIFICATE")
    assert "location = /ca.crt {" in served[gateway.CONFIGURATION]
    assert "location = /ca.crt {" not in without[gateway.CONFIGURATION] and f"{gateway.PUBLIC}/ca.crt" not in without
    directories = {line for text in served.values() for line in text.splitlines() if line.strip().startswith("root ")}
    assert {line.strip() for line in directories} == {f"root {gateway.PUBLIC};"}
    assert sorted(path for path in served if path.startswith(gateway.PUBLIC)) == [
        f"{gateway.PUBLIC}/ca.crt",
        f"{gateway.PUBLIC}/callers.html",
    ]


def test_browsers_are_answered_for_the_origins_that_are_named() -> None:
    said = lines(DEBIAN_13, replace(SETTINGS, cors_origins=("https://chat.example.org",)))
    assert '"OPTIONS https://chat.example.org" 1;' in said and "if ($cors_preflight) { return 204; }" in said
    assert not [line for line in lines(DEBIAN_13) if "cors" in line or "Access-Control" in line]


def test_without_ipv6_nothing_listens_there() -> None:
    assert not [line for line in lines(replace(DEBIAN_13, ipv6=False)) if "[::]" in line]


def test_an_ipv6_address_is_named_as_callers_send_it() -> None:
    names = ("gpu-01", "fd00::11")
    gateway.check(replace(SETTINGS, names=names))
    assert 'server_name gpu-01 [fd00::11] "";' in lines(DEBIAN_13, replace(SETTINGS, names=names))


@pytest.mark.parametrize("name", ["a;b", "gpu 1", "", "*.example", "größe.example", "-a", "a" * 254, "$host"])
def test_a_name_that_no_certificate_carries_is_refused(name: str) -> None:
    with pytest.raises(IngotError, match="cannot be a name in a certificate"):
        gateway.check(replace(SETTINGS, names=("gpu-01", name)))


def test_without_an_engine_every_route_says_503_and_no_address_is_named() -> None:
    rendered = lines(replace(DEBIAN_13, upstreams=()))
    # The six routes, and two of health.
    assert rendered.count("return 503;") == 8
    assert not [line for line in rendered if line.startswith(("upstream", "proxy_pass http", "server 1"))]


def test_embeddings_are_a_route_only_where_asked_for() -> None:
    assert "location = /v1/embeddings {" not in lines(DEBIAN_13)
    assert "location = /v1/embeddings {" in lines(DEBIAN_13, replace(SETTINGS, endpoints=endpoints(["embeddings"])))


def test_no_route_is_given_by_prefix_or_pattern() -> None:
    locations = [line for line in lines(DEBIAN_13) if line.startswith("location")]
    others = [line for line in locations if not line.startswith(("location = /", "location @error_"))]
    assert others == ["location /v1/models/ {", "location / {", "location / {"]
    # Both only refuse.
    text = files(DEBIAN_13)[gateway.CONFIGURATION]
    for one in others:
        assert "proxy_pass" not in text.split(one)[1].split("\n        }")[0]


def test_every_error_is_json_with_a_request_id_in_the_shape_that_its_caller_knows() -> None:
    for error in ERRORS:
        assert not set("'\\\"") & set(error.message), "it is written between quotes"
        openai, anthropic = (json.loads(body) for body in error.bodies)
        assert set(openai["error"]) == {"message", "type", "param", "code", "request_id"}
        assert openai["error"]["request_id"] == anthropic["request_id"] == "$request_id" and openai["error"]["message"]
        assert anthropic["type"] == "error" and anthropic["error"]["message"] == openai["error"]["message"]


def test_errors_have_the_types_by_which_sdks_raise() -> None:
    types = {error.status: tuple(json.loads(body)["error"]["type"] for body in error.bodies) for error in ERRORS}
    assert types[401] == ("authentication_error", "authentication_error")
    assert types[403] == ("permission_error", "permission_error")
    assert types[404] == ("invalid_request_error", "not_found_error")
    assert types[413] == ("invalid_request_error", "request_too_large")
    assert types[429] == ("rate_limit_error", "rate_limit_error")
    assert types[503] == ("server_error", "overloaded_error")


def test_every_status_that_nginx_can_give_has_an_answer_of_ours_in_every_server() -> None:
    """Its own are in HTML. Source: the statuses with a page in nginx' ngx_http_special_response.c."""
    told = {code for error in ERRORS for code in error.codes}
    own = {400, 401, 403, 404, 405, 411, 413, 414, 421, 429, 494, 497, 500, 501, 502, 503, 504, 505}
    assert own <= told
    # 402, 406, 408, 409, 410, 412, 415, 416, 495, 496, 507: no module that is used here gives them with a body.
    conf = files(DEBIAN_13)[gateway.CONFIGURATION]
    assert conf.count("include ingot/errors.conf;") == conf.count("    server {") == 2


def test_errors_that_pass_say_when_to_try_again() -> None:
    retry = {error.status for error in ERRORS if error.retry_s}
    assert retry == {429, 502, 503, 504}
    text = files(DEBIAN_13)[gateway.ERRORS_CONF]
    assert text.count("add_header Retry-After $retry_after always;") == len([one for one in ERRORS if one.retry_s])


def test_the_configuration_names_everything_that_nginx_reads() -> None:
    def named(found: GatewayHost = DEBIAN_13, key: str = "a", presented: gateway.Presented = PRESENTED) -> str:
        made = gateway.entries(found, SETTINGS, (keys.Key("research", key * 64, "2026"),), presented)
        [text] = [str(entry.content) for entry in made if isinstance(entry, tree.File) and "nginx.conf" in entry.path]
        return re.findall(r"return 200 '([0-9a-f]{16})\$", text)[0]

    assert named() == named()
    assert (
        len({named(), named(key="b"), named(presented=replace(PRESENTED, key="other.pem")), named(found=TWO_MODELS)})
        == 4
    )


def test_an_installed_nginx_is_read_with_the_library_it_runs_with() -> None:
    found = parse_gateway_host(answers(build=BUILD_DEBIAN_12, module="/usr/lib/nginx/modules/x.so", inet_six="00"))
    assert (found.nginx, found.openssl, found.njs, found.ipv6) == ((1, 22, 1), (3, 0, 19), True, True)


def test_without_nginx_the_package_sources_are_read() -> None:
    found = parse_gateway_host(answers(policy=POLICY_DEBIAN_12))
    assert (found.nginx, found.openssl, found.njs) == ((1, 22, 1), None, True)
    assert found.packages is None


def test_the_engines_list_is_read() -> None:
    text = '[{"model": "qwen", "replicas": ["172.31.213.10:8000"]}, {"model": "down", "replicas": []}]'
    assert parse_upstreams(text) == ((Upstream("qwen", ("172.31.213.10:8000",)),), None)
    assert parse_upstreams("") == ((), None)


@pytest.mark.parametrize("text", ["{", "3", '[{"model": "qwen"}]', "[3]", '[{"model": "a\';", "replicas": ["x:1"]}]'])
def test_a_damaged_engines_list_is_refused_not_served(text: str) -> None:
    found = parse_gateway_host(answers(build=BUILD_DEBIAN_12, module="x", upstreams=text))
    assert found.upstreams == ()
    assert "the list of engines is damaged" in (gateway.why_not("gpu-01", found) or "")


TWO_MODELS = replace(
    DEBIAN_13,
    upstreams=(Upstream("qwen", ("172.31.213.10:8000",)), Upstream("org/llama", ("172.31.213.11:8000",))),
)


def test_several_models_are_chosen_between_by_a_script_that_one_model_does_without() -> None:
    paths = {entry.path: entry for entry in gateway.entries(TWO_MODELS, SETTINGS, (), PRESENTED)}
    script = paths[gateway.MODEL_SCRIPT]
    assert isinstance(script, tree.File)
    assert 'const engines = {"qwen": "engine_0", "org/llama": "engine_1"};' in str(script.content)
    assert tree.Absent(gateway.MODEL_SCRIPT) in gateway.entries(DEBIAN_13, SETTINGS, (), PRESENTED)


def test_several_models_are_listed_by_nginx_itself() -> None:
    [answer] = [line for line in lines(TWO_MODELS) if line.startswith('return 200 \'{"object"')]
    listed = json.loads(answer.partition("'")[2].rpartition("'")[0])
    assert [model["id"] for model in listed["data"]] == ["qwen", "org/llama"]


def test_several_engines_are_given_the_path_by_us_not_by_the_caller() -> None:
    passes = [line for line in lines(TWO_MODELS) if line.startswith("proxy_pass http")]
    assert passes == [
        f"proxy_pass http://engine_{engine}/v1/{path};"
        for path in ("chat/completions", "completions", "messages", "messages/count_tokens", "responses")
        for engine in (0, 1)
    ]
