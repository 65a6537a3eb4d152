"""An engine for tests of rollouts: it starts in a second and answers what a proof asks; `vllm serve …` in an image.

It streams as vLLM does, counts what runs, and closes idle connections after 5 s. `--crash` ends it at its start. With
`--fail-chat` it proves itself and then answers chats with 500.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALL = {"function": {"name": "report", "arguments": '{"works": true}'}, "type": "function", "id": "call-1"}
PIECES = 8
PIECE_EVERY_S = 0.05

lock = threading.Lock()
running = []  # one entry per request


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self):
        self.answer(200, f"vllm:num_requests_running {len(running)}.0\n" if self.path == "/metrics" else "{}")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        with lock:
            running.append(1)
        try:
            self.generate(asked)
        except OSError:
            self.close_connection = True
        finally:
            with lock:
                running.pop()

    def generate(self, asked):
        if self.path == "/v1/completions":
            return self.answer(200, json.dumps({"choices": [{"text": "one"}]}))
        if "--fail-chat" in sys.argv and "tools" not in asked:
            return self.answer(500, json.dumps({"error": {"message": "broken"}}))
        if asked.get("stream"):
            return self.stream(asked)
        message = {"role": "assistant", "content": "two", "tool_calls": [CALL] if "tools" in asked else []}
        time.sleep(PIECE_EVERY_S)
        shape = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": asked.get("model", "")}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self.answer(200, json.dumps({**shape, "choices": [choice]}))

    def stream(self, asked):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        shape = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": asked.get("model", "")}
        for number in range(PIECES):
            last = number == PIECES - 1
            choice = {"index": 0, "delta": {"content": "two "}, "finish_reason": "stop" if last else None}
            self.piece(json.dumps({**shape, "choices": [choice]}))
            time.sleep(PIECE_EVERY_S)
        self.piece("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, data):
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if "--crash" in sys.argv:
        sys.exit("error: told to crash")
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("0.0.0.0", port), Engine).serve_forever()
