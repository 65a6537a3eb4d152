"""Others' nginx as it reads its own configuration."""

from __future__ import annotations

import pytest

from ingot.facts.nginx_sites import ForeignNginx, Site, listen_port, parse, parse_foreign

DUMP = r"""nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
user www-data;
events { worker_connections 768; }
http {
    sendfile on;
    log_format main '$remote_addr "$request" {braces; and more}';
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
stream { server { listen 8443; proxy_pass 10.0.0.1:443; } }

# configuration file /etc/nginx/conf.d/api.conf:
geo $office { default 0; 10.0.0.0/8 1; }
upstream api { server 127.0.0.1:9000; }
server { # the shop
    listen 443 ssl http2 default_server;
    listen [::]:443 ssl;
    server_name shop.example "www.shop.example"; # both
    location ~ \.(js|css)$ { root "/srv/a b"; }
    if ($host ~ "^a{2}") { return 301 https://x/; }
}
# configuration file /etc/nginx/sites-enabled/default:
server { listen 80 default_server; server_name _; root /var/www/html; }

# configuration file /etc/nginx/sites-enabled/zzz-ingot.conf:
server { listen 443 ssl; server_name gpu-01; }
"""
SHOP = Site(
    "/etc/nginx/conf.d/api.conf",
    ("shop.example", "www.shop.example"),
    ("443 ssl http2 default_server", "[::]:443 ssl"),
)


def test_sites_of_others_are_found_with_names_and_ports() -> None:
    found = parse_foreign(DUMP, "/etc/nginx/sites-available/default\n")
    assert found.sites == (Site("/etc/nginx/nginx.conf", (), ("8443",)), SHOP)
    assert SHOP.ports == (443,)
    assert found.listens_on_443 == ("443", "[::]:443")
    assert found.variables == ("connection_upgrade", "office")
    assert "log_format" in found.directives and "map" not in found.directives
    assert found.includes == ("/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*")
    assert (found.user, found.is_there) == ("www-data", True)


def test_a_page_of_welcome_that_somebody_changed_is_a_site() -> None:
    found = parse_foreign(DUMP, "")
    assert Site("/etc/nginx/sites-enabled/default", ("_",), ("80 default_server",)) in found.sites


@pytest.mark.parametrize("dump", ["ours\n", "", "nginx: not found"])
def test_ingots_own_configuration_and_none_have_no_sites(dump: str) -> None:
    assert parse_foreign(dump, "") == ForeignNginx()


@pytest.mark.parametrize(
    ("listen", "port"),
    [("443 ssl", 443), ("[::]:443", 443), ("10.0.0.5:8443 ssl", 8443), ("localhost", 80), ("[::1]", 80), ("*:80", 80),
     ("unix:/run/x.sock", None)],
)  # fmt: skip
def test_ports_are_read(listen: str, port: int | None) -> None:
    assert listen_port(listen) == port


def test_what_is_cut_off_is_read_as_far_as_it_goes() -> None:
    (server,) = parse("server { listen 443; server_name a")
    assert [one.words for one in server.block] == [("443",)]
