"""Nobody on the host but root reads a secret."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from tests.hosts.look import Look
from tests.hosts.target import Target


@pytest.mark.parametrize("path", ["/etc/ingot/gateway/tls/key.pem", "/etc/nginx/ingot/keys.map"])
def test_only_root_reads(target: Target, host: Host, path: str) -> None:
    found = host.file(path)
    target.expect(found.exists, f"{path} is missing; deploy")
    target.expect(
        (found.user, oct(found.mode)) == ("root", "0o600"),
        f"{path} is {found.user}'s with mode {oct(found.mode)}, expected root's with 0o600",
    )


def test_no_secret_is_readable_by_everyone(target: Target, look: Look) -> None:
    target.expect(not look.lines("readable"), f"readable by everyone: {', '.join(look.lines('readable'))}")


def test_the_ca_key_is_not_on_the_host(target: Target, host: Host) -> None:
    found = host.run("find /etc /var/lib/ingot /root -xdev -name 'ca.pem' -o -xdev -name 'ca.key'").stdout.split()
    target.expect(not found, f"a CA key is on the host: {found}")
