"""nginx.org's repository as a stand-in on a test host: its names, dependencies and layout around Debian's binaries.

Shape: github.com/nginx/pkg-oss, debian/ (control, rules, postinst, service). The real packages cannot be had here.
"""

from __future__ import annotations

from ingot.sandbox import TestHost

ROOT = "/srv/nginx-org"
VERSION = "1.30.4-1~trixie"
_CONTROL = """Package: {name}
Version: {version}
Architecture: amd64
Maintainer: Ingot test hosts <ingot@localhost>
{fields}
Description: stand-in for {name} of nginx.org
"""
_NGINX = _CONTROL.format(
    name="nginx",
    version=VERSION,
    fields="Depends: libc6, libcrypt1, libpcre2-8-0, libssl3t64, zlib1g\nProvides: httpd, nginx-r1.30.4\n"
    "Conflicts: nginx-common, nginx-core\nReplaces: nginx-common, nginx-core",
)
_MODULE = _CONTROL.format(
    name="nginx-module-njs", version="1.30.4+1.0.0-1~trixie", fields=f"Depends: nginx (= {VERSION}), libxml2"
)
_SERVICE = """[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx -c /etc/nginx/nginx.conf
ExecReload=/bin/sh -c "/bin/kill -s HUP $(/bin/cat /run/nginx.pid)"
ExecStop=/bin/sh -c "/bin/kill -s TERM $(/bin/cat /run/nginx.pid)"
[Install]
WantedBy=multi-user.target
"""
#: A user of its own, logs of that user, and it starts what it installed.
_POSTINST = """#!/bin/sh
set -e
getent passwd nginx >/dev/null || useradd --system --no-create-home --shell /bin/false nginx
touch /var/log/nginx/error.log && chown nginx:adm /var/log/nginx/error.log
systemctl daemon-reload && systemctl enable --quiet nginx && systemctl restart nginx
"""
_BUILD = f"""set -eu
apt-get install -y -q --no-install-recommends gpg gpg-agent >/dev/null
mkdir -p {ROOT}/from {ROOT}/repository/dists/trixie/nginx/binary-amd64
cd {ROOT}/from
apt-get download -q nginx nginx-common libnginx-mod-http-js >/dev/null
for deb in *.deb; do dpkg-deb -x "$deb" .; done
cd ..
install -D from/usr/sbin/nginx nginx/usr/sbin/nginx
mkdir -p nginx/usr/lib/nginx/modules nginx/var/log/nginx nginx/var/lib/nginx nginx/usr/share/nginx
ln -s /usr/lib/nginx/modules nginx/etc/nginx/modules
# The binary inside looks for modules where Debian has them; nginx.org's looks below /etc/nginx.
ln -s /usr/lib/nginx/modules nginx/usr/share/nginx/modules
install -D -m 0644 from/usr/lib/nginx/modules/ngx_http_js_module.so -t nginx-module-njs/usr/lib/nginx/modules
cd repository
for name in nginx nginx-module-njs; do
  dpkg-deb --root-owner-group -Znone -b ../$name $name.deb >/dev/null
  dpkg-deb -f $name.deb
  echo "Filename: $name.deb\\nSize: $(stat -c %s $name.deb)\\nSHA256: $(sha256sum $name.deb | cut -d' ' -f1)\\n"
done >dists/trixie/nginx/binary-amd64/Packages
cd dists/trixie
sum=$(sha256sum nginx/binary-amd64/Packages | cut -d' ' -f1)
echo "Origin: nginx\\nCodename: trixie\\nSuite: trixie\\nDate: $(date -Ru)" >Release
echo "Architectures: amd64\\nComponents: nginx\\nSHA256:" >>Release
echo " $sum $(stat -c %s nginx/binary-amd64/Packages) nginx/binary-amd64/Packages" >>Release
export GNUPGHOME=/root/nginx-org-key
mkdir -p -m 0700 $GNUPGHOME
gpg -q --batch --passphrase '' --quick-generate-key 'nginx stand-in' ed25519 sign never
gpg -q --batch --clearsign -o InRelease Release
gpg -q --export >{ROOT}/key.gpg
gpgconf --kill all
gpg --batch --with-colons --show-keys {ROOT}/key.gpg | awk -F: '$1 == "fpr" {{ print $10; exit }}'
"""


def publish(host: TestHost) -> dict[str, object]:
    """Build and sign the repository on the host; the entry of `sources` that points there, among unknown keys."""
    for path, text, mode in (
        ("nginx/DEBIAN/control", _NGINX, "0644"),
        ("nginx/DEBIAN/conffiles", "/etc/nginx/nginx.conf\n/etc/nginx/conf.d/default.conf\n", "0644"),
        ("nginx/DEBIAN/postinst", _POSTINST, "0755"),
        ("nginx/etc/nginx/nginx.conf", "events {}\nhttp { include /etc/nginx/conf.d/*.conf; }\n", "0644"),
        ("nginx/etc/nginx/conf.d/default.conf", "server { listen 80; return 200 'Welcome to nginx!'; }\n", "0644"),
        ("nginx/usr/lib/systemd/system/nginx.service", _SERVICE, "0644"),
        ("nginx-module-njs/DEBIAN/control", _MODULE, "0644"),
    ):
        host.put(f"{ROOT}/{path}", text, mode)
    fingerprint = host.succeeds(_BUILD).split()[-1]
    return {
        "uri": f"file:{ROOT}/repository",
        "suite": "{codename}",
        "component": "nginx",
        "key_url": f"file://{ROOT}/key.gpg",
        "key_fingerprint": ["8540A6F18833A80E9C1653A42FD21310B49F6B46", fingerprint],
    }
