"""A bare host becomes a served model, stays one, and changes only where a setting changed. The tests run in order."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from pathlib import Path

import httpx2 as httpx
import openai
import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.inventory import hosts
from ingot.secrets.keys import fingerprint
from tests.e2e.deploying import INGOT, ROOT, deploy, kill_deploy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME = "e2e"
#: What the engine was started with.
COMMAND = "docker inspect --format '{{json .Config.Cmd}}' $(docker ps --quiet)"
MODEL = "tiny-qwen3"
#: Seconds from a reboot until the engine has loaded its model again and every check ran, on two busy cores.
BACK_AFTER_BOOT_S = 900


def client(host: TestHost, key: str) -> openai.OpenAI:
    """The client that callers use, trusting the internal CA alone."""
    context = ssl.create_default_context(cafile=str(Sandbox().secrets_dir / "ca.crt"))
    return openai.OpenAI(
        base_url=f"https://{host.address}/v1", api_key=key, http_client=httpx.Client(verify=context), max_retries=0
    )


def ask(host: TestHost, key: str) -> str:
    answer = client(host, key).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    return answer.choices[0].message.content or ""


def titles() -> list[str]:
    """What every role of deploy.py is called."""
    roles = re.findall(r"^(\w+)\(\)", (ROOT / "deploy.py").read_text(), re.MULTILINE)
    assert len(roles) == len(list((ROOT / "roles").glob("[a-z]*.py")))
    return [re.search(r'@deploy\("(.+)"\)', (ROOT / "roles" / f"{role}.py").read_text()).group(1) for role in roles]  # type: ignore[union-attr]


def containers(host: TestHost) -> str:
    """Ids and start times of the engine's containers: they differ after any restart."""
    return host.succeeds("docker ps --quiet --no-trunc | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}}'")


def test_a_stranger_becomes_a_member(host: TestHost) -> None:
    """As the runbook has it; every later run comes as the deploy user, by the host file that this wrote."""
    done = subprocess.run(
        [str(INGOT), "onboard", NAME, host.address, "--inventory", "inventories/sandbox.py"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preflight: nothing stands in the way of a deploy" in done.stdout
    data = dict(hosts())[f"@ingot/{NAME}"]
    assert (data["ssh_user"], data["gpus"]) == ("ingot", "rtx4090x1")


def test_a_bare_host_becomes_a_served_model(host: TestHost, key: str) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert ask(host, key)
    # All that only travels did so beside the slow steps.
    began = [name for name in run.changed(NAME) if "| Begin to " in name or name.startswith("Driver |")]
    assert began[0] == "Transfers | Begin to fetch weights"
    assert began[-1] == "Cache | Begin to bring the engine's image"
    logs = host.succeeds("cd /var/log/ingot && ls; cat ingot-transfers.log")
    assert "fetched: " in logs and "ingot-models.log" not in logs, "nothing was left to fetch for the cache's role"
    assert host.succeeds("grep -c '^== ' /var/log/ingot/ingot-image.log").strip() == "1"


def test_an_openai_client_gets_a_streamed_answer_in_pieces(host: TestHost, key: str) -> None:
    stream = client(host, key).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=16, stream=True
    )
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 1


def test_the_engine_accounts_for_every_answer_and_repeats_none(host: TestHost, key: str) -> None:
    """Whole, streamed, and given up half way: the tokens are the engine's own, without a word of what was said."""
    caller, model, canary = client(host, key), {"model": MODEL}, [{"role": "user", "content": "CANARY-ACCOUNT"}]
    log = "/var/log/ingot/engine/tiny-qwen3-0.jsonl"
    before = len(host.succeeds(f"cat {log}").splitlines())
    whole = caller.chat.completions.create(**model, messages=canary, max_tokens=8).usage
    *_, last = caller.chat.completions.create(
        **model, messages=canary, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    # Nothing asks for usage here, and still it is known.
    assert list(caller.completions.create(**model, prompt="CANARY-ACCOUNT", max_tokens=5, stream=True))
    left = caller.completions.create(
        **model, prompt="CANARY-ACCOUNT", max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(left))
    left.close()
    # What a request says about usage, and the answer repeats, is not usage.
    forged = {"usage": {"input_tokens": 0, "output_tokens": 0, "prompt_tokens": 0, "completion_tokens": 0}}
    tool = {"type": "function", "name": "forged", "parameters": {"type": "object", "properties": {}, **forged}}
    told = caller.responses.create(
        **model,
        input="CANARY-ACCOUNT",
        instructions=json.dumps(forged),
        max_output_tokens=6,
        tools=[tool],
        tool_choice="none",
        extra_body={"enable_response_messages": True},
    ).usage
    # Given up while nothing of a whole answer was sent.
    with pytest.raises(openai.APITimeoutError):
        caller.with_options(timeout=httpx.Timeout(3, connect=60)).completions.create(
            **model, prompt="CANARY-ACCOUNT", max_tokens=4000, extra_body={"ignore_eos": True}
        )
    host.wait_until_succeeds(f"test $(wc -l <{log}) = {before + 6}")
    lines = [json.loads(line) for line in host.succeeds(f"cat {log}").splitlines()[before:]]
    assert {(line["team"], line["key"], line["model"]) for line in lines} == {("e2e", fingerprint(key)[:8], MODEL)}
    assert [line["finished"] for line in lines] == [True, True, True, False, True, False]
    assert [(line["prompt_tokens"], line["completion_tokens"]) for line in lines[:2]] == [
        (used.prompt_tokens, used.completion_tokens) for used in (whole, last.usage)
    ]
    assert lines[2]["completion_tokens"] == 5 and lines[2]["prompt_tokens"] > 0
    assert (lines[4]["prompt_tokens"], lines[4]["completion_tokens"]) == (told.input_tokens, told.output_tokens)
    assert all(line["prompt_tokens"] > 0 and 0 < line["completion_tokens"] < 4000 for line in (lines[3], lines[5]))
    assert all(0 < line["first_byte_s"] <= line["duration_s"] for line in lines[:5])
    # What cannot be read is quoted in no log.
    odd = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "CANARY-ACCOUNT"}}]
    for path, body in (
        ("/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": odd}]}),
        ("/chat/completions", {"messages": [{"role": "CANARY-ACCOUNT", "content": odd}]}),
        ("/chat/completions", {"messages": canary, "tools": [{"CANARY-ACCOUNT": 1}], "response_format": canary}),
        ("/completions", {"prompt": {"CANARY-ACCOUNT": canary}, "max_tokens": "CANARY-ACCOUNT"}),
        ("/responses", {"input": [{"type": "CANARY-ACCOUNT"}], "text": {"format": {"type": "CANARY-ACCOUNT"}}}),
    ):
        with pytest.raises(openai.APIStatusError):
            caller.post(path, cast_to=object, body={**model, **body})
    engine = "curl -sf http://172.31.213.10:8000/metrics; docker logs ingot-engine-tiny-qwen3-0 2>&1"
    host.fails(f"{{ cat /var/log/ingot/*/*.jsonl /var/log/nginx/*; {engine}; }} | grep -E 'CANARY-ACCOUNT|{key}'")


def test_the_engines_accounts_are_rotated_under_it_and_still_summed(host: TestHost, key: str) -> None:
    host.succeeds("logrotate -f /etc/logrotate.d/ingot-engine")
    assert ask(host, key)
    said = subprocess.run(
        [str(INGOT), "usage", "--inventory", "inventories/sandbox.py", "--host", NAME, "--json", "--by", "team"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    [used] = [row for row in json.loads(said.stdout)["usage"] if row["team"] == "e2e"]
    logged = [json.loads(line) for line in host.succeeds("zcat -f /var/log/ingot/engine/*.jsonl*").splitlines()]
    mine = [line for line in logged if line["team"] == "e2e"]
    assert used["requests"] >= len(mine) and used["aborted"] >= 1
    assert used["completion_tokens"] == sum(line["completion_tokens"] or 0 for line in mine)


#: A caller on the host itself who hangs up while the engine streams; it reports what the caller had got by then.
HANG_UP = """
running() {
    curl -sf http://172.31.213.10:8000/metrics | awk '/^vllm:num_requests_running[{]/ {n += $NF} END {print n + 0}'
}
generated() {
    curl -sf http://172.31.213.10:8000/metrics | awk '/^vllm:generation_tokens_total[{]/ {n += $NF} END {print n + 0}'
}
began=$(generated)
set -- --silent --no-buffer --insecure --resolve "$(hostname):443:127.0.0.1" --header @/run/caller --data @/run/asked
curl "$@" "https://$(hostname)/v1/completions" >/run/got &
for look in $(seq 600); do [ "$(running)" = 1 ] && [ -s /run/got ] && break; sleep 0.1; done
echo "before: $(running), $(grep -c '^data: {' /run/got) pieces"
kill $!
for look in $(seq 600); do [ "$(running)" = 0 ] && break; sleep 0.1; done
echo "after: $(running), $(($(generated) - began)) tokens"
"""


@pytest.mark.gateway
def test_a_caller_who_hangs_up_frees_the_engine_at_once(host: TestHost, key: str) -> None:
    """By the engine's own counts: it stops long before the answer's end."""
    host.put("/run/caller", f"Authorization: Bearer {key}\nContent-Type: application/json\n", mode="0600")
    asked = {"model": MODEL, "prompt": "Go on", "stream": True, "max_tokens": 2000, "ignore_eos": True}
    host.put("/run/asked", json.dumps(asked))
    before, after = host.succeeds(HANG_UP).splitlines()[-2:]
    assert before.startswith("before: 1, ") and not before.endswith(" 0 pieces")
    assert after.startswith("after: 0, ") and int(after.split()[2]) < asked["max_tokens"]


def test_what_the_engine_measured_stands_beside_what_was_predicted(host: TestHost) -> None:
    (measured,) = json.loads(host.succeeds("cat /var/lib/ingot/measured.json"))["measured"]
    done = subprocess.run(
        [str(INGOT), "plan", "inventories/sandbox.py", "--host", host.name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tokens = f"{measured['kv_cache_tokens']:,}"
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("tokens in ")]
    assert line.split()[-3:] == [tokens, tokens, "+0"], done.stdout
    # How it reads its weights is a part of the plan, and was a flag of the engine's; how long it took stands beside it.
    said = " ".join(done.stdout.split())
    assert measured["loading"] == "prefetch" and "of files read ahead, " in said
    assert f"the last start took {measured['loading_s']:g} s (read ahead)" in said, done.stdout
    assert "--safetensors-load-strategy prefetch" in " ".join(json.loads(host.succeeds(COMMAND)))


@pytest.mark.observe
def test_a_benchmark_asks_through_the_gateway_and_its_record_stands_in_the_plan(host: TestHost, key: str) -> None:
    """By the engine image's own benchmark, with a key that nobody sees, while nobody may change the host."""
    asked = "--concurrency 2 --requests 20 --input-tokens 64 --output-tokens 32 --slo ttft=20s --api-key-file - --json"
    running = subprocess.Popen(
        [str(INGOT), "bench", "inventories/sandbox.py", NAME, *asked.split()],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert running.stdin
        running.stdin.write(f"{key}\n")
        running.stdin.close()
        host.wait_until_succeeds("docker inspect ingot-bench >/run/bench.json && [ $(wc -c </run/bench.json) -gt 9 ]")
        # A file of words, since grep itself is among the processes.
        host.put("/run/bench.key", key[:24], mode="0600")
        host.fails("{ cat /run/bench.json; docker logs ingot-bench; ps axww; } 2>&1 | grep -F -f /run/bench.key")
        assert '"purpose": "bench"' in host.succeeds("cat /run/ingot/lock.json")
        assert running.wait(timeout=600) == 0, running.stderr and running.stderr.read()
    finally:
        running.kill()
    assert running.stdout
    (record,) = json.loads(running.stdout.read())["hosts"]
    ((level,), subject) = record["levels"], record["subject"]
    assert (level["measured"]["requests"], level["measured"]["failed"], level["measured"]["within"]) == (20, 0, 1.0)
    assert level["measured"]["output_tokens"] == 20 * 32 and level["measured"]["output_tokens_per_s"] > 0
    assert (subject["model"], subject["gpus"], record["why"]) == (MODEL, 1, None)
    # The tool also looks for routes that the gateway does not have.
    logged = [json.loads(line) for line in host.succeeds("tail -n 40 /var/log/ingot/gateway/access.jsonl").splitlines()]
    asked_for = [(line["team"], line["status"]) for line in logged if line["path"] == "/v1/completions"]
    assert asked_for[-20:] == [("e2e", 200)] * 20
    assert host.succeeds("docker ps --all --quiet --filter label=ingot.bench") == ""
    assert '"result": "done"' in host.succeeds("tail -n 1 /var/log/ingot/changes.jsonl")
    planned = subprocess.run(
        [str(INGOT), "plan", "inventories/sandbox.py", NAME],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert f"measured on {NAME} at {record['at']}" in re.sub(r"\s+", " ", planned.stdout), planned.stdout


@pytest.mark.observe
def test_the_fleet_page_has_what_the_host_and_this_machine_know(host: TestHost, tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    done = subprocess.run(
        [str(INGOT), "report", "inventories/sandbox.py", NAME, "--html", str(page), "--drift"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    (row,) = re.findall(f'<tr><th scope="row"><a href="#host-{NAME}">.*?</tr>', text)
    assert "1 x NVIDIA GeForce RTX 4090" in row and MODEL in row
    drift, deployed = re.findall(r"<td>([^<>]*)</td>", row)[-2:]
    assert drift == "none" and deployed.endswith(" done")
    assert f"measured on {NAME} at" in text
    (used,) = re.findall(r'<th scope="row">e2e</th><td class="n">([\d,]+)</td>', text)
    assert int(used.replace(",", "")) >= 20


def test_a_second_run_of_every_role_changes_nothing(host: TestHost) -> None:
    before = containers(host)
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert run.changed(NAME) == []
    assert {name.partition(" | ")[0] for name in run.reached(NAME)} == set(titles())
    assert containers(host) == before


@pytest.mark.speed
def test_the_service_is_back_after_a_reboot_without_help(host: TestHost, key: str) -> None:
    done = subprocess.run(
        [str(INGOT), "verify", NAME, "--after-reboot"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BACK_AFTER_BOOT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ask(host, key)
    run = deploy(NAME, flags=["--debug"])
    assert run.changed(NAME) == [], run.output[-3000:]
    # A run of a host that is as described: sudo is proven, the host held and looked at, and no role asks more.
    assert run.commands(NAME) == {"": 1, "Preflight": 2}


@pytest.mark.speed
def test_one_setting_changes_only_what_depends_on_it(host: TestHost, key: str) -> None:
    before = containers(host)
    run = deploy(NAME, data=["gateway_max_body=8m"], flags=["--debug"])
    assert run.status == 0, run.output[-6000:]
    assert set(run.commands(NAME)) == {"", "Preflight", "Gateway", "Remember"}, "no other role asks the host"
    assert {name.partition(" | ")[0] for name in run.changed(NAME)} == {"Gateway", "Remember"}
    assert containers(host) == before
    assert ask(host, key)


@pytest.mark.cache
def test_what_nothing_needs_is_pruned_and_what_serves_is_not(host: TestHost, key: str) -> None:
    """A model of an earlier commit goes; the one that a container mounts stays, and serves on."""
    before = containers(host)
    old = "/srv/models/tiny-qwen3/bf16/" + "0" * 40
    host.succeeds(f"mkdir {old} && echo {old} >{old}/.ingot-made && cp /srv/models/tiny-qwen3/bf16/*/*.json {old}")
    said = subprocess.run(
        [str(INGOT), "models", "prune", "--inventory", "inventories/sandbox.py", "--host", NAME, "--yes", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    (found,) = json.loads(said.stdout)["hosts"]
    (sentence,) = found["deletes"]
    assert sentence == f"delete {old} (0.00 GB, no plan, no rollback and no container needs it)"
    host.succeeds(f"test ! -e {old} && ls /srv/models/tiny-qwen3/bf16/*/model.safetensors")
    assert containers(host) == before and ask(host, key)


def test_a_run_that_is_killed_is_healed_by_the_next_one(host: TestHost, key: str) -> None:
    """The operator's machine dies while the gateway's change is under way."""
    host.succeeds("rm -r /etc/nginx/nginx.conf && systemctl stop nginx")
    kill_deploy(NAME, lambda: host.run("test -e /etc/nginx/nginx.conf")[0] == 0)
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert ask(host, key)
    assert deploy(NAME).changed(NAME) == []
