"""Series of a Prometheus are asked on its host: few are kept of many, and what is not there is said."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from ingot.facts import figures_on_host
from ingot.facts.figures import Asked, Figures, MonitorFigures, Window, parse_figures

pytestmark = pytest.mark.observe

WINDOW = Window(1_000_000, 1_003_600, 60)


def series(labels: dict[str, str], *values: float | str) -> dict[str, Any]:
    """As /api/v1/query_range of Prometheus 2.42 and 2.53 has it."""
    return {"metric": labels, "values": [[WINDOW.begin_s + 60 * n, str(value)] for n, value in enumerate(values)]}


@contextmanager
def prometheus(answers: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """What answers each query (a status is a refusal), and what was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(200, {"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            words = {name: found[0] for name, found in parse_qs(body).items()}
            asked.append((self.path, words))
            result = answers[words["query"]]
            if isinstance(result, int):
                self.say(result, {"status": "error", "errorType": "timeout", "error": "query timed out in evaluation"})
            else:
                self.say(200, {"status": "success", "data": {"result": result}})

        def say(self, status: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def figures(url: str, *queries: Asked, **values: str) -> Figures:
    """What the fact reads, asked as on a host, but of another address."""
    command = MonitorFigures().command(WINDOW, values, queries).replace("http://127.0.0.1:9090", url)
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=180, check=True)
    return parse_figures(said.stdout.splitlines())


def test_the_highest_series_are_kept_and_the_rest_is_counted() -> None:
    many = [series({"host": f"gpu-{n}"}, 1, n, 1) for n in range(20)]
    with prometheus({"x": many}) as (url, asked):
        (answer,) = figures(url, Asked("x", over_time=True, most=3)).answers
    assert [one.labels["host"] for one in answer.series] == ["gpu-19", "gpu-18", "gpu-17"] and answer.more == 17
    assert answer.series[0].points == ((0, 1), (60, 19), (120, 1))
    assert asked == [("/api/v1/query_range", {"query": "x", "start": "1000000", "end": "1003600", "step": "60"})]


def test_the_lowest_are_kept_where_those_are_the_ones_to_look_at() -> None:
    with prometheus({"free": [series({"host": "a"}, 5, 5), series({"host": "b"}, 9, 1)]}) as (url, _):
        (answer,) = figures(url, Asked("free", over_time=True, most=1, lowest=True)).answers
    assert [one.labels["host"] for one in answer.series] == ["b"]


def test_what_is_no_number_is_no_point_and_a_series_without_any_is_none() -> None:
    found = [series({"model": "a"}, "NaN", 2, "+Inf"), series({"model": "b"}, "NaN", "NaN")]
    with prometheus({"quantile": found}) as (url, _):
        (answer,) = figures(url, Asked("quantile", over_time=True, most=8)).answers
    assert [(one.labels, one.points) for one in answer.series] == [({"model": "a"}, ((60, 2),))] and answer.more == 0


def test_names_in_queries_stand_for_values_and_a_query_of_now_is_asked_at_the_end() -> None:
    vector = [{"metric": {}, "value": [WINDOW.end_s, "7"]}]
    with prometheus({'sum(rate(x{host=~"a|b"}[75s]))': vector}) as (url, asked):
        query = Asked('sum(rate(x{host=~"$host"}[$__rate_interval]))', over_time=False, most=1)
        (answer,) = figures(url, query, host="a|b", __rate_interval="75s").answers
    assert answer.series[0].points == ((3600, 7),) and asked[0][0] == "/api/v1/query"


def test_a_query_that_is_refused_says_why_and_stops_no_other() -> None:
    with prometheus({"slow": 503, "x": [series({}, 1)]}) as (url, _):
        slow, fine = figures(url, Asked("slow", over_time=True, most=8), Asked("x", over_time=True, most=8)).answers
    assert (slow.error, slow.series) == ("query timed out in evaluation", ()) and fine.series


def test_queries_after_the_limit_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_on_host, "ALL_S", 0)
    asked = {"url": "http://127.0.0.1:1", "values": {}}
    said = figures_on_host.answer(asked, 0, {"expr": "x", "over_time": False, "most": 1, "lowest": False})
    assert said == {"error": "not asked: the queries before took 0 s"}


def test_a_prometheus_that_does_not_answer_is_a_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = figures(f"http://127.0.0.1:{free.getsockname()[1]}", Asked("x", over_time=True, most=8))
    assert found.answers == () and found.fault
    assert found.fault.startswith("its Prometheus does not answer (http://127.0.0.1:") and "refused" in found.fault


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ([], "its Prometheus did not answer in time"),
        (["@@ingot-begin python", "@@ingot-end python 127"], "its Prometheus did not answer in time"),
        (["@@ingot-begin figures", "{"], "the answer to 'figures' has no end"),
        (
            ["@@ingot-begin python", "@@ingot-end python 127", "@@ingot-begin figures", "@@ingot-end figures 127"],
            "it has no python3",
        ),
    ],
    ids=["nothing", "cut", "torn", "no python"],
)
def test_an_answer_that_is_not_whole_is_a_fault(output: list[str], fault: str) -> None:
    found = parse_figures(output)
    assert found.fault and found.fault.startswith(fault) and not found.fault.endswith(".")
