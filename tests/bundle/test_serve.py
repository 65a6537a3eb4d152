"""Who may take a served bundle, what its nginx is told, when its certificate is a new one, and who trusts it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.bundle import serve
from ingot.errors import IngotError
from ingot.operations import served_bundle
from ingot.secrets import pki
from tests.settings.values import DEFAULTS, settings


def host(name: str, address: str | None = None) -> Any:
    return SimpleNamespace(name=name, data={"ssh_hostname": address} if address else {})


def test_the_addresses_of_the_inventorys_hosts_may_take_it() -> None:
    hosts = (host("gpu-01", "10.0.0.17"), host("gpu-02", "fd00::2"), host("localhost"))
    assert {"10.0.0.17", "fd00::2", "127.0.0.1"} <= set(serve.networks(hosts))
    with pytest.raises(IngotError, match=r"gpu-03: gpu-03.invalid is not resolved here .* with --allow"):
        serve.networks([host("gpu-03", "gpu-03.invalid")])


def test_where_it_is_served_is_an_address_that_others_reach() -> None:
    assert serve.base(host("gw-01", "10.0.0.17"), 8445) == "https://10.0.0.17:8445"
    assert serve.base(host("gw-01", "fd00::2"), 8445) == "https://[fd00::2]:8445"
    assert serve.base(host("gw-01"), 1) == "https://gw-01:1"


def test_nginx_is_told_who_may_ask_and_nothing_else_is_open() -> None:
    made = serve.members("/srv/ingot-served", 8445, ("10.0.0.17", "10.0.0.18"), "Types: deb\n", None)
    conf = made["nginx.conf"].decode()
    assert "        allow 10.0.0.17;\n        allow 10.0.0.18;\n        deny all;\n" in conf
    assert "root /srv/ingot-served/current;" in conf and "listen 8445 ssl;" in conf and "[::]" not in conf
    assert conf.startswith("# Written by Ingot") and made[serve.UNIT].startswith(b"# Written by Ingot")
    assert set(made) == {"nginx.conf", serve.UNIT, "archive.sources"}
    assert "[::]:8445 ssl" in serve.members("/srv/x", 8445, ("fd00::2",), "", "PAIR")["nginx.conf"].decode()


def test_a_certificate_is_made_anew_in_the_second_half_of_its_year_for_other_names_and_by_another_ca(
    tmp_path: Path,
) -> None:
    ca, other = pki.authority(tmp_path / "a"), pki.authority(tmp_path / "b")
    names, now = ("gw-01", "10.0.0.17"), datetime.now(UTC)
    pair = pki.of_a_bundle(ca, names)
    assert "PRIVATE KEY" in pair and pki.serves_bundle(ca, pair, names)
    assert pki.serves_bundle(ca, pair, names, now + timedelta(days=180))
    assert not pki.serves_bundle(ca, pair, names, now + timedelta(days=190))
    assert not pki.serves_bundle(ca, pair, ("gw-01", "10.0.0.18"))
    assert not pki.serves_bundle(other, pair, names) and not pki.serves_bundle(ca, "", names)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, ()),
        ({"sources": {"distribution": {"uri": "https://10.0.0.17:8445/apt/debian"}}}, ("10.0.0.17",)),
        ({"sources": {"models": {"kind": "mirror", "uri": "https://gw-01:8445/models"}}}, ("gw-01",)),
        ({"sources": {"models": {"kind": "mirror", "uri": "http://gw-01:8445/models"}}}, ()),
        ({"sources": {"models": {"kind": "mirror", "uri": "https://mirror.site/models"}}}, ()),
        (
            {"engine_image_archive": "https://gw-01:8445/images/a.tar", "engine_image_id": "sha256:" + "1" * 64},
            ("gw-01",),
        ),
    ],
)
def test_an_https_source_at_a_host_of_the_inventory_is_trusted_by_its_ca(
    changed: dict[str, Any], found: tuple[str, ...]
) -> None:
    given = {**changed, "sources": {**DEFAULTS["sources"], **changed.get("sources", {})}}
    assert served_bundle.servers(settings(**given), ("gw-01", "10.0.0.17", "gpu-01")) == found
