"""A gateway as the usual guide builds it: FastAPI checks a key and hands the request on with httpx.

ENGINE=http://… KEYS=FILE uvicorn fastapi_proxy:app …
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

KEYS = set(Path(os.environ["KEYS"]).read_text().split())
PATH = "/v1/chat/completions"

app = FastAPI()
client = httpx.AsyncClient(base_url=os.environ["ENGINE"], timeout=None)


@app.post(PATH)
async def chat(request: Request, authorization: str = Header("")) -> Response:
    if authorization.removeprefix("Bearer ") not in KEYS:
        raise HTTPException(401, "invalid API key")
    body = await request.json()
    if not body.get("stream"):
        answer = await client.post(PATH, json=body)
        return JSONResponse(answer.json(), answer.status_code)

    async def pieces() -> AsyncIterator[bytes]:
        async with client.stream("POST", PATH, json=body) as answer:
            async for piece in answer.aiter_bytes():
                yield piece

    return StreamingResponse(pieces(), media_type="text/event-stream")
