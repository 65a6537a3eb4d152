"""Docker's own packages for test hosts: Debian's programs by the names and with the relations of Docker's repository.

They are made in the guest of Debian's packages, so that dockerd and its data are real; Docker itself is not asked.
"""

from __future__ import annotations

import json
import runpy

from ingot.sandbox import Sandbox, aptrepo, mirror
from tests.e2e.deploying import ROOT

REPOSITORY = "/srv/docker-apt"
#: What Debian's packages are called at Docker's, and what those cannot be beside.
_NAMES = (
    ("docker.io", "docker-ce", "containerd.io, docker-ce-cli, iptables", "docker.io"),
    ("docker-cli", "docker-ce-cli", "", "docker.io, docker-cli"),
    ("containerd", "containerd.io", "", "containerd, runc"),
    # Nothing here runs the plugins: they are empty.
    ("-", "docker-buildx-plugin", "", ""),
    ("-", "docker-compose-plugin", "", ""),
)
_CALLS = "\n".join(f"make {name} {new} '{depends}' '{conflicts}'" for name, new, depends, conflicts in _NAMES)

#: Makes the repository: Debian's packages are unpacked, named anew and packed again; runc goes into containerd.io.
MAKE = f"""set -e
mkdir -p {REPOSITORY} /root/repack
cd /root/repack
make() {{
  rm -rf tree
  if [ $1 = - ]; then mkdir -p tree/DEBIAN; else dpkg-deb -R /var/cache/apt/archives/$1_*.deb tree; fi
  [ $1 != containerd ] || dpkg-deb -x /var/cache/apt/archives/runc_*.deb tree
  printf '%s\\n' "Package: $2" 'Version: 5:29.0.0-1~debian.13~trixie' 'Architecture: amd64' \\
    'Maintainer: x <x@localhost>' 'Description: packed as Docker does' \\
    ${{3:+"Depends: $3"}} ${{4:+"Conflicts: $4" "Replaces: $4"}} >tree/DEBIAN/control
  dpkg-deb -Znone --build tree {REPOSITORY}/$2.deb >/dev/null
}}
{_CALLS}
cd {REPOSITORY}
for d in *.deb; do
  dpkg-deb -f $d
  printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $d $(stat -c %s $d) $(sha256sum $d | cut -d' ' -f1)
done >Packages
printf 'Origin: docker\\nDate: Thu, 01 Jan 2026 00:00:00 UTC\\nSHA256:\\n %s %s Packages\\n' \\
  $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) >Release
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gpg gpg-agent >/dev/null
export GNUPGHOME=/root/gnupg
mkdir -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key docker@localhost ed25519 sign never
gpg --batch --quiet --clearsign -o InRelease Release
gpg --batch --quiet --armor --export >key.asc
gpg --batch --with-colons --show-keys key.asc | awk -F: '$1 == "fpr" {{ print $10; exit }}' >fingerprint
gpgconf --kill all
rm -rf /root/repack $GNUPGHOME
"""


def values(name: str) -> tuple[str, ...]:
    """Data of a deploy that takes Docker from the repository on a test host."""
    own = {
        "uri": f"file:{REPOSITORY}",
        "suite": "./",
        "component": "",
        "key_url": f"file://{REPOSITORY}/key.asc",
        "key_fingerprint": Sandbox().host(name).succeeds(f"cat {REPOSITORY}/fingerprint").strip(),
    }
    defaults = runpy.run_path(str(ROOT / "group_data" / "all.py"))["sources"]
    sources = {**defaults, **aptrepo.source_values()["sources"], **mirror.model_values()["sources"], "docker": own}
    return "docker_source=docker", f"sources={json.dumps(sources)}"
