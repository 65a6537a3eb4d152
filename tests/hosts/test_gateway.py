"""What callers meet: keys, an allow-list of routes, answers that stream, and nothing else that listens."""

from __future__ import annotations

import re

import pytest

from ingot.engines import proof
from ingot.operations.gateway import fronting
from tests.hosts.look import Look
from tests.hosts.outside import PROBES, Outside, Probe, Refused
from tests.hosts.target import Target

_STRANGERS = [probe for probe in PROBES if probe.key in ("none", "made up")]
_CALLERS = [probe for probe in PROBES if probe not in _STRANGERS]


def test_nginx_runs_a_valid_configuration_and_starts_at_boot(target: Target, look: Look) -> None:
    target.expect(look.answers["nginx"].status == 0, f"nginx -t says {look.text('nginx')}")
    target.expect(look.unit("nginx") == "active enabled", f"nginx is {look.unit('nginx')}; deploy again")


def test_nginx_runs_what_is_installed(target: Target, look: Look) -> None:
    target.expect(
        look.gateway_runs_what_is_installed, "nginx runs another configuration than the one installed; deploy again"
    )


def test_the_filter_answers_where_a_team_asked_for_it(target: Target, look: Look) -> None:
    resolved = target.values.teams.values()
    asked = [team.name for team in resolved if team.filtered and target.serves]
    answers = bool(look.json("filter", {}).get("digest"))
    target.expect(answers or not asked, f"the filter does not answer, so {', '.join(asked)} get errors; deploy again")


def test_nothing_listens_but_ssh_and_the_gateway(target: Target, look: Look) -> None:
    # What others' nginx serves was there first, and preflight names it.
    theirs = {80} if look.is_beside else set()
    allowed = {*target.open_ports, *theirs}
    others = []
    for line in look.lines("listeners"):
        address, _, port = line.split()[3].rpartition(":")
        loopback = address.startswith(("127.", "[::1]", "[::ffff:127."))
        # What an engine opens for the hosts of its group answers nobody else: test_engine.py looks at the rules.
        of_group = bool(look.parts) and "vllm" in line.lower()
        if not loopback and not of_group and int(port) not in allowed:
            process = re.search(r'"([^"]+)"', line)
            others.append(f"{process.group(1) if process else 'something'} on {address}:{port}")
    target.expect(
        not others,
        f"reachable besides SSH and the gateway: {', '.join(others)}; stop it, or name its port in verify_ports",
    )


def test_nothing_is_served_in_clear_on_port_80(target: Target, look: Look, outside: Outside) -> None:
    if look.is_beside:
        pytest.skip("port 80 is that of others' sites")
    answer = outside.port_80
    closed = isinstance(answer, Refused)
    # An ACME server asks there; everything else is told that there is nothing.
    only_acme = not closed and 80 in target.open_ports and answer.status == 404
    target.expect(closed or only_acme, "port 80 answers, where a key could be sent in clear")


def test_a_request_in_clear_is_refused(target: Target, outside: Outside) -> None:
    answer = outside.in_clear
    status = answer.reason if isinstance(answer, Refused) else answer.status
    target.expect(isinstance(answer, Refused) or status == 400, f"plain HTTP on port 443 is answered with {status}")


@pytest.mark.parametrize("probe", _STRANGERS, ids=[probe.name for probe in _STRANGERS])
def test_a_stranger_is_refused(target: Target, outside: Outside, probe: Probe) -> None:
    _as_expected(target, outside, probe)


@pytest.mark.parametrize("probe", _CALLERS, ids=[probe.name for probe in _CALLERS])
def test_a_caller_is_refused(target: Target, keyed: Outside, probe: Probe) -> None:
    _as_expected(target, keyed, probe)


def _as_expected(target: Target, outside: Outside, probe: Probe) -> None:
    answer = outside.probes[probe.name]
    target.expect(not isinstance(answer, Refused), f"{probe.name}: no answer ({getattr(answer, 'reason', '')})")
    assert not isinstance(answer, Refused)
    target.expect(
        answer.status in probe.statuses,
        f"{probe.name} is answered with {answer.status}, expected {' or '.join(map(str, sorted(probe.statuses)))}",
    )


def test_errors_have_the_shape_that_clients_know(target: Target, outside: Outside) -> None:
    answer = outside.probes["no key"]
    target.expect(not isinstance(answer, Refused), "no answer without a key")
    assert not isinstance(answer, Refused)
    target.expect('"invalid_api_key"' in answer.body, f"401 with another body than clients know: {answer.body}")


def test_answers_tell_no_version_and_carry_their_headers(target: Target, outside: Outside) -> None:
    answer = outside.healthz
    target.expect(not isinstance(answer, Refused), f"/healthz has no answer: {getattr(answer, 'reason', '')}")
    assert not isinstance(answer, Refused)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    target.expect(headers.get("server", "nginx") == "nginx", f"answers tell their server: {headers.get('server')}")
    missing = {"x-request-id", "x-content-type-options"} - set(headers)
    target.expect(not missing, f"answers lack {', '.join(sorted(missing))}; deploy again")
    well = 503 if _gives_nothing(target) else 200
    target.expect(answer.status == well, f"/healthz answers {answer.status}")


def _gives_nothing(target: Target) -> bool:
    """Whether the host has no model to give anyone: it watches others, or serves one behind the head of its group."""
    if fronting.is_front(target.host):
        return False
    return not target.serves or not target.values.answers_at(target.name)


def test_with_a_key_the_models_are_listed(target: Target, keyed: Outside) -> None:
    if _gives_nothing(target):
        pytest.skip("it gives no model to anyone")
    answer = keyed.models
    target.expect(not isinstance(answer, Refused), f"/v1/models has no answer: {getattr(answer, 'reason', '')}")
    assert not isinstance(answer, Refused)
    target.expect(answer.status == 200, f"/v1/models answers {answer.status}: {answer.body}")


def test_every_model_does_what_it_is_for(target: Target, keyed: Outside) -> None:
    """A completion, a forced tool call, thoughts apart, an embedding of its width, an order, a transcript."""
    for served, question, answer in keyed.uses:
        target.expect(
            not isinstance(answer, Refused),
            f"{served.model} gave no answer to {question.path}: {getattr(answer, 'reason', '')}",
        )
        assert not isinstance(answer, Refused)
        said = proof.trouble(served, question, str(answer.status), answer.body)
        target.expect(said is None, f"{served.model} {said}; see docs/models.md")


def test_with_a_key_the_model_answers(target: Target, keyed: Outside) -> None:
    _writes(target, keyed)
    answer = keyed.completion
    target.expect(not isinstance(answer, Refused), f"no completion: {getattr(answer, 'reason', '')}")
    assert not isinstance(answer, Refused)
    target.expect(answer.status == 200, f"{answer.status}: {answer.body}")
    target.expect('"assistant"' in answer.body, f"an answer without an assistant's message: {answer.body}")


def test_a_streamed_answer_comes_in_pieces(target: Target, keyed: Outside) -> None:
    _writes(target, keyed)
    target.expect(keyed.streamed is None, keyed.streamed or "")


def _writes(target: Target, keyed: Outside) -> None:
    """Where no model writes text, there is nobody to talk to."""
    if _gives_nothing(target):
        pytest.skip("it gives no model to anyone")
    if keyed.served and not any(one.kind == "generate" for one in keyed.served):
        pytest.skip("no model here writes text")
