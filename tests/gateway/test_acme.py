"""ACME: when a certificate is asked for, which values can lead to one, and what port 80 says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import ACME_LIVE
from ingot.operations import tree
from ingot.operations.gateway import acme, certificate
from ingot.operations.gateway.acme import Server
from tests.gateway import issuing
from tests.gateway.issuing import DAY, NOW
from tests.gateway.test_site import DEBIAN_13, SETTINGS
from tests.settings.values import DEFAULTS, Data, settings

pytestmark = pytest.mark.gateway

NAMES = ("llm.example.org",)
HERE, ELSEWHERE = "https://acme.example/directory", "https://acme.example/staging"
BETWEEN = issuing.intermediate(issuing.root())


def held(*names: str, left: timedelta = 60 * DAY, server: str = HERE) -> object:
    leaf = issuing.leaf(BETWEEN, *(names or NAMES), begin=NOW + left - 90 * DAY, end=NOW + left)
    return replace(DEBIAN_13, acme_pem=issuing.pem(leaf.certificate).decode(), acme_server=server)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (DEBIAN_13, "none yet"),
        (held(), None),
        (held(server=ELSEWHERE), f"the last is from {ELSEWHERE}"),
        (held("other.example.org"), "the names changed"),
        (held(*NAMES, "more.example.org"), "the names changed"),
        # certbot's timer has its turn first.
        (held(left=20 * DAY), None),
        (held(left=17 * DAY), f"ends {NOW + 17 * DAY:%Y-%m-%d} and was not renewed"),
        (replace(held(), acme_pem="cut off"), "the last is unreadable"),  # type: ignore[type-var]
    ],
)
def test_a_certificate_is_asked_for_when_what_is_there_will_not_do(found: object, why: str | None) -> None:
    assert acme.why_issue(found, Server(HERE, None, None), NAMES, NOW) == why  # type: ignore[arg-type]


def host(*others: Any, **given: object) -> Any:
    """A host with these values, in an inventory with `others`."""
    values = {"gateway_certificate": "acme", "gateway_names": list(NAMES), "gateway_acme_directory": HERE, **given}
    data = Data(**{**DEFAULTS, **values})
    return SimpleNamespace(name="gpu-01", data=data, groups=["gpu"], inventory=others, connector_data={})


FRONT = SimpleNamespace(groups=["gateway"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"gateway_names": []}, 'gateway_certificate is "acme" and gateway_names is empty'),
        ({"gateway_names": ["10.0.0.1"]}, "gateway_names holds 10.0.0.1, expected full DNS names only"),
        ({"gateway_names": ["gpu-01"]}, "gateway_names holds gpu-01, expected full DNS names only"),
        ({"gateway_acme_ca_file": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem: no certificate in it"),
        ({"gateway_certificate": "files"}, "and gateway_certificate_file and gateway_certificate_key_file is not set"),
    ],
)
def test_values_that_lead_to_no_certificate_are_one_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(IngotError, match=re.escape(sentence)):
        certificate.wish(host(**given))
    # Preflight says the same, before anything is changed.
    [found] = certificate.findings(host(**given))
    assert sentence in found and not found.endswith(".")


def test_names_are_asked_for_as_the_server_writes_them_so_that_they_compare_equal() -> None:
    wanted = certificate.wish(host(gateway_names=["LLM.Example.org", "llm.example.org"]))
    assert wanted.names == NAMES


def test_what_was_issued_is_presented_and_port_80_answers_the_server_alone() -> None:
    wanted = certificate.wish(host())
    steps = certificate.present(held(), SETTINGS, wanted)  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as end:
        next(steps)
    presented = end.value.value
    assert (presented.certificate, presented.key) == (f"{ACME_LIVE}/fullchain.pem", f"{ACME_LIVE}/privkey.pem")
    [conf] = [str(entry.content) for entry in presented.entries if isinstance(entry, tree.File)]
    assert [line.strip() for line in conf.splitlines() if "location" in line] == [
        "location /.well-known/acme-challenge/ {",
        "location / {",
    ]
    assert "return 404 " in conf and not re.search(r"\b30[1278]\b|rewrite|proxy_pass", conf)


def test_a_private_servers_ca_is_trusted_by_certbot_alone(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(issuing.pem(BETWEEN.certificate))
    asked = acme.server(settings(gateway_acme_directory=HERE, gateway_acme_ca_file=str(ca_file)), NAMES)
    written = {entry.path: str(entry.content) for entry in acme.entries(asked) if isinstance(entry, tree.File)}
    assert f"Environment=REQUESTS_CA_BUNDLE={acme.CA_FILE}" in written[acme.DROP_IN]
    assert tree.Absent(acme.DROP_IN) in acme.entries(replace(asked, ca_pem=None))


def test_a_host_behind_a_fleet_gateway_keeps_the_certificate_that_it_is_known_by() -> None:
    with pytest.raises(IngotError, match="is 'acme', expected \"internal\" on a host behind a fleet gateway"):
        certificate.wish(host(FRONT))
    assert certificate.wish(host(FRONT, gateway_certificate="internal")).kind == "internal"
    assert certificate.wish(host()).kind == "acme"
