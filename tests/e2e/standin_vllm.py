"""An engine for tests of rollouts: it starts in a second and answers what a proof asks; `vllm serve …` in an image.

`--crash` ends it at its start. With `--fail-chat` it proves itself and then answers chats with 500.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALL = {"function": {"name": "report", "arguments": '{"works": true}'}, "type": "function", "id": "call-1"}


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "vllm:num_requests_running 0.0\n" if self.path == "/metrics" else "{}")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if self.path == "/v1/completions":
            return self.answer(200, json.dumps({"choices": [{"text": "one"}]}))
        if "--fail-chat" in sys.argv and "tools" not in asked:
            return self.answer(500, json.dumps({"error": {"message": "broken"}}))
        message = {"role": "assistant", "content": "two", "tool_calls": [CALL] if "tools" in asked else []}
        return self.answer(200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))

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
