"""Clients in Python: `python_clients.py CLIENT CALL...` prints a line per call, `CALL<tab>ok` or why not."""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

URL, KEY, MODEL = (os.environ[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "INGOT_MODEL"))
WRONG = "sk-wrong-" + "x" * 43
ASK = [{"role": "user", "content": "Hello"}]
CHAT = {"model": MODEL, "messages": ASK, "max_tokens": 8}
#: Refused before it is read: clients must see that soon, not wait for it to be taken.
LARGE = "x" * 300_000
SOON_S = 10
AT_ONCE = 16
TOOL = {
    "type": "function",
    "function": {"name": "noop", "description": "Does nothing.", "parameters": {"type": "object", "properties": {}}},
}


def deep(levels: int) -> dict[str, Any]:
    """A tool whose parameters are nested so deep."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"inner": schema}}
    return {**TOOL, "function": {**TOOL["function"], "parameters": schema}}


def raises(kind: type[BaseException], call: Callable[[], Any]) -> str:
    """Whether a call raises just what its client raises for such an answer, and soon."""
    began = time.monotonic()
    try:
        call()
    except kind:
        took = time.monotonic() - began
        return "ok" if took < SOON_S else f"raised {kind.__name__} only after {took:.0f} s"
    except Exception as error:
        return f"raised {type(error).__name__} instead of {kind.__name__}: {str(error)[:150]}"
    return f"raised nothing instead of {kind.__name__}"


def have(text: object) -> str:
    return "ok" if text else "an empty answer"


class OpenAI:
    def __init__(self) -> None:
        self.lib = importlib.import_module("openai")
        self.client = self.lib.OpenAI()

    def models(self) -> str:
        one = self.client.models.retrieve(MODEL)
        return have(MODEL in [model.id for model in self.client.models.list()] and one.id == MODEL)

    def chat(self) -> str:
        return have(self.client.chat.completions.create(**CHAT).choices[0].message.content)

    def stream(self) -> str:
        pieces = [one for one in self.client.chat.completions.create(**CHAT, stream=True) if one.choices]
        return "ok" if len(pieces) > 1 else f"{len(pieces)} pieces"

    def tools(self) -> str:
        return have(self.client.chat.completions.create(**CHAT, tools=[deep(14)], tool_choice="none").usage)

    def responses(self) -> str:
        whole = self.client.responses.create(model=MODEL, input="Hello", max_output_tokens=8)
        kinds = [
            event.type
            for event in self.client.responses.create(model=MODEL, input="Hello", max_output_tokens=8, stream=True)
        ]
        ends = ("response.completed", "response.incomplete")
        return "ok" if whole.usage and kinds[-1] in ends else f"the stream ended with {kinds[-1:]}"

    def wrong_key(self) -> str:
        return raises(self.lib.AuthenticationError, self.lib.OpenAI(api_key=WRONG).models.list)

    def refused_body(self) -> str:
        wrong = self.lib.OpenAI(api_key=WRONG).chat.completions
        return raises(
            self.lib.AuthenticationError,
            lambda: wrong.create(model=MODEL, messages=[{"role": "user", "content": LARGE}]),
        )

    def load(self) -> str:
        client = self.lib.AsyncOpenAI()

        async def one() -> None:
            await client.models.list()

        return asyncio.run(loaded(one))


class Anthropic:
    def __init__(self) -> None:
        self.lib = importlib.import_module("anthropic")
        self.base = URL.removesuffix("/v1")
        self.client = self.lib.Anthropic(base_url=self.base, api_key=KEY)
        self.ask = {"model": MODEL, "max_tokens": 8, "messages": ASK}

    def chat(self) -> str:
        return have(self.client.beta.messages.create(**self.ask).content)

    def stream(self) -> str:
        with self.client.messages.stream(**self.ask) as stream:
            pieces = list(stream.text_stream)
        return have(pieces)

    def count(self) -> str:
        return have(self.client.messages.count_tokens(model=MODEL, messages=ASK).input_tokens)

    def wrong_key(self) -> str:
        wrong = self.lib.Anthropic(base_url=self.base, api_key=WRONG)
        return raises(self.lib.AuthenticationError, lambda: wrong.messages.create(**self.ask))


class Httpx:
    """httpx and httpx2 with HTTP/2 switched on: what is spoken is the gateway's choice."""

    def __init__(self, name: str) -> None:
        self.lib = importlib.import_module(name)
        self.trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.client = self.lib.Client(http2=True, verify=self.trusted, headers=self.headers, timeout=60)

    def models(self) -> str:
        return have(self.client.get(f"{URL}/models").raise_for_status().json()["data"])

    def chat(self) -> str:
        answer = self.client.post(f"{URL}/chat/completions", json=CHAT).raise_for_status().json()
        return have(answer["choices"][0]["message"]["content"])

    def stream(self) -> str:
        with self.client.stream("POST", f"{URL}/chat/completions", json={**CHAT, "stream": True}) as answer:
            pieces = [line for line in answer.iter_lines() if line.startswith("data: ")]
        return "ok" if pieces and pieces[-1] == "data: [DONE]" else f"ended with {pieces[-1:]}"

    def refused_body(self) -> str:
        wrong = {"Authorization": f"Bearer {WRONG}"}
        body = {"model": MODEL, "prompt": LARGE}
        answer = self.client.post(f"{URL}/completions", json=body, headers=wrong, timeout=SOON_S)
        return "ok" if answer.status_code == 401 else f"answered {answer.status_code}"

    def load(self) -> str:
        client = self.lib.AsyncClient(http2=True, verify=self.trusted, headers=self.headers, timeout=60)

        async def one() -> None:
            # As every client without retries of its own must: a reload closes connections that are idle.
            for attempt in range(3):
                try:
                    (await client.get(f"{URL}/models")).raise_for_status()
                    return
                except self.lib.TransportError:
                    if attempt == 2:
                        raise

        return asyncio.run(loaded(one))


class Requests:
    def __init__(self) -> None:
        self.lib = importlib.import_module("requests")
        self.headers = {"Authorization": f"Bearer {KEY}"}

    def models(self) -> str:
        return have(self.lib.get(f"{URL}/models", headers=self.headers, timeout=60).json()["data"])

    def chat(self) -> str:
        answer = self.lib.post(f"{URL}/chat/completions", headers=self.headers, json=CHAT, timeout=60)
        return have(answer.json()["choices"])

    def stream(self) -> str:
        body = {**CHAT, "stream": True}
        answer = self.lib.post(f"{URL}/chat/completions", headers=self.headers, json=body, stream=True, timeout=60)
        lines = [line for line in answer.iter_lines() if line]
        return "ok" if lines and lines[-1] == b"data: [DONE]" else f"ended with {lines[-1:]!r}"

    def wrong_key(self) -> str:
        answer = self.lib.get(f"{URL}/models", headers={"Authorization": f"Bearer {WRONG}"}, timeout=60)
        return "ok" if answer.json()["error"]["type"] == "authentication_error" else answer.text[:150]


class LiteLLM:
    def __init__(self) -> None:
        self.lib = importlib.import_module("litellm")

    def ask(self, **more: Any) -> Any:
        model = more.pop("model", MODEL)
        return self.lib.completion(
            **{"model": f"openai/{model}", "messages": ASK, "max_tokens": 8, "api_base": URL, "api_key": KEY, **more}
        )

    def chat(self) -> str:
        return have(self.ask().choices[0].message.content)

    def stream(self) -> str:
        return have(list(self.ask(stream=True)))

    def wrong_key(self) -> str:
        return raises(self.lib.AuthenticationError, lambda: self.ask(api_key=WRONG))

    def unknown_model(self) -> str:
        return raises(self.lib.NotFoundError, lambda: self.ask(model="no-such-model"))


class LangChain:
    def __init__(self) -> None:
        self.lib = importlib.import_module("langchain_openai")

    def client(self, key: str = KEY) -> Any:
        return self.lib.ChatOpenAI(model=MODEL, base_url=URL, api_key=key, max_tokens=8)

    def chat(self) -> str:
        return have(self.client().invoke("Hello").content)

    def stream(self) -> str:
        return have(list(self.client().stream("Hello")))

    def wrong_key(self) -> str:
        openai = importlib.import_module("openai")
        return raises(openai.AuthenticationError, lambda: self.client(WRONG).invoke("Hello"))


class Instructor:
    def chat(self) -> str:
        instructor, openai = importlib.import_module("instructor"), importlib.import_module("openai")
        pydantic = importlib.import_module("pydantic")
        word = pydantic.create_model("Word", word=(str, pydantic.Field(pattern="^[a-z]{1,3}$")))
        client = instructor.from_openai(openai.OpenAI(), mode=instructor.Mode.JSON_SCHEMA)
        asked = client.chat.completions.create(model=MODEL, messages=ASK, response_model=word, max_tokens=64)
        return have(asked.word)


class PydanticAI:
    def chat(self) -> str:
        agent = importlib.import_module("pydantic_ai").Agent
        models = importlib.import_module("pydantic_ai.models.openai")
        provider = importlib.import_module("pydantic_ai.providers.openai").OpenAIProvider(base_url=URL, api_key=KEY)
        model = models.OpenAIChatModel(MODEL, provider=provider)
        return have(agent(model, model_settings={"max_tokens": 8}).run_sync("Hello").output)


async def loaded(one: Callable[[], Any]) -> str:
    """Many requests, some at a time: ok when every one was answered."""
    gate, failed = asyncio.Semaphore(AT_ONCE), []

    async def gated() -> None:
        async with gate:
            try:
                await one()
            except Exception as error:
                failed.append(f"{type(error).__name__}: {str(error)[:80]}")

    await asyncio.gather(*(gated() for _ in range(int(os.environ["INGOT_LOAD"]))))
    return "ok" if not failed else f"{len(failed)} of {os.environ['INGOT_LOAD']} failed, {failed[0]}"


CLIENTS: dict[str, Callable[[], Any]] = {
    "openai-python": OpenAI,
    "anthropic-python": Anthropic,
    "httpx": lambda: Httpx("httpx"),
    "httpx2": lambda: Httpx("httpx2"),
    "requests": Requests,
    "litellm": LiteLLM,
    "langchain": LangChain,
    "instructor": Instructor,
    "pydantic-ai": PydanticAI,
}


def main() -> None:
    name, *calls = sys.argv[1:]
    client = CLIENTS[name]()
    for call in calls:
        try:
            said = getattr(client, call)()
        except Exception as error:
            said = f"{type(error).__name__}: {str(error)[:200]}"
        print(f"{call}\t{' '.join(said.split())}", flush=True)


if __name__ == "__main__":
    main()
