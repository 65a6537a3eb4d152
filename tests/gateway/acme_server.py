"""A real ACME server (pebble, from Debian) on a test host: it looks names up there and asks port 80 as any would."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingot.sandbox import TestHost

DIRECTORY = "https://localhost:14000/dir"
MANAGEMENT = "https://localhost:15000"
UNIT = "pebble-standin"
LIFE = timedelta(days=45)


def start(host: TestHost, names: tuple[str, ...], ca_file: Path) -> None:
    """Run pebble, for which `names` are this host; `ca_file` gets the CA of pebble's own TLS."""
    key, certificate = _own_certificate()
    host.put("/root/pebble/key.pem", key, mode="0600")
    host.put("/root/pebble/certificate.pem", certificate)
    ca_file.write_text(certificate)
    config = {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/root/pebble/certificate.pem",
        "privateKey": "/root/pebble/key.pem",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": int(LIFE.total_seconds()),
    }
    host.put("/root/pebble/config.json", json.dumps({"pebble": config}))
    host.succeeds(
        f"echo 127.0.0.1 {' '.join(names)} >>/etc/hosts && "
        "apt-get install -y -q --no-install-recommends pebble && "
        # Without its default of refusing some good nonces and sleeping before it validates.
        f"systemd-run --unit {UNIT} -E PEBBLE_WFE_NONCEREJECT=0 -E PEBBLE_VA_NOSLEEP=1 "
        "pebble -config /root/pebble/config.json"
    )
    host.wait_for_port(14000)


def root_of(host: TestHost, file: Path) -> Path:
    """The CA that this pebble signs with, written to `file`; it makes a new one at each start."""
    file.write_text(host.succeeds(f"curl -sf --cacert /root/pebble/certificate.pem {MANAGEMENT}/roots/0"))
    return file


def _own_certificate() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble on a test host")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()
