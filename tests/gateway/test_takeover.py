"""An nginx that serves sites of others: what is refused, and how a part of ours fits into it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import GatewayHost
from ingot.facts.nginx_sites import ForeignNginx, Site
from ingot.operations import tree
from ingot.operations.gateway import site, takeover
from ingot.secrets import keys
from tests.gateway.test_site import DEBIAN_13, PRESENTED, SETTINGS

pytestmark = pytest.mark.gateway

SHOP = Site("/etc/nginx/conf.d/shop.conf", ("shop.example", "www.shop.example"), ("443 ssl default_server",))
THEIRS = ForeignNginx(
    (SHOP,),
    ("connection_upgrade",),
    ("include", "server_names_hash_bucket_size"),
    ("/etc/nginx/mime.types", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*"),
    "www-data",
    is_there=True,
)
KEYS = (keys.Key("research", "a" * 64, "2026-11-22"),)


def refusals(foreign: ForeignNginx, how: takeover.Takeover, *names: str, acme: bool = False) -> list[str]:
    return list(takeover.refusals(foreign, how, names or ("gpu-01",), acme=acme))


def test_each_site_is_named_where_nothing_else_is_said() -> None:
    (said,) = refusals(THEIRS, "refuse")
    assert said == (
        "nginx serves shop.example, www.shop.example on port 443 (/etc/nginx/conf.d/shop.conf), expected no site of "
        'others; set gateway_takeover to "beside" to leave it and add the host\'s own names, or to "replace" to switch '
        "it off until `ingot decommission`"
    )
    assert refusals(THEIRS, "replace") == refusals(THEIRS, "beside") == refusals(ForeignNginx(), "refuse") == []


@pytest.mark.parametrize(
    ("foreign", "says"),
    [
        (replace(THEIRS, user="nginx"), "nginx' workers run as nginx"),
        (replace(THEIRS, includes=("/etc/nginx/mime.types", "/srv/*.conf")), "includes no directory"),
        (replace(THEIRS, sites=(replace(SHOP, listens=("443 ssl proxy_protocol",)),)), "takes the PROXY protocol"),
        (replace(THEIRS, sites=(replace(SHOP, names=("GPU-01",)),)), "expected gpu-01 to be the gateway's"),
    ],
)
def test_what_cannot_be_served_beside_is_refused(foreign: ForeignNginx, says: str) -> None:
    (said,) = refusals(foreign, "beside")
    assert says in said
    assert refusals(foreign, "replace") == []


def test_an_acme_server_s_port_is_not_shared() -> None:
    (said,) = refusals(THEIRS, "beside", acme=True)
    assert said.startswith('gateway_certificate is "acme"')


def test_our_part_is_read_last_and_what_comes_once_first() -> None:
    assert takeover.place(THEIRS) == ("/etc/nginx/conf.d/000-ingot.conf", "/etc/nginx/sites-enabled/zzz-ingot.conf")
    nginx_org = replace(THEIRS, includes=("conf.d/*.conf",))
    assert takeover.place(nginx_org) == ("/etc/nginx/conf.d/000-ingot.conf", "/etc/nginx/conf.d/zzz-ingot.conf")


@pytest.mark.parametrize(
    ("listens", "ours"),
    [
        (("443 ssl",), ["443", "[::]:443"]),
        (("10.0.0.5:443 ssl", "80"), ["443", "[::]:443", "10.0.0.5:443"]),
        (("[::]:443 ssl ipv6only=off",), ["[::]:443"]),
        (("0.0.0.0:443 ssl", "*:443 ssl"), ["443", "[::]:443"]),
    ],
)
def test_it_listens_wherever_they_do(listens: tuple[str, ...], ours: list[str]) -> None:
    assert takeover.addresses(replace(THEIRS, sites=(replace(SHOP, listens=listens),)), ipv6=True) == ours


def made(foreign: ForeignNginx) -> dict[str, str]:
    found: GatewayHost = replace(DEBIAN_13, foreign=foreign)
    entries = site.entries(found, replace(SETTINGS, takeover="beside"), KEYS, PRESENTED)
    is_theirs = not any(one.path == "/etc/nginx/nginx.conf" for one in entries)
    assert is_theirs or tree.Absent("/etc/nginx/conf.d/default.conf") in entries
    assert not is_theirs or tree.Absent("/etc/nginx/conf.d/default.conf") not in entries
    return {one.path: str(one.content) for one in entries if isinstance(one, tree.File)}


def test_nothing_is_said_for_their_sites() -> None:
    files = made(THEIRS)
    assert "/etc/nginx/nginx.conf" not in files
    part = files["/etc/nginx/sites-enabled/zzz-ingot.conf"]
    assert "default_server" not in part and "ssl_reject_handshake" not in part and "load_module" not in part
    assert "server_name gpu-01 10.0.0.11;" in part
    assert [line for line in part.splitlines() if line.startswith(("    gzip", "    sendfile"))] == []
    every = "\n".join(files[f"/etc/nginx/ingot/{name}.conf"] for name in ("teams", "log"))
    assert not [line for line in every.splitlines() if line.startswith(("limit_req ", "access_log", "client_max"))]
    own = files["/etc/nginx/ingot/beside.conf"]
    assert "ssl_certificate " in own and "limit_req zone=rate_0" in own and "client_max_body_size" in own
    first = files["/etc/nginx/conf.d/000-ingot.conf"]
    assert "map_hash_bucket_size 256;" in first and "server_names_hash_bucket_size" not in first


def test_a_variable_that_both_define_is_refused() -> None:
    with pytest.raises(IngotError, match=r"defines \$team, expected"):
        made(replace(THEIRS, variables=("connection_upgrade", "team")))


def test_once_beside_it_stays_beside_without_a_site_of_theirs() -> None:
    alone = replace(THEIRS, sites=(), guests=("/etc/nginx/sites-enabled/zzz-ingot.conf",))
    assert "/etc/nginx/nginx.conf" not in made(alone)
    assert "/etc/nginx/nginx.conf" in made(replace(alone, guests=()))


def test_what_nginx_had_is_kept_once_with_its_links(tmp_path: Path) -> None:
    nginx = tmp_path / "etc/nginx"
    for directory in ("conf.d", "sites-enabled"):
        (nginx / directory).mkdir(parents=True)
    (nginx / "nginx.conf").write_text("theirs")
    (nginx / "sites-enabled/default").symlink_to("/etc/nginx/sites-available/default")
    command = takeover.keep().replace("/etc/nginx/", f"{nginx}/").replace("/var/lib/ingot", f"{tmp_path}/var/lib/ingot")
    subprocess.run(["sh", "-c", command], check=True, timeout=180)
    before = tmp_path / f"var/lib/ingot/nginx-before{nginx}"
    assert (before / "nginx.conf").read_text() == "theirs" and (before / "sites-enabled/default").is_symlink()
    assert not (before / "conf.d").exists()
    (nginx / "nginx.conf").write_text("ours")
    subprocess.run(["sh", "-c", command], check=True, timeout=180)
    assert (before / "nginx.conf").read_text() == "theirs"
