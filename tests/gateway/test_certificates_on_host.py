"""Certificates on real machines: a pair of files on the oldest nginx, a real ACME server, the way back, nginx.org."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.operations.gateway import acme as gateway_acme
from ingot.operations.gateway import certificate
from ingot.sandbox import Sandbox
from ingot.secrets import keys
from tests.gateway import acme_server, issuing, nginx_org
from tests.gateway.checkers import sslyze
from tests.gateway.conftest import ENGINE, ROOT, GatewayHost
from tests.gateway.test_on_host import CHAT, NO_CHANGE, STREAM
from tests.hosts.https import Caller
from tests.monitoring.conftest import Watched
from tests.settings.values import DEFAULTS

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME, LOST = "llm.example.org", "nobody.example.org"


@contextmanager
def streaming(caller: Caller) -> Iterator[None]:
    """Answers of one second each are streamed all the while, one after the other, and arrive whole."""
    answers: list[list[int]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append([])
            answers[-1] += [json.loads(data)["piece"] for _, data in caller.stream(CHAT, STREAM)]

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=600)
    assert answers and answers == [list(range(10))] * len(answers)


@pytest.fixture(scope="module")
def debian_12(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayHost]:
    """The oldest nginx and OpenSSL that are supported, with an engine; nothing deployed yet."""
    sandbox = Sandbox()
    made = GatewayHost(sandbox.up("t-gateway-12", os="debian12"), tmp_path_factory.mktemp("control-12"))
    made.start_engine()
    made.tell_gateway({"stand-in": ENGINE})
    made.key = keys.create(made.secrets, "research")
    yield made
    sandbox.down("t-gateway-12")


def by_name(served: GatewayHost, ca_file: Path) -> Caller:
    """One who calls the host by the name of a certificate from elsewhere."""
    return Caller(served.host.address, NAME, ca_file, served.key)


def test_a_pair_of_files_serves_on_the_oldest_nginx_and_is_replaced_under_a_stream(
    debian_12: GatewayHost, tmp_path: Path
) -> None:
    root = issuing.root()
    between = issuing.intermediate(root)
    ca_file = tmp_path / "root.pem"
    ca_file.write_bytes(issuing.pem(root.certificate))
    first = issuing.leaf(between, NAME)
    certificate_file, key_file = first.write(tmp_path)
    values = {
        "gateway_certificate": "files",
        "gateway_certificate_file": str(certificate_file),
        "gateway_certificate_key_file": str(key_file),
        "gateway_names": [NAME],
    }
    done = debian_12.deploy(flags=("-y", "--json", "--diff"), **values)
    assert done.status == 0, done.output
    assert "PRIVATE KEY" not in done.output
    caller = by_name(debian_12, ca_file)
    assert caller.get("/v1/models").status == 200
    assert debian_12.host.succeeds(f"stat -c '%U %a' {certificate.PAIR}").strip() == "root 600"
    debian_12.host.fails("grep -rl 'PRIVATE KEY' /tmp /var/tmp /run/ingot")
    assert "syntax is ok" in debian_12.host.succeeds("nginx -V 2>&1 | grep -q nginx/1.22.1 && nginx -t 2>&1")
    status, judgement = sslyze(NAME, debian_12.host.address, ca_file)
    assert (status, "OK - Compliant" in judgement) == (0, True), judgement

    second = issuing.leaf(between, NAME)
    second.write(tmp_path)
    with streaming(caller):
        renewed = debian_12.deploy(**values)
    assert renewed.changed == ["Gateway | Certificate, keys and nginx configuration"], renewed.output
    assert presented(debian_12, NAME) == str(second.certificate.serial_number)
    assert debian_12.deploy(**values).changed == NO_CHANGE


@pytest.mark.long
@pytest.mark.observe
def test_the_oldest_prometheus_watches_and_is_watched(debian_12: GatewayHost) -> None:
    """Debian 12: Prometheus 2.42, Alertmanager 0.25, node exporter 1.5, nginx 1.22."""
    watched = Watched(debian_12.host, debian_12.directory)
    run = watched.deploy("monitoring")
    assert run.status == 0, run.output[-6000:]
    watched.wait_for_sample(f'up{{job="node",host="{debian_12.host.name}"}} == 1', timeout_s=600)
    watched.wait_for_sample("time() - ingot_collector_last_run_seconds < 60")
    again = watched.deploy("monitoring")
    assert (again.status, again.changed(debian_12.host.name)) == (0, []), again.output[-4000:]


def presented(served: GatewayHost, name: str) -> str:
    """The serial number of the certificate that callers of `name` meet."""
    shown = served.host.succeeds(
        f"openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null | "
        "openssl x509 -noout -serial"
    )
    return str(int(shown.strip().partition("=")[2], 16))


def test_sslyze_finds_mozillas_intermediate_profile(served: GatewayHost) -> None:
    status, judgement = sslyze(served.host.name, served.host.address, served.caller.ca)
    assert (status, "OK - Compliant" in judgement) == (0, True), judgement


def test_the_post_quantum_group_that_sslyze_does_not_know_is_agreed_on(served: GatewayHost) -> None:
    said = served.host.succeeds(
        f"openssl s_client -connect 127.0.0.1:443 -servername {served.host.name} </dev/null 2>/dev/null"
    )
    assert "Negotiated TLS1.3 group: X25519MLKEM768" in said


def test_the_documented_one_liner_is_the_gateways_role_alone(served: GatewayHost) -> None:
    command = [sys.executable, "-m", "pyinfra", "-y", str(served.directory / "lab.py"), "roles.gateway.gateway"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "Gateway | Callers meet it on port 443" in said, said


@pytest.fixture(scope="module")
def acme(served: GatewayHost) -> dict[str, object]:
    """The values for a real ACME server that runs on the host itself."""
    ca_file = served.directory / "pebble.pem"
    acme_server.start(served.host, (NAME,), ca_file)
    return {
        "gateway_certificate": "acme",
        "gateway_names": [NAME],
        "gateway_acme_directory": acme_server.DIRECTORY,
        "gateway_acme_ca_file": str(ca_file),
    }


def test_what_the_acme_server_refuses_is_one_sentence_and_the_old_certificate_goes_on(
    served: GatewayHost, acme: dict[str, object]
) -> None:
    refused = served.deploy(**{**acme, "gateway_names": [NAME, LOST]})
    assert refused.status != 0
    [sentence] = {line.strip() for line in refused.output.splitlines() if "issued no certificate" in line}
    assert f"{acme_server.DIRECTORY} issued no certificate for {NAME}, {LOST} (" in sentence
    assert LOST in sentence.partition("(")[2] and "what was served goes on" in sentence
    assert served.caller.get("/v1/models").status == 200


def test_a_certificate_comes_from_the_acme_server_and_the_second_run_changes_nothing(
    served: GatewayHost, acme: dict[str, object]
) -> None:
    issued = served.deploy(**acme)
    assert issued.status == 0, issued.output
    caller = by_name(served, acme_server.root_of(served.host, served.directory / "root.pem"))
    assert caller.get("/v1/models").status == 200
    assert served.deploy(**acme).changed == NO_CHANGE


def test_port_80_answers_the_acme_server_and_never_sends_a_key_elsewhere(
    served: GatewayHost, acme: dict[str, object]
) -> None:
    ask = f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}\\n' http://{NAME}"
    served.host.put(f"{gateway_acme.WEBROOT}/.well-known/acme-challenge/token", "proof")
    said = served.host.succeeds(
        f"curl -sf http://{NAME}/.well-known/acme-challenge/token; echo; {ask}/v1/models; {ask}/; "
        f"{ask}/.well-known/acme-challenge/..%2f..%2f..%2f..%2fetc/passwd; {ask}{CHAT} -X POST -d x"
    )
    assert [line.strip() for line in said.splitlines()] == ["proof", "404", "404", "400", "404"]


def test_certbots_own_timer_renews_and_nginx_takes_it_under_a_stream(
    served: GatewayHost, acme: dict[str, object]
) -> None:
    before = presented(served, NAME)
    # Due at once; and not at a random second of the next minutes.
    served.host.succeeds(
        "systemctl is-active certbot.timer && "
        "sed -i 's/^# renew_before_expiry.*/renew_before_expiry = 60 days/' /etc/letsencrypt/renewal/ingot.conf"
    )
    caller = by_name(served, served.directory / "root.pem")
    with streaming(caller):
        served.host.succeeds("systemctl start certbot.service")
    assert presented(served, NAME) != before
    assert caller.get("/v1/models").status == 200
    assert served.deploy(**acme).changed == NO_CHANGE


def test_back_to_the_internal_ca_with_nginx_from_nginx_org(served: GatewayHost, acme: dict[str, object]) -> None:
    values: dict[str, object] = {
        "gateway_packages": "nginx.org",
        "sources": {**DEFAULTS["sources"], "nginx": nginx_org.publish(served.host)},
        "gateway_hsts_max_age_s": 63072000,
    }
    changed = served.deploy(**values)
    assert changed.status == 0, changed.output
    assert served.host.succeeds("dpkg-query -W -f '${Version}' nginx") == nginx_org.VERSION
    served.host.fails("dpkg-query -W -f '${db:Status-Status}' nginx-common | grep -q ^installed")
    answer = served.caller.get("/v1/models")
    assert (answer.status, answer.headers["Strict-Transport-Security"]) == (200, "max-age=63072000")
    nobody = replace(served.caller, key=None).get("/v1/models")
    assert (nobody.status, nobody.headers["Strict-Transport-Security"]) == (401, "max-age=63072000")
    served.host.fails("ss -Hltn 'sport = :80' | grep . || test -e /etc/letsencrypt/live/ingot")
    assert served.deploy(**values).changed == NO_CHANGE
