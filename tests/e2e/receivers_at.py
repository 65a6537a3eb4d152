"""The receivers of notices on a test host, and the values by which Alertmanager reaches them."""

from __future__ import annotations

from pathlib import Path

from ingot.sandbox import TestHost

DIRECTORY = "/root/receivers"
PROGRAM = Path(__file__).with_name("receivers.py")


def start(host: TestHost, directory: Path) -> dict[str, object]:
    """Run them on a host, which trusts the mail server's certificate; returns the values of `monitoring_…`."""
    (directory / "mail").write_text("mail-word\n")
    (directory / "post").write_text("post-word\n")
    host.put(f"{DIRECTORY}/receivers.py", PROGRAM.read_text())
    host.succeeds(
        "apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends python3-aiosmtpd openssl "
        ">/dev/null && "
        f"cd {DIRECTORY} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-keyout mail.key -out mail.pem -subj /CN=mail.corp.test -addext subjectAltName=DNS:mail.corp.test "
        "2>/dev/null && cp mail.pem /usr/local/share/ca-certificates/mail.crt && update-ca-certificates >/dev/null && "
        "echo '127.0.0.1 mail.corp.test' >>/etc/hosts",
        timeout_s=600,
    )
    # A unit of the disk: it is there again after the host was down.
    host.put(
        "/etc/systemd/system/receivers.service",
        f"[Service]\nExecStart=/usr/bin/python3 {DIRECTORY}/receivers.py {DIRECTORY}\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    host.succeeds("systemctl enable --now receivers")
    host.wait_for_port(2587)
    host.wait_for_port(9401)
    return {
        "monitoring_webhook": "http://127.0.0.1:9401/",
        "monitoring_webhook_token_file": str(directory / "post"),
        "monitoring_mail": {
            "to": ["ops@corp.test"],
            "sender": "ingot@corp.test",
            "server": "mail.corp.test:2587",
            "user": "ingot",
            "password_file": str(directory / "mail"),
        },
    }
