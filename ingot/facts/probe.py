"""Asking an engine from its host, in shell: the answers are HTTP statuses, 000 when none came in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ingot.facts import sections
from ingot.facts.asking import SILENCE

#: A request whose HTTP status is printed; the address follows.
CURL = "curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}'"


#: What the engine of a kind is asked to see that it still works: several tokens, since vLLM's CPU build has died on
#: shorter prompts on processors with AMX.
_PROMPT = "Does this engine still answer? Count from one to ten."
_BODIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "embed": ("/v1/embeddings", {"input": _PROMPT}),
    "rerank": ("/v1/rerank", {"query": _PROMPT, "documents": [_PROMPT, "Yes."]}),
    "generate": ("/v1/completions", {"prompt": _PROMPT, "max_tokens": 1, "temperature": 0}),
}
_SPEECH = "/v1/audio/transcriptions"


KINDS = (*_BODIES, "transcribe")


def path_of(kind: str) -> str:
    """Where an engine of this kind is asked."""
    return question(kind)[0]


def question(kind: str) -> tuple[str, Mapping[str, Any]]:
    """What an engine of this kind is asked: the path, and the body's fields without the model's name.

    A transcriber's come as a form, together with a second of silence.
    """
    return _BODIES.get(kind, (_SPEECH, {"language": "en"}))


def ask(seconds: int) -> str:
    """A request to $model of $kind at $endpoint: prints the HTTP status, 000 when no answer came in time."""
    cases = "".join(f"{kind}) {_post(path, body, seconds)} ;; " for kind, (path, body) in _BODIES.items())
    speech = (
        f"{SILENCE} | {CURL} --max-time {seconds} --form 'file=@-;filename=silence.wav;type=audio/wav' "
        f'--form-string "model=$model" --form-string language=en "http://$endpoint{_SPEECH}"'
    )
    return f'case "$kind" in {cases}transcribe) {speech} ;; *) echo 000 ;; esac'


def _post(path: str, body: Mapping[str, Any], seconds: int) -> str:
    # The model's name is a variable of the shell within the JSON.
    text = json.dumps({"model": "$model", **body}).replace('"', '\\"')
    return (
        f"{CURL} --max-time {seconds} --header 'Content-Type: application/json' --data \"{text}\" "
        f'"http://$endpoint{path}"'
    )


def lines_of(found: Mapping[str, sections.Section], name: str) -> list[str]:
    """The lines of one answer; none when the question was not asked."""
    return found[name].output.splitlines() if name in found else []
