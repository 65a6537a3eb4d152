"""Usage: summed on a host from its logs, added up over hosts."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingot.facts import usage_on_host
from ingot.facts.usage import HostUsage, Usage
from ingot.report.usage import merged

pytestmark = pytest.mark.gateway

DAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def asked(**said: Any) -> dict[str, Any]:
    """A line of the gateway's log."""
    return {
        "time": "2026-11-23T10:00:00+00:00",
        "request_id": "r",
        "team": "sales",
        "key": "0a0a0a0a",
        "model": "qwen",
        "path": "/v1/chat/completions",
        "port": 443,
        "status": 200,
        **said,
    }


def served(**said: Any) -> dict[str, Any]:
    """A line of an engine's accounts."""
    return {
        "time": "2026-11-23T10:00:00.123+00:00",
        "request_id": "r",
        "team": "sales",
        "key": "0a0a0a0a",
        "model": "qwen",
        "path": "/v1/chat/completions",
        "status": 200,
        "first_byte_s": 0.1,
        "duration_s": 1.0,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "finished": True,
        **said,
    }


class Logs:
    """The logs of a host below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("gateway", "engine"):
            (root / name).mkdir()

    def write(self, name: str, *lines: dict[str, Any] | str) -> None:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()
        (self.root / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)

    def sums(self, by: str = "team,model", since: float = DAY, until: float = DAY + 86400) -> dict[str, Any]:
        """What the script prints, run as on a host."""
        words = [sys.executable, "-I", "-c", Path(usage_on_host.__file__).read_text(), str(self.root)]
        done = subprocess.run([*words, str(since), str(until), by], capture_output=True, text=True, check=True)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def rows(self, by: str = "team,model", **period: float) -> dict[tuple[str, ...], dict[str, Any]]:
        return {tuple(row.pop("group")): row for row in self.sums(by, **period)["rows"]}


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_requests_are_the_gateways_and_tokens_the_engines(logs: Logs) -> None:
    logs.write("gateway/access.jsonl", asked(), asked(), asked(team="research"))
    logs.write("engine/qwen-0.jsonl", served(), served(prompt_tokens=1, completion_tokens=2))
    logs.write("engine/qwen-1.jsonl", served(team="research"))
    sums = {
        group: [row[n] for n in ("requests", "prompt_tokens", "completion_tokens")]
        for group, row in logs.rows().items()
    }
    assert sums == {("sales", "qwen"): [2, 11, 7], ("research", "qwen"): [1, 10, 5]}


def test_refusals_are_told_by_status_and_aborted_answers_apart(logs: Logs) -> None:
    statuses = (200, 429, 429, 413, 499)
    logs.write("gateway/access.jsonl", *(asked(status=status) for status in statuses))
    cut_off = served(finished=False, prompt_tokens=None, completion_tokens=None, first_byte_s=None)
    logs.write("engine/qwen-0.jsonl", served(), cut_off)
    row = logs.rows()["sales", "qwen"]
    assert (row["requests"], row["refused"], row["aborted"]) == (5, {"429": 2, "413": 1}, 1)
    assert sum(row["first_byte"].values()) == 1


def test_without_a_key_that_works_there_is_neither_team_nor_model(logs: Logs) -> None:
    logs.write("gateway/access.jsonl", asked(team="", key="", status=401))
    assert logs.rows() == {("", ""): {**logs.rows()["", ""], "requests": 1, "refused": {"401": 1}}}


def test_lists_health_and_other_paths_are_no_requests(logs: Logs) -> None:
    paths = ("/v1/models", "/healthz", "/metrics", "/-/error-400")
    logs.write("gateway/access.jsonl", *(asked(path=path) for path in paths), asked(path="/-/engine_1/v1/completions"))
    assert logs.rows()["sales", "qwen"]["requests"] == 1


def test_what_a_fleet_gateway_hands_on_was_counted_there(logs: Logs) -> None:
    logs.write("gateway/access.jsonl", asked(port=8443))
    assert logs.rows() == {}


def test_a_request_whose_model_nginx_does_not_know_is_found_at_the_engine(logs: Logs) -> None:
    logs.write("gateway/access.jsonl", asked(request_id="a", model=""), asked(request_id="b", model="", status=404))
    logs.write("engine/qwen-0.jsonl", served(request_id="a"))
    assert {group: row["requests"] for group, row in logs.rows().items()} == {("sales", "qwen"): 1, ("sales", ""): 1}


def test_what_waits_for_an_engines_word_is_bounded_and_nothing_of_it_is_lost(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_on_host, "MOST_WAITING", 3)
    sums = usage_on_host.Sums(DAY, DAY + 86400, ["team", "model"])
    logs.write("gateway/access.jsonl", *(asked(request_id=str(number), model="") for number in range(10)))
    sums.read(logs.root, "gateway/access.jsonl", sums.gateway)
    assert list(sums.waiting) == ["7", "8", "9"]
    assert sums.rows["sales", ""]["requests"] == 7
    logs.write("engine/qwen-0.jsonl", *(served(request_id=str(number)) for number in range(10)))
    sums.read(logs.root, "engine/*.jsonl", sums.engine)
    assert {group: row["requests"] for group, row in sums.rows.items()} == {("sales", ""): 7, ("sales", "qwen"): 3}
    assert sums.rows["sales", "qwen"]["prompt_tokens"] == 100 and sums.waiting == {}


def test_an_engine_cannot_make_any_number_of_rows(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_on_host, "MOST_ROWS", 3)
    sums = usage_on_host.Sums(DAY, DAY + 86400, ["model"])
    logs.write("engine/qwen-0.jsonl", *(served(model=f"m{number}") for number in (*range(10), 0)))
    sums.read(logs.root, "engine/*.jsonl", sums.engine)
    assert (sorted(sums.rows), sums.wrong) == ([("m0",), ("m1",), ("m2",)], 7)
    assert sums.rows["m0",]["prompt_tokens"] == 20


def test_rotated_and_compressed_logs_are_read_too(logs: Logs) -> None:
    for name in ("access.jsonl", "access.jsonl-20261122-1790000000", "access.jsonl-20261121-1780000000.gz"):
        logs.write(f"gateway/{name}", asked())
    logs.write("engine/qwen-0.jsonl-20261121-1780000000.gz", served())
    row = logs.rows()["sales", "qwen"]
    assert (row["requests"], row["prompt_tokens"]) == (3, 10)


def test_only_lines_of_the_time_that_is_asked_for_count(logs: Logs) -> None:
    times = (
        "2026-11-22T23:59:59+00:00",
        "2026-11-23T00:00:00+00:00",
        "2026-11-24T01:00:00+02:00",
        "2026-11-24T00:00:00Z",
    )
    logs.write("gateway/access.jsonl", *(asked(time=time.replace("Z", "+00:00")) for time in times))
    assert logs.rows(by="day") == {("2026-11-23",): {**logs.rows(by="day")["2026-11-23",], "requests": 2}}


def test_files_that_are_too_old_are_not_opened(logs: Logs) -> None:
    logs.write("gateway/access.jsonl-20261001-1", asked())
    os.utime(logs.root / "gateway/access.jsonl-20261001-1", (DAY - 1, DAY - 1))
    assert logs.rows() == {}


def test_lines_that_cannot_be_read_are_counted_and_stop_nothing(logs: Logs) -> None:
    wrong = ("", "{", "[]", "3", "{}", json.dumps(asked(time="yesterday")), json.dumps(asked(path=3)), "\x00\xff")
    logs.write("gateway/access.jsonl", asked(), *wrong, asked())
    logs.write("engine/qwen-0.jsonl", served(prompt_tokens="many"), served())
    (logs.root / "gateway/access.jsonl-1.gz").write_bytes(b"not compressed")
    said = logs.sums()
    assert (said["rows"][0]["requests"], said["wrong_lines"]) == (2, len(wrong) + 2)


@pytest.mark.parametrize(
    "line",
    [
        served(prompt_tokens=float("inf")),
        served(first_byte_s=float("inf")),
        served(prompt_tokens=10**4000),
        served(completion_tokens=-5),
        served(time="0001-01-01T00:00:00"),
        served(team="[bold]\x1b]0;x\x07"),
        served(model='=HYPERLINK("x")'),
        served(model=["qwen"]),
        "[" * 60_000,
    ],
    ids=["no number", "no time", "huge", "negative", "no date", "escape", "formula", "list", "deep"],
)
def test_what_an_engine_that_was_taken_over_writes_is_neither_counted_nor_shown(
    logs: Logs, line: dict[str, Any] | str
) -> None:
    logs.write("gateway/access.jsonl", asked(model=""))
    logs.write("engine/qwen-0.jsonl", line, served())
    said = logs.sums()
    assert said["wrong_lines"] == 1
    assert [(row["group"], row["requests"], row["prompt_tokens"]) for row in said["rows"]] == [
        (["sales", "qwen"], 1, 10)
    ]


def test_a_file_without_line_breaks_is_not_read_into_memory_whole(logs: Logs) -> None:
    logs.write("engine/qwen-0.jsonl", "x" * 10 * usage_on_host.LONGEST_LINE, served())
    assert logs.sums()["wrong_lines"] == 11


def test_a_compressed_log_that_breaks_in_its_middle_is_read_so_far(logs: Logs) -> None:
    logs.write("engine/qwen-0.jsonl-1.gz", served())
    path = logs.root / "engine/qwen-0.jsonl-1.gz"
    path.write_bytes(path.read_bytes()[:10] + b"\xff" * 100)
    logs.write("engine/qwen-0.jsonl", served())
    said = logs.sums()
    assert (said["rows"][0]["prompt_tokens"], said["wrong_lines"]) == (10, 1)


def test_a_link_that_an_engine_put_is_not_followed(logs: Logs, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(json.dumps(served()) + "\n")
    (logs.root / "engine/x.jsonl").symlink_to(tmp_path / "elsewhere")
    assert logs.sums() == {"rows": [], "wrong_lines": 0}


def test_a_host_without_logs_has_no_rows(tmp_path: Path) -> None:
    assert Logs(tmp_path).sums() == {"rows": [], "wrong_lines": 0}


def test_hosts_are_added_up_and_times_stay_true_to_five_percent(logs: Logs) -> None:
    seconds = [0.01 * number for number in range(1, 101)]
    logs.write("engine/qwen-0.jsonl", *(served(first_byte_s=second) for second in seconds[::2]))
    first = logs.sums()["rows"]
    logs.write("engine/qwen-0.jsonl", *(served(first_byte_s=second) for second in seconds[1::2]))
    [used] = merged([*first, *logs.sums()["rows"]]).values()
    assert used.prompt_tokens == 1000
    assert used.first_byte_s(0.5) == pytest.approx(0.5, rel=0.05)
    assert used.first_byte_s(0.95) == pytest.approx(0.95, rel=0.05)


def test_no_answer_has_no_time() -> None:
    nothing = {"refused": {"429": 1}, "aborted": 0, "prompt_tokens": 0, "completion_tokens": 0, "first_byte": {}}
    [used] = merged([{"group": ["sales"], "requests": 1, **nothing}]).values()
    assert used.cells()["first_byte_p50_s"] is None and used.cells()["refused"] == "1x429"


def output(python: int, usage: int, said: str) -> list[str]:
    sections = (("python", python, "/usr/bin/python3"), ("usage", usage, said))
    return [
        line
        for name, status, text in sections
        for line in (f"@@ingot-begin {name}", *text.splitlines(), "", f"@@ingot-end {name} {status}")
    ]


def test_what_a_host_says_is_read() -> None:
    said = json.dumps({"rows": [{"group": ["a"]}], "wrong_lines": 2})
    assert Usage().process(output(0, 0, said)) == HostUsage(({"group": ["a"]},), 2)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (output(1, 127, "sh: python3: not found"), "it has no python3, which sums its logs; install python3 there"),
        (output(0, 1, "Traceback\nMemoryError"), "its logs could not be summed (python3 said MemoryError)"),
    ],
)
def test_a_host_that_cannot_sum_says_why(lines: list[str], fault: str) -> None:
    assert Usage().process(lines).fault == fault
