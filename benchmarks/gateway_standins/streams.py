"""So many streams at once, read to their end; prints how many pieces came. Callers' side of the cost of a chunk.

python streams.py URL KEY STREAMS MODEL
"""

import asyncio
import json
import ssl
import sys
from urllib.parse import urlsplit

import uvloop

URL, KEY, STREAMS, MODEL = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
BODY = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Go on."}]}).encode()
HEAD = (
    f"POST {URL.path} HTTP/1.1\r\nHost: {URL.hostname}\r\nAuthorization: Bearer {KEY}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
)


async def stream() -> int:
    if URL.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", URL.port or 443, ssl=context, server_hostname=URL.hostname
        )
    else:
        reader, writer = await asyncio.open_connection(URL.hostname, URL.port)
    writer.write(HEAD.encode() + BODY)
    answer = b""
    # The engine keeps its connections open: the last chunk is the end.
    while not answer.endswith(b"\r\n0\r\n\r\n") and (data := await reader.read(65536)):
        answer += data
    writer.close()
    return answer.count(b"data: {")


async def main() -> None:
    print(sum(await asyncio.gather(*(stream() for _ in range(STREAMS)))))


uvloop.run(main())
