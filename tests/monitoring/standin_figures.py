"""Answers /metrics on many addresses of a test host with what a plan says: `python3 standin_figures.py PLAN NOTICES`.

The plan (JSON) has for each `address:port` its series: name, before, after, per_s. A value is `before` for four seconds
and `after` from then on; null is no series; `per_s` is added for each second. An address that the plan lacks answers
503. It is read anew for each answer. POST anywhere is a receiver of notices: it writes them down, and answers what the
plan's `notices` says.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STEP_S = 4
plan_file, notices_file = map(Path, sys.argv[1:3])


class Figures(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        plan = json.loads(plan_file.read_text())
        address = "{}:{}".format(*self.server.server_address)
        if address not in plan["series"]:
            return self.answer(503, "")
        since = time.time() - plan["began"]
        lines = []
        for name, before, after, per_s in plan["series"][address]:
            value = before if since < STEP_S else after
            if value == "now":
                value = time.time()
            if value is not None:
                lines.append(f"{name} {value + per_s * since!r}\n")
        return self.answer(200, "".join(lines))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with notices_file.open("ab") as file:
            file.write(body + b"\n")
        self.answer(json.loads(plan_file.read_text())["notices"], "")

    def answer(self, status, text):
        payload = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *words):
        """Say nothing."""


servers = [
    ThreadingHTTPServer((address.partition(":")[0], int(address.partition(":")[2])), Figures)
    for address in json.loads(plan_file.read_text())["listen"]
]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
