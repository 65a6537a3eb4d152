"""Whose nginx a host gets, decided from what is there and what its distribution offers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import GatewayHost, parse_gateway_host
from ingot.operations.gateway import nginx_packages
from ingot.operations.packages import Pin
from tests.gateway.test_site import BUILD_DEBIAN_12, POLICY_DEBIAN_12, POLICY_UBUNTU_2204, answers
from tests.settings.values import settings

pytestmark = pytest.mark.gateway

MODULE = "/usr/lib/nginx/modules/ngx_http_js_module.so"
DEBIAN_12 = parse_gateway_host(answers(policy=POLICY_DEBIAN_12, release="debian bookworm"))
JAMMY = parse_gateway_host(answers(policy=POLICY_UBUNTU_2204, release="ubuntu jammy"))
OURS = {"build": BUILD_DEBIAN_12, "module": MODULE, "release": "debian bookworm"}
WITH_DISTRIBUTION = parse_gateway_host(answers(**OURS, packages="installed nginx\ninstalled nginx-common"))
WITH_NGINX_ORG = parse_gateway_host(answers(**OURS, packages="installed nginx\nconfig-files nginx-common"))


@pytest.mark.parametrize(
    ("asked", "found", "origin"),
    [
        (None, DEBIAN_12, "distribution"),
        ("distribution", DEBIAN_12, "distribution"),
        ("nginx.org", DEBIAN_12, "nginx.org"),
        (None, JAMMY, "nginx.org"),
        # Package lists that were never fetched.
        (None, replace(JAMMY, nginx=None), "nginx.org"),
        (None, replace(DEBIAN_12, nginx=None, njs=False), "distribution"),
        # nginx is there and its njs still to come.
        (None, replace(WITH_DISTRIBUTION, njs=True), "distribution"),
        # What is there stays, unless somebody asks.
        (None, WITH_NGINX_ORG, "nginx.org"),
        ("nginx.org", WITH_DISTRIBUTION, "nginx.org"),
    ],
)
def test_the_distributions_nginx_where_it_has_njs_else_nginx_orgs(
    asked: str | None, found: GatewayHost, origin: str
) -> None:
    assert nginx_packages.origin("gpu-01", asked, found) == origin


@pytest.mark.parametrize(
    ("asked", "found", "sentence"),
    [
        ("distribution", JAMMY, "gpu-01: the distribution offers nginx 1.18.0 without libnginx-mod-http-js, expected"),
        ("distribution", WITH_NGINX_ORG, "gpu-01: nginx.org's nginx is installed and gateway_packages asks for the"),
    ],
)
def test_what_cannot_be_is_one_sentence(asked: str, found: GatewayHost, sentence: str) -> None:
    with pytest.raises(IngotError, match=re.escape(sentence)):
        nginx_packages.origin("gpu-01", asked, found)


def test_nginx_org_comes_with_its_keys_a_pin_and_without_the_distributions_modules() -> None:
    wanted = nginx_packages.packages("gpu-01", None, JAMMY, settings().sources.nginx)
    [source] = wanted.sources
    assert wanted.names == ("curl", "logrotate", "openssl", "nginx", "nginx-module-njs")
    assert (source.uris, source.suites, source.components) == ("https://nginx.org/packages/ubuntu", "jammy", "nginx")
    assert len(source.fingerprints) == 3 and all(re.fullmatch("[0-9A-F]{40}", one) for one in source.fingerprints)
    assert wanted.pins == (Pin("nginx", ("nginx", "nginx-module-njs"), "release o=nginx", 900),)
    assert wanted.absent == ("nginx-common", "nginx-core", "libnginx-mod-*")


def test_the_distributions_nginx_needs_no_source_and_takes_what_comes_along() -> None:
    wanted = nginx_packages.packages("gpu-01", None, DEBIAN_12, None, ["certbot"])
    assert wanted == nginx_packages.Packages(
        ("curl", "logrotate", "openssl", "certbot", "nginx", "libnginx-mod-http-js")
    )


def test_a_site_without_the_source_is_told_where_to_copy_it_from() -> None:
    with pytest.raises(IngotError, match=r'sources has no "nginx".*copy it from'):
        nginx_packages.packages("gpu-01", "nginx.org", DEBIAN_12, None)
