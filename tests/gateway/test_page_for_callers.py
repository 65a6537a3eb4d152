"""docs/clients.md: every client that people ask for has a snippet that the end-to-end tests can run."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.snippets import DEMANDING, Snippet, snippets

pytestmark = pytest.mark.clients

SNIPPETS = snippets()


def test_every_client_that_people_ask_for_is_on_the_page() -> None:
    shown = " ".join(f"{one.heading} {one.code}" for one in SNIPPETS)
    for client in (
        *(
            "curl",
            "from openai import",
            'from "openai"',
            "from anthropic import",
            'from "@anthropic-ai/sdk"',
            "LangChain",
        ),
        *("LiteLLM", "Vercel AI SDK", "llama-index", "instructor", "pydantic-ai", "Open WebUI", *DEMANDING),
    ):
        assert client in shown


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[f"{one.heading} {one.language}" for one in SNIPPETS])
def test_a_snippet_takes_everything_of_a_site_from_the_environment(snippet: Snippet) -> None:
    assert snippet.language in ("bash", "python", "js")
    for example in ("gpu-01", "sk-", "qwen", "/path/"):
        assert example not in snippet.code
    for name in ("OPENAI_BASE_URL", "INGOT_MODEL"):
        assert name in snippet.code or "OpenAI" in snippet.code


def test_the_snippets_are_whole_programs() -> None:
    for snippet in SNIPPETS:
        if snippet.language == "python":
            compile(snippet.code, snippet.heading, "exec")
        elif snippet.language == "bash":
            subprocess.run(["bash", "-n"], input=snippet.code, text=True, check=True)
