"""The TLS profile: right for each nginx and OpenSSL that Ingot meets, as a table; then what checkers say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingot.facts.gateway import GatewayHost
from ingot.gateway import tls
from ingot.gateway.tls import Version
from ingot.operations.gateway import acme
from ingot.operations.gateway.site import Settings
from tests.gateway.checkers import gixy
from tests.gateway.test_site import DEBIAN_13, SETTINGS, TWO_MODELS, files, lines

pytestmark = pytest.mark.gateway

OLD, CLASSIC, HYBRID = (3, 0, 2), "X25519:prime256v1:secp384r1", "?X25519MLKEM768:X25519:prime256v1:secp384r1"
#: nginx, OpenSSL, and: `listen`, `http2 on`, tickets off, groups, max_headers.
VERSIONS: dict[tuple[Version, Version], tuple[str, bool, bool, str, int | None]] = {
    ((1, 22, 1), (3, 0, 19)): ("443 ssl http2", False, True, CLASSIC, None),  # Debian 12
    ((1, 23, 1), OLD): ("443 ssl http2", False, True, CLASSIC, None),
    ((1, 23, 2), OLD): ("443 ssl http2", False, False, CLASSIC, None),  # rotates ticket keys
    ((1, 24, 0), (3, 0, 13)): ("443 ssl http2", False, False, CLASSIC, None),  # Ubuntu 24.04
    ((1, 25, 0), (3, 4, 1)): ("443 ssl http2", False, False, CLASSIC, None),
    ((1, 25, 1), (3, 5, 0)): ("443 ssl", True, False, HYBRID, None),  # `http2 on`; the post-quantum group
    ((1, 26, 3), (3, 5, 7)): ("443 ssl", True, False, HYBRID, None),  # Debian 13
    ((1, 28, 1), (3, 5, 5)): ("443 ssl", True, False, HYBRID, None),
    ((1, 29, 7), (3, 5, 5)): ("443 ssl", True, False, HYBRID, None),
    ((1, 29, 8), OLD): ("443 ssl", True, False, CLASSIC, 100),  # `max_headers`
    ((1, 30, 4), OLD): ("443 ssl", True, False, CLASSIC, 100),  # nginx.org on Ubuntu 22.04
    ((1, 30, 4), (3, 6, 0)): ("443 ssl", True, False, HYBRID, 100),
}


@pytest.mark.parametrize(("nginx", "openssl"), VERSIONS, ids=str)
def test_each_nginx_and_openssl_is_told_what_it_knows(nginx: Version, openssl: Version) -> None:
    listen, http2, tickets_off, groups, max_headers = VERSIONS[nginx, openssl]
    rendered = lines(replace(DEBIAN_13, nginx=nginx, openssl=openssl), replace(SETTINGS, http2=True))
    assert f"listen {listen} default_server;" in rendered
    assert ("http2 on;" in rendered) == http2
    assert ("ssl_session_tickets off;" in rendered) == tickets_off
    assert f"ssl_ecdh_curve {groups};" in rendered
    assert [line for line in rendered if line.startswith("max_headers")] == (
        [f"max_headers {max_headers};"] if max_headers else []
    )


def test_defaults_that_nginx_changed_in_1_29_7_are_written_out() -> None:
    rendered = lines(DEBIAN_13)
    # Keep-alive to engines, whichever way the default of the version points; and protocols, changed in 1.27.3.
    for line in ("proxy_http_version 1.1;", 'proxy_set_header Connection "";', "ssl_protocols TLSv1.2 TLSv1.3;"):
        assert line in rendered
    assert [line for line in rendered if line.startswith("keepalive ")] == ["keepalive 32;"]


def test_before_nginx_is_there_nothing_is_assumed_of_openssl() -> None:
    assert tls.profile((1, 26, 3), None).curves == tls.CURVES


def test_hsts_is_said_with_every_answer_where_asked_and_never_else() -> None:
    header = 'add_header Strict-Transport-Security "max-age=63072000" always;'
    assert not [line for line in lines(DEBIAN_13) if "Strict-Transport-Security" in line]
    rendered = lines(DEBIAN_13, replace(SETTINGS, hsts_max_age_s=63072000))
    # nginx inherits add_header only where a location has none of its own: each that has some says it again.
    assert rendered.count(header) == len([line for line in rendered if "nosniff" in line]) > 1


TWO_YEARS = replace(SETTINGS, hsts_max_age_s=63072000)
#: docs/security.md says why these findings stay.
KNOWN = {("http_splitting", "HIGH", "nginx.conf"), ("http_splitting", "HIGH", "ingot/errors.conf")}
NO_HSTS = {("hsts_header", "MEDIUM", "nginx.conf")}


@pytest.mark.parametrize(
    ("found", "settings", "findings"),
    [
        (DEBIAN_13, SETTINGS, KNOWN | NO_HSTS),
        (DEBIAN_13, TWO_YEARS, KNOWN),
        (TWO_MODELS, TWO_YEARS, KNOWN),
        (replace(DEBIAN_13, upstreams=()), TWO_YEARS, KNOWN),
        (replace(DEBIAN_13, nginx=(1, 22, 1), openssl=(3, 0, 19)), TWO_YEARS, KNOWN),
        (replace(DEBIAN_13, nginx=(1, 30, 4)), TWO_YEARS, KNOWN),
    ],
    ids=["as deployed", "with HSTS", "two models", "no engine", "nginx 1.22", "nginx 1.30"],
)
def test_gixy_finds_nothing_that_is_not_known(
    tmp_path: Path, found: GatewayHost, settings: Settings, findings: set[tuple[str, str, str]]
) -> None:
    assert gixy(tmp_path, files(found, settings)) == findings


def test_gixy_finds_nothing_more_where_port_80_answers_an_acme_server(tmp_path: Path) -> None:
    texts = files(DEBIAN_13, TWO_YEARS)
    texts["/etc/nginx/ingot/tls.conf"] += "include ingot/acme.conf;\n"
    texts["/etc/nginx/ingot/acme.conf"] = acme.conf(ipv6=True)
    assert gixy(tmp_path, texts) == KNOWN


def test_gixy_would_find_something(tmp_path: Path) -> None:
    texts = files(DEBIAN_13, TWO_YEARS)
    texts["/etc/nginx/ingot/tls.conf"] += "server { listen 81; return 301 http://$host$uri; }\n"
    assert ("http_splitting", "HIGH", "ingot/tls.conf") in gixy(tmp_path, texts)
