"""What callers met: nginx' own counters, and new lines of its access log by team, model and status."""

from __future__ import annotations

import bisect
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingot.monitoring.collector.figures import Figures
from ingot.monitoring.collector.stored import stored

#: The most that one run reads of the log, bytes; the rest waits for the next.
MOST_BYTES = 64 << 20
#: Combinations of team, model and status at most: an engine that was taken over could name any number of models.
MOST_SERIES = 2000
_WORD = re.compile(r"[A-Za-z0-9._:/@-]{1,128}", re.ASCII)
_PORT = 443


def collect_log(figures: Figures, memory: dict[str, Any], settings: Mapping[str, Any]) -> bool:
    """Add what the log has new; returns whether there is a log."""
    edges = settings["edges_s"]
    kept = memory.setdefault("log", {"inode": 0, "offset": 0, "requests": {}, "draining": {}, "first_byte": {}})
    path = Path(settings["access_log"])
    is_there = path.exists()
    if is_there:
        _read_new(path, kept, set(settings["teams"]), edges)
    for key, count in sorted(kept["requests"].items()):
        team, model, status = key.split(" ")
        figures.add("ingot_gateway_requests_total", count, team=team, model=model, status=status)
    for key, count in sorted(kept["draining"].items()):
        team, model = key.split(" ")
        figures.add("ingot_gateway_draining_total", count, team=team, model=model)
    for key, one in sorted(kept["first_byte"].items()):
        team, model = key.split(" ")
        figures.histogram("ingot_gateway_first_byte_seconds", edges, one["counts"], one["sum"], team=team, model=model)
    return is_there


def _read_new(path: Path, kept: dict[str, Any], teams: set[str], edges: list[float]) -> None:
    """Read on where the last run stopped; what was rotated away meanwhile is read to its end first."""
    with path.open("rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        if kept["inode"] and kept["inode"] != inode:
            rotated = path.with_name(f"{path.name}.1")
            if rotated.exists() and rotated.stat().st_ino == kept["inode"]:
                with rotated.open("rb") as before:
                    _take(before, kept, teams, edges)
            kept["offset"] = 0
        elif not kept["inode"]:
            # What was there before monitoring is nobody's news.
            kept["offset"] = file.seek(0, os.SEEK_END)
        if kept["offset"] > os.fstat(file.fileno()).st_size:
            kept["offset"] = 0
        kept["inode"] = inode
        _take(file, kept, teams, edges)


def _take(file: Any, kept: dict[str, Any], teams: set[str], edges: list[float]) -> None:
    file.seek(kept["offset"])
    end = kept["offset"] + MOST_BYTES
    while kept["offset"] < end and (line := file.readline(65536)).endswith(b"\n"):
        kept["offset"] += len(line)
        try:
            _count(json.loads(line), kept, teams, edges)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


def _count(entry: Mapping[str, Any], kept: dict[str, Any], teams: set[str], edges: list[float]) -> None:
    # A fleet gateway comes by another port, and wrote the request down itself.
    if entry.get("port", _PORT) != _PORT or not str(entry["path"]).startswith(("/v1/", "/v2/", "/-/engine")):
        return
    status = int(entry["status"])
    team = entry["team"] if entry["team"] in teams or not teams or _WORD.fullmatch(entry["team"] or "-") else "other"
    model = entry["model"] if _WORD.fullmatch(entry["model"] or "") else ""
    key = f"{team} {model} {status}"
    if key not in kept["requests"] and len(kept["requests"]) >= MOST_SERIES:
        key = f"other  {status}"
        team, model = "other", ""
    kept["requests"][key] = kept["requests"].get(key, 0) + 1
    of_team = f"{team} {model}"
    if status == 503 and not entry.get("upstream"):
        kept["draining"][of_team] = kept["draining"].get(of_team, 0) + 1
    # Several where nginx tried another replica: "0.001, 0.120".
    times = str(entry.get("first_byte_s") or "").replace(",", " ").split()
    if status == 200 and times and times[-1] != "-":
        seconds = float(times[-1])
        one = kept["first_byte"].setdefault(of_team, {"counts": [0] * (len(edges) + 1), "sum": 0.0})
        one["counts"][bisect.bisect_left(edges, seconds)] += 1
        one["sum"] += seconds


def collect_status(figures: Figures, name: str | None) -> bool:
    """The counters of the nginx that callers know by `name`; returns whether it answered. None: it is not asked."""
    if name is None:
        return True
    # It is the host itself that is asked: whose certificate it shows is for others to verify.
    context = ssl._create_unverified_context()
    try:
        with socket.create_connection(("127.0.0.1", _PORT), timeout=3) as plain:
            plain.settimeout(3)
            with context.wrap_socket(plain, server_hostname=name) as secured:
                secured.sendall(f"GET /-/status HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                text = _read(secured).decode(errors="replace")
    except (OSError, ValueError):
        text = ""
    page = re.search(
        r"Active connections: (\d+)\s+server accepts handled requests\s+(\d+) (\d+) (\d+)\s+"
        r"Reading: (\d+) Writing: (\d+) Waiting: (\d+)",
        text,
    )
    figures.add("ingot_nginx_up", float(page is not None))
    if page is None:
        return False
    active, accepted, handled, requests, reading, writing, waiting = map(int, page.groups())
    states = {"active": active, "reading": reading, "writing": writing, "waiting": waiting}
    for state, count in states.items():
        figures.add("ingot_nginx_connections", count, state=state)
    figures.add("ingot_nginx_connections_accepted_total", accepted)
    figures.add("ingot_nginx_connections_handled_total", handled)
    figures.add("ingot_nginx_requests_total", requests)
    return True


def _read(secured: ssl.SSLSocket) -> bytes:
    text = b""
    while len(text) < 8192 and (piece := secured.recv(4096)):
        text += piece
    return text


def collect_budgets(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Tokens of teams that have a budget by the day or the month, as the filter's processes counted them."""
    spent: dict[str, dict[str, Any]] = {}
    absorbed: set[str] = set()
    for path in Path(settings["ledger"]).glob("*.json"):
        content = stored(path, {})
        absorbed |= {str(name) for name in content.get("absorbed", ())}
        spent[path.name] = content.get("days", {})
    periods = {"day": time.strftime("%Y-%m-%d", time.gmtime()), "month": time.strftime("%Y-%m", time.gmtime())}
    for team, limits in sorted(settings["budgets"].items()):
        for period, tokens in sorted(limits.items()):
            used = sum(
                int(counts.get(team, 0))
                for name, days in spent.items()
                if name not in absorbed
                for day, counts in days.items()
                if day.startswith(periods[period])
            )
            figures.add("ingot_team_budget_tokens", tokens, team=team, period=period)
            figures.add("ingot_team_budget_used_tokens", used, team=team, period=period)
    return True
