"""A tiny engine for the gateway's tests: answers every path, writes down what reached it, streams slowly.

Runs inside the test host with the system's Python: `python3 standin_engine.py ADDRESS PORT RECORD`.
`GET /running` says how many answers are being streamed right now. While the file RECORD.hold exists, a stream sends
its first piece and then only comments, so that a test can do something in the middle of an answer on a machine of any
speed.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

PIECES = 10
PIECE_EVERY_S = 0.1
HOLD_LIMIT_S = 120

lock = threading.Lock()


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    record: Path
    running: ClassVar[list[int]] = []  # one entry per answer being streamed

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/running":
            return self.whole({"running": len(self.running)})
        with lock, self.record.open("a") as file:
            line = {"method": self.command, "path": self.path, "headers": dict(self.headers), "bytes": len(body)}
            file.write(json.dumps(line) + "\n")
        if self.path == "/metrics":
            return self.whole(f'vllm:num_requests_running{{engine="0"}} {len(self.running)}.0\n')
        if b'"stream": true' in body:
            return self.stream()
        address = self.server.server_address[0]
        return self.whole({"object": "reached", "engine": address, "path": self.path, "bytes": len(body)})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer

    def whole(self, content):
        payload = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.running.append(1)
        try:
            for number in range(PIECES):
                event = f"data: {json.dumps({'piece': number})}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(PIECE_EVERY_S)
                self.hold()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            self.running.pop()

    def hold(self):
        """Nothing but comments while the test wants it; a caller who hung up is noticed by them."""
        ends = time.monotonic() + HOLD_LIMIT_S
        while Path(f"{self.record}.hold").exists() and time.monotonic() < ends:
            self.wfile.write(b"8\r\n: held\n\n\r\n")
            time.sleep(PIECE_EVERY_S)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Engine.record = Path(sys.argv[3])
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Engine).serve_forever()
