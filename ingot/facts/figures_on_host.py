"""Asks Prometheus for series, keeps few of each query; runs on the monitor itself, by its own python3 (3.10 or newer).

    python3 -c "$(cat figures_on_host.py)" '{"url", "begin_s", "end_s", "step_s", "values", "queries": [{"expr", …}]}'

Times are seconds since 1970, `values` what `$name` stands for in queries. A query is `over_time` or of the end alone,
keeps its `most` series with the highest values, or with the `lowest`. Prints one JSON object: an answer for each query,
in their order. Ends with 1 and a line that says why where Prometheus does not answer at all.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

#: Queries at a time: Prometheus has others to serve.
LANES = 2
#: Seconds for one query, and for all of them.
ANSWER_S, ALL_S = 30, 240

_OPENER = build_opener(ProxyHandler({}))


def answer(asked: Mapping[str, Any], until: float, query: Mapping[str, Any]) -> dict[str, Any]:
    """The series that are kept of one query, and how many more there are; or its `error`."""
    left = until - time.monotonic()
    if left <= 0:
        return {"error": f"not asked: the queries before took {ALL_S} s"}
    expr = query["expr"]
    for name, value in asked["values"].items():
        expr = expr.replace(f"${name}", value)
    words: dict[str, Any] = {"query": expr}
    if query["over_time"]:
        kind, words = (
            "query_range",
            {**words, "start": asked["begin_s"], "end": asked["end_s"], "step": asked["step_s"]},
        )
    else:
        kind, words = "query", {**words, "time": asked["end_s"]}
    try:
        body = urlencode(words).encode()
        with _OPENER.open(f"{asked['url']}/api/v1/{kind}", body, timeout=min(ANSWER_S, left)) as said:
            result = json.load(said)["data"]["result"]
    except HTTPError as refused:
        return {"error": reason(refused)}
    except (OSError, HTTPException, ValueError, KeyError) as gone:
        return {"error": f"no answer ({gone})"}
    if result and not isinstance(result[0], dict):
        # A scalar.
        result = [{"metric": {}, "value": result}]
    found = [series for one in result if (series := kept(one, asked["begin_s"]))["points"]]
    found.sort(key=partial(rank, lowest=query["lowest"]))
    return {"series": found[: query["most"]], "more": max(len(found) - query["most"], 0)}


def kept(one: Mapping[str, Any], begin_s: float) -> dict[str, Any]:
    """One series: labels, and points as seconds since the beginning and values. What is no number is no point."""
    points = one["values"] if "values" in one else [one["value"]]
    read = ((float(at), float(value)) for at, value in points)
    return {
        "labels": one["metric"],
        "points": [[round(at - begin_s), float(f"{value:.6g}")] for at, value in read if math.isfinite(value)],
    }


def rank(series: Mapping[str, Any], lowest: bool) -> tuple[float, list[tuple[str, str]]]:
    """What is looked at first has the smallest."""
    values = [value for _, value in series["points"]]
    return min(values) if lowest else -max(values), sorted(series["labels"].items())


def reason(refused: HTTPError) -> str:
    """Why Prometheus refused a query, in its own words."""
    try:
        return str(json.load(refused)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP status {refused.code}"


def main() -> None:
    asked = json.loads(sys.argv[1])
    try:
        _OPENER.open(f"{asked['url']}/api/v1/query?query=1", timeout=ANSWER_S).close()
    except (OSError, HTTPException) as gone:
        sys.exit(f"{asked['url']}: {gone}")
    until = time.monotonic() + ALL_S
    with ThreadPoolExecutor(LANES) as lanes:
        answers = list(lanes.map(partial(answer, asked, until), asked["queries"]))
    json.dump({"answers": answers}, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
