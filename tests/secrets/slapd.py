"""A real slapd of the distribution as a process of its own, on loopback, with a company's people and groups."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.gateway import issuing

BASE = "dc=corp,dc=example"
ADMIN, PASSWORD = f"cn=ingot,{BASE}", "not-a-secret"
SALES, LAB = f"cn=llm-sales,ou=groups,{BASE}", f"cn=llm-lab,ou=groups,{BASE}"

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/slapd.pid
TLSCACertificateFile {directory}/ca.crt
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {directory}/data
access to * by dn.exact="{admin}" write by anonymous auth by * none
"""


@dataclass(frozen=True)
class Slapd:
    """A directory that answers on `uri`; `ca` signed its certificate."""

    directory: Path
    port: int

    @property
    def uri(self) -> str:
        return f"ldaps://localhost:{self.port}"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def password_file(self) -> Path:
        path = self.directory / "password"
        path.write_text(f"{PASSWORD}\n")
        return path

    @property
    def wrong_password_file(self) -> Path:
        path = self.directory / "wrong-password"
        path.write_text("another\n")
        return path

    def add(self, *entries: str) -> None:
        self._ldap("ldapadd", "\n\n".join(entries))

    def change(self, *changes: str) -> None:
        self._ldap("ldapmodify", "\n\n".join(changes))

    def _ldap(self, tool: str, text: str) -> None:
        command = [tool, "-x", "-H", self.uri, "-D", ADMIN, "-w", PASSWORD]
        env = {**os.environ, "LDAPTLS_CACERT": str(self.ca)}
        subprocess.run(command, input=text, text=True, check=True, capture_output=True, env=env, timeout=180)


def person(login: str) -> str:
    name = f"uid={login},ou=people,{BASE}"
    return f"dn: {name}\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {login}\nsn: {login}\nmail: {login}@corp.example"


def group(name: str, *logins: str) -> str:
    members = "".join(f"\nmember: uid={login},ou=people,{BASE}" for login in logins)
    return f"dn: {name}\nobjectClass: groupOfNames\ncn: {name.split(',')[0][3:]}{members}"


@contextlib.contextmanager
def slapd(directory: Path) -> Iterator[Slapd]:
    """Run it until the block ends."""
    (directory / "data").mkdir()
    root = issuing.root()
    # OpenLDAP's own tools take localhost for the name of the machine.
    between = issuing.intermediate(root)
    certificate, key = issuing.leaf(between, "localhost", socket.getfqdn(), socket.gethostname()).write(directory)
    (directory / "ca.crt").write_bytes(issuing.pem(root.certificate))
    words = {"directory": directory, "base": BASE, "admin": ADMIN, "password": PASSWORD}
    (directory / "slapd.conf").write_text(_CONFIGURATION.format(**words, certificate=certificate, key=key))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = shutil.which("slapd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, "scripts/test-tools installs slapd"
    # Ubuntu confines the program at its usual path to its usual directories.
    program = shutil.copy2(found, directory / "program")
    command = [str(program), "-d", "0", "-f", str(directory / "slapd.conf"), "-h", f"ldaps://127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Slapd(directory, port)
    try:
        ended = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None and time.monotonic() < ended, "slapd does not listen"
            time.sleep(0.05)
        made.add(
            f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: corp\ndc: corp",
            *(f"dn: ou={one},{BASE}\nobjectClass: organizationalUnit\nou: {one}" for one in ("people", "groups")),
        )
        yield made
    finally:
        process.terminate()
        process.wait(30)
