"""TLS as Mozilla's intermediate profile has it, and a certificate that names the host and lasts."""

from __future__ import annotations

import time

import pytest

from ingot.secrets.certificate_names import normal
from tests.hosts.look import Look
from tests.hosts.outside import Outside, Refused
from tests.hosts.target import Target

#: A deploy renews in a certificate's last 30 days; with fewer than this nobody deployed for weeks.
LEFT_DAYS = 7
DAY_S = 86400


def test_a_caller_meets_tls_1_3_and_http_2_where_asked_for(target: Target, outside: Outside) -> None:
    session = outside.sessions["name"]
    target.expect(not isinstance(session, Refused), f"no handshake as {target.name}: {getattr(session, 'reason', '')}")
    assert not isinstance(session, Refused)
    target.expect(session.version == "TLSv1.3", f"expected TLSv1.3 trusting {target.ca}, got {session.version}")
    spoken = "h2" if target.values.gateway_http2 else "http/1.1"
    target.expect(session.alpn == spoken, f"expected {spoken} by gateway_http2, got {session.alpn}; deploy again")


def test_a_caller_may_use_the_address_where_the_certificate_is_ingots(
    target: Target, look: Look, outside: Outside
) -> None:
    if look.is_beside:
        pytest.skip("who gives no name meets the first site of others")
    session = outside.sessions["address"]
    target.expect(
        not (target.has_internal_certificate and isinstance(session, Refused)),
        f"no handshake as {target.address}: {getattr(session, 'reason', '')}",
    )


def test_tls_1_2_has_strong_ciphers_only(target: Target, outside: Outside) -> None:
    session = outside.sessions["1.2"]
    target.expect(not isinstance(session, Refused), f"no handshake with TLS 1.2: {getattr(session, 'reason', '')}")
    assert not isinstance(session, Refused)
    strong = session.cipher.startswith("ECDHE-") and ("GCM" in session.cipher or "CHACHA20" in session.cipher)
    target.expect(strong, f"TLS 1.2 is agreed with {session.cipher}, expected ECDHE and an authenticated cipher")


def test_tls_1_1_is_refused(target: Target, outside: Outside) -> None:
    target.expect(isinstance(outside.sessions["1.1"], Refused), "TLS 1.1 is accepted; deploy again")


def test_an_unknown_name_is_refused_before_anything_is_said(target: Target, look: Look, outside: Outside) -> None:
    if look.is_beside:
        pytest.skip("a name that nobody serves meets the first site of others")
    session = outside.sessions["stranger"]
    target.expect(
        isinstance(session, Refused) and "SSL" in session.reason and "verif" not in session.reason,
        f"a handshake with an unknown name came to {session}, expected a refusal",
    )


def test_the_certificate_names_the_host(target: Target, outside: Outside) -> None:
    session = outside.sessions["name"]
    names = frozenset() if isinstance(session, Refused) else session.names
    missing = [name for name in target.names if normal(name) not in names]
    target.expect(not missing, f"the certificate lacks {', '.join(missing)}; deploy again")


def test_the_certificate_lasts_some_days(target: Target, outside: Outside) -> None:
    session = outside.sessions["name"]
    left = 0 if isinstance(session, Refused) else int((session.ends_at - time.time()) / DAY_S)
    target.expect(left >= LEFT_DAYS, f"the certificate ends in {left} days, expected {LEFT_DAYS} or more; deploy")
