"""Nobody on the host but root reads a secret, and no log holds one."""

from __future__ import annotations

from tests.hosts.look import KEY_MAP, TLS_KEYS, Look
from tests.hosts.outside import Outside
from tests.hosts.target import Target

#: What a log line would be named that holds more than who asked, when, where and how it went.
TELLING = {"args", "authorization", "body", "cookie", "prompt", "query", "request", "request_body", "uri_args"}


def test_only_root_reads_the_tls_key_and_the_map_of_keys(target: Target, look: Look) -> None:
    found = {path: f"{user} {mode}" for path, user, mode in (line.split() for line in look.lines("private"))}
    missing = {KEY_MAP, TLS_KEYS[target.values.gateway_certificate]} - set(found)
    target.expect(not missing, f"{', '.join(sorted(missing))} is missing; deploy")
    loose = [f"{path} is {now}" for path, now in found.items() if now != "root 600"]
    target.expect(not loose, f"{', '.join(loose)}, expected root 600; deploy again")


def test_no_secret_is_readable_by_everyone(target: Target, look: Look) -> None:
    target.expect(not look.lines("readable"), f"readable by everyone: {', '.join(look.lines('readable'))}")


def test_nothing_of_ours_may_be_written_by_everyone(target: Target, look: Look) -> None:
    target.expect(not look.lines("writable"), f"everyone may write {', '.join(look.lines('writable')[:5])}")


def test_what_belongs_on_the_control_machine_is_not_here(target: Target, look: Look) -> None:
    target.expect(not look.lines("strangers"), f"a CA's or a caller's key is on the host: {look.lines('strangers')}")


def test_no_process_was_started_with_a_secret(target: Target, look: Look) -> None:
    target.expect(not look.lines("arguments"), f"keys in the arguments of {', '.join(look.lines('arguments'))}")


def test_no_container_is_given_a_secret(target: Target, look: Look) -> None:
    words = ("TOKEN", "API_KEY", "SECRET", "PASSWORD")
    given = {
        f"{one['Name'].removeprefix('/')}: {name}"
        for one in look.ours
        for name, _, value in (variable.partition("=") for variable in one["Config"]["Env"])
        if value and any(name.endswith(word) for word in words)
    }
    target.expect(not given, f"containers carry {', '.join(sorted(given))}; remove it from engine_extra_env")


def test_prompts_and_keys_are_written_nowhere(target: Target, keyed: Outside) -> None:
    target.expect(not target.leaks, f"the prompt that was just asked, or a key, is in {', '.join(target.leaks)}")


def test_the_access_log_holds_who_when_and_how_it_went(target: Target, look: Look) -> None:
    target.expect(look.answers["log"].status == 0, "there is no access log; deploy")
    target.expect(all(line.startswith("{") for line in look.lines("log")), "the access log is not JSON; deploy again")
    telling = sorted({name for line in look.log for name in line} & TELLING)
    target.expect(not telling, f"the access log holds {', '.join(telling)}; deploy again")
    queries = [line["path"] for line in look.log if "?" in str(line.get("path"))]
    target.expect(not queries, f"the access log holds query strings: {queries[:3]}")


def test_the_access_log_is_rotated(target: Target, look: Look) -> None:
    rotated = "/var/log/ingot/gateway/access.jsonl" in look.lines("rotation")
    target.expect(rotated, "logrotate leaves the access log alone")
    state = look.unit("logrotate.timer").split()[0]
    target.expect(state == "active", f"logrotate.timer is {state}; enable it")
