"""An engine that costs next to nothing: answers every POST at once, or streams CHUNKS pieces, one every INTERVAL_S.

python engine.py ADDRESS PORT CHUNKS INTERVAL_S
"""

import asyncio
import json
import sys

import uvloop

ADDRESS, PORT, CHUNKS, INTERVAL_S = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

_MESSAGE = {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog."}
_WHOLE = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "stand-in",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 17},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_WHOLE), _WHOLE)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    content = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": "stand-in"}
    data = b"data: %s\n\n" % json.dumps({**content, "choices": [choice]}).encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


PIECE, LAST = event({"content": " word"}), event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Engine(asyncio.Protocol):
    """One connection: heads are searched for two things only, the length of the body and the end."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if b'"stream": true' in body or b'"stream":true' in body:
                self.transport.write(STREAM)
                asyncio.get_running_loop().call_later(INTERVAL_S, self.piece, CHUNKS)
            else:
                self.transport.write(ANSWER)

    def piece(self, left: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(PIECE if left else LAST)
        if left:
            asyncio.get_running_loop().call_later(INTERVAL_S, self.piece, left - 1)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Engine, ADDRESS, PORT, backlog=1024)
    await server.serve_forever()


uvloop.run(main())
