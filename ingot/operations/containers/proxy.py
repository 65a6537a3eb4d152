"""dockerd's way through the site's proxy: it pulls images by itself, and passes none of this on to containers."""

from __future__ import annotations

from ingot.operations import proxy, tree
from ingot.secrets import proxy as secrets
from ingot.settings.proxy import Proxy

DROP_IN = "/etc/systemd/system/docker.service.d/ingot-proxy.conf"
#: Root's alone: it holds the login. daemon.json, which others may read and `--diff` shows, could not.
VARIABLES = "/etc/ingot/docker/proxy.env"
#: Go reads what is here beside the host's own CAs (crypto/x509, SSL_CERT_DIR).
TRUSTED = "/etc/ingot/docker/proxy-ca"
#: What dockerd reads when it starts.
FILES = (DROP_IN, VARIABLES, TRUSTED)

_DROP_IN = f"""# Written by Ingot: images come through the site's proxy; daemon.json's `proxies` go before it.
[Service]
EnvironmentFile=-{VARIABLES}
"""


def entries(value: Proxy | None) -> tuple[tree.Entry, ...]:
    """The files that dockerd's way takes; without a proxy none of them is there.

    Names of the inventory's hosts are not among them: each new host would restart every dockerd. A registry of the site
    is named in `direct`.

    Raises: IngotError for a login or a CA that cannot be read.
    """
    if value is None:
        return tuple(tree.Absent(path) for path in FILES)
    said = {name.upper(): one for name, one in proxy.variables(value).items()}
    trusted: tuple[tree.Entry, ...] = (tree.Absent(TRUSTED),)
    if value.ca_file:
        said["SSL_CERT_DIR"] = TRUSTED
        trusted = (tree.Dir(TRUSTED), tree.File(f"{TRUSTED}/ca.pem", secrets.authority(value.ca_file)))
    return (
        tree.Dir(VARIABLES.rpartition("/")[0]),
        tree.File(VARIABLES, "".join(f"{name}={one}\n" for name, one in said.items()), mode="0600", secret=True),
        *trusted,
        tree.Dir(DROP_IN.rpartition("/")[0]),
        tree.File(DROP_IN, _DROP_IN),
    )
