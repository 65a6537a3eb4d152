"""Used servers, as they describe package sources: each row is a file below /etc/apt and what a deploy makes of it.

Docker's and nginx.org's repositories are stood in for by the signed one of test hosts, under addresses of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from ingot.sandbox.aptrepo import GUEST_URI, source_values

NVIDIA, DOCKER, NGINX = GUEST_URI, "file:/srv/stand-ins/docker", "file:/srv/stand-ins/nginx"
PARTS = "/etc/apt/sources.list.d"
#: A keyring with the expected key and no other, under the name that a vendor's documentation gives it.
RIGHT = "/etc/apt/keyrings/docker.asc"
GONE = "/usr/share/keyrings/cuda-archive-keyring.gpg"
#: Addresses of their own for stand-ins of vendors' repositories, and a key that apt trusts for every repository.
PREPARE = f"""set -e
mkdir -p /srv/stand-ins /etc/apt/keyrings /opt/managed
for name in docker nginx other; do ln -sfn /srv/ingot-mirror/apt /srv/stand-ins/$name; done
cp /srv/ingot-mirror/apt/ingot-sandbox.asc {RIGHT}
cp /srv/ingot-mirror/apt/ingot-sandbox.asc /etc/apt/trusted.gpg.d/somebody.asc
echo 'Acquire::Retries "0";' >/etc/apt/apt.conf.d/99quick
apt-get update -q
"""


def values() -> tuple[str, ...]:
    """Values of a deploy that takes every vendor's packages from that vendor's repository."""
    ours = source_values()["sources"]
    vendors = {name: ours["nvidia_driver"] | {"uri": uri} for name, uri in (("docker", DOCKER), ("nginx", NGINX))}
    models = {"models": {"kind": "hub", "uri": "https://huggingface.co"}}
    return (f"sources={json.dumps(ours | vendors | models)}", "docker_source=docker", "gateway_packages=nginx.org")


def stanza(*uris: str, signed_by: str = "", **fields: str) -> str:
    """A description in deb822."""
    lines = {"Types": "deb", "URIs": " ".join(uris), "Suites": "stable", "Components": "main", **fields}
    lines |= {"Signed-By": signed_by} if signed_by else {}
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


@dataclass(frozen=True)
class Described:
    """A file that describes a repository, and what becomes of it; `link_to` is where the file really lies."""

    file: str
    text: str
    becomes: Literal["used", "switched off", "left"]
    link_to: str | None = None

    @property
    def path(self) -> str:
        return f"{PARTS}/{self.file}"

    @property
    def prepare(self) -> str:
        """The shell commands that make it, with every byte as given."""
        put = f"cat >{self.link_to or self.path} <<'END'\n{self.text}END\n"
        return put + (f"ln -s {self.link_to} {self.path}\n" if self.link_to else "")


DESCRIBED = (
    # As Docker's documentation has it.
    Described("docker.sources", stanza(DOCKER, signed_by=RIGHT, Architectures="amd64"), "used"),
    # As apt-add-repository leaves it, with its key in trusted.gpg.d.
    Described(
        "archive_uri-file_srv_ingot-mirror_apt-trixie.list",
        f"deb {NVIDIA}/ stable main\n# deb-src {NVIDIA}/ stable main\n",
        "switched off",
    ),
    # Someone else's configuration management owns the file.
    Described("z.list", f"deb {NVIDIA} stable main\r\n", "switched off", link_to="/opt/managed/z.list"),
    Described("a-link.list", f"deb {NVIDIA} stable main\n", "switched off", link_to=f"{PARTS}/target.list"),
    Described("cuda.sources", stanza(NVIDIA, signed_by=GONE, Enabled="no"), "left"),
    Described("commented.list", f"#deb [signed-by={GONE}] {NVIDIA} stable main\n", "left"),
    Described("nginx.list", f"deb {NGINX} stable main\n", "switched off"),
    Described("several.sources", "# of two\n" + stanza(NGINX, "file:/srv/stand-ins/other"), "switched off"),
    # Nobody answers there: no reason to put anything back.
    Described("ppa.list", "deb http://127.0.0.1:9/graphics-drivers/ppa/ubuntu trixie main\n", "left"),
)


@dataclass(frozen=True)
class Unusable:
    """A state in which a source cannot be added: made in shell on the host, undone by `undo`, refused with `says`.

    `values` come over those of the other rows.
    """

    name: str
    prepare: str
    says: tuple[str, ...]
    undo: str
    values: tuple[str, ...] = ()


def _elsewhere() -> tuple[str, ...]:
    wrong = json.loads(values()[0].partition("=")[2])
    wrong["nginx"] |= {"suite": "no-such-suite"}
    return (f"sources={json.dumps(wrong)}",)


UNUSABLE = (
    Unusable(
        "a-file-that-cannot-be-written",
        f"""set -e
echo 'deb {NGINX} stable main' >/opt/managed/more.list
touch {PARTS}/more.list
mount --bind /opt/managed/more.list {PARTS}/more.list
mount -o remount,bind,ro {PARTS}/more.list
""",
        (f"could not change {PARTS}/more.list, which describes package source nginx otherwise", "busy"),
        f"umount {PARTS}/more.list; rm {PARTS}/more.list",
    ),
    Unusable(
        "a-source-that-does-not-work",
        f"echo 'deb [signed-by={GONE}] {NGINX} no-such-suite main' >{PARTS}/more.list",
        ("package source nginx does not work and was not added",),
        f"rm {PARTS}/more.list",
        values=_elsewhere(),
    ),
    Unusable(
        "sources-that-apt-cannot-read",
        f"""for key in {RIGHT} {GONE}; do
  echo "deb [signed-by=$key] file:/srv/stand-ins/other stable main"
done >{PARTS}/theirs.list""",
        ("apt cannot read its package sources (Conflicting values set for option Signed-By",),
        f"rm {PARTS}/theirs.list",
    ),
)
