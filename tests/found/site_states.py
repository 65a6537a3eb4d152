"""Used servers whose port 443 is somebody else's: one host, and what each value of gateway_takeover makes of it."""

from __future__ import annotations

#: Two sites as people write them: in conf.d and in sites-enabled, with settings, a log format and maps of their own for
#: all of http, the default server of port 443, and names that also occur in many other configurations.
PREPARE = r"""set -e
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nginx openssl curl
mkdir -p /etc/nginx/ssl /srv/shop /srv/wiki
for name in shop wiki; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$name.example" \
    -keyout /etc/nginx/ssl/$name.key -out /etc/nginx/ssl/$name.pem 2>/dev/null
  echo "the $name" >/srv/$name/index.html
done
sed -i 's|gzip on;|gzip on; auth_basic_user_file /etc/nginx/nobody; types_hash_max_size 4096;|;
  s|include /etc/nginx/conf.d/|map_hash_bucket_size 128; server_names_hash_bucket_size 128; include /etc/nginx/conf.d/|;
  /types_hash_max_size 2048/d' /etc/nginx/nginx.conf
cat >/etc/nginx/conf.d/shop.conf <<'END'
log_format main '$remote_addr "$request" $status';
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
limit_req_zone $binary_remote_addr zone=shop:1m rate=100r/s;
upstream backend { server 127.0.0.1:9; }
add_header X-Shop everywhere;
client_max_body_size 1k;
server {
    listen 443 ssl default_server;
    listen [::]:443 ssl default_server;
    server_name shop.example www.shop.example;
    ssl_certificate ssl/shop.pem;
    ssl_certificate_key ssl/shop.key;
    access_log /var/log/nginx/shop.log main;
    root /srv/shop;
}
END
cat >/etc/nginx/sites-available/wiki <<'END'
server {
    listen 443 ssl;
    server_name wiki.example;
    ssl_certificate /etc/nginx/ssl/wiki.pem;
    ssl_certificate_key /etc/nginx/ssl/wiki.key;
    root /srv/wiki;
}
END
ln -s ../sites-available/wiki /etc/nginx/sites-enabled/wiki
nginx -t
systemctl enable --now nginx
systemctl reload nginx
"""


def shown(name: str) -> str:
    """A command that prints what a name is answered with, and the certificate that it is answered under."""
    return (
        f"curl -sk -m 5 --noproxy '*' --resolve {name}:443:127.0.0.1 -D - https://{name}/ | grep -v '^Date'; "
        f"openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null | grep -m 1 subject"
    )


#: What callers of the sites see: by name, by a name that nobody serves (the first site), and on port 80.
SERVED = "; ".join(
    [shown("shop.example"), shown("wiki.example"), shown("nobody.example"), "curl -s http://127.0.0.1/ | head -n 5"]
)
#: Every file of nginx but Ingot's, and but those of the modules that its packages bring.
_OTHERS = "! -path './ingot*' ! -name '???-ingot.conf' ! -path './modules-enabled*'"
FILES = (
    f"cd /etc/nginx && find . {_OTHERS} '(' -type f -o -type l ')' | sort | xargs ls -l --time-style=+ && "
    f"find . {_OTHERS} -type f -exec sha256sum {{}} + | sort"
)
#: What holds port 443 instead of nginx, and how preflight names it.
HOLDERS = {
    "caddy": (
        "cp /usr/bin/python3 /usr/local/bin/caddy; systemd-run --unit=holder /usr/local/bin/caddy -m http.server 443",
        "port 443 is held by caddy",
    ),
    "nginx by hand": (
        "systemd-run --unit=holder --service-type=forking nginx",
        "port 443 is held by an nginx that nginx.service has not started",
    ),
}
