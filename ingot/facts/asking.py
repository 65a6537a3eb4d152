"""Requests to an engine from its host, with their whole answers."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra.api.facts import FactBase

#: One second of silence, 16,000 samples of 16 bits: the header of such a WAV file; zeros follow it.
_SAMPLES = 16_000
_WAV = (
    b"RIFF" + (36 + 2 * _SAMPLES).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    + (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + _SAMPLES.to_bytes(4, "little")
    + (2 * _SAMPLES).to_bytes(4, "little") + (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    + b"data" + (2 * _SAMPLES).to_bytes(4, "little")
)  # fmt: skip
SILENCE = f"{{ printf %s {base64.b64encode(_WAV).decode()} | base64 -d; head -c {2 * _SAMPLES} /dev/zero; }}"

#: What comes back of one answer.
_LONGEST_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status, 000 where none came in time, and the body."""

    status: str = "000"
    text: str = ""


def request(path: str, body: Mapping[str, Any], *, speech: bool, seconds: int) -> str:
    """A POST to $endpoint in shell: prints the status, then the body in base64, on a line each."""
    if speech:
        fields = " ".join(f"--form-string {shlex.quote(f'{key}={value}')}" for key, value in body.items())
        before, data = f"{SILENCE} | ", f"--form 'file=@-;filename=silence.wav;type=audio/wav' {fields}"
    else:
        before, data = "", f"--header 'Content-Type: application/json' --data-binary {shlex.quote(json.dumps(body))}"
    return (
        f'{before}curl --silent --noproxy "*" --output "$answer" --write-out "%{{http_code}}\\n" '
        f'--max-time {seconds} {data} "http://$endpoint{path}"; '
        f'head -c {_LONGEST_BYTES} "$answer" | base64 -w0; echo; : >"$answer"'
    )


class Asked(FactBase[tuple[Answer, ...]]):
    """Requests to one engine, one after the other, each given `seconds`.

    Returns: (Answer("200", '{"data": […]}'), …)
    """

    def command(self, endpoint: str, requests: Sequence[tuple[str, Mapping[str, Any], bool]], seconds: int) -> str:
        each = "; ".join(request(path, body, speech=speech, seconds=seconds) for path, body, speech in requests)
        return f'endpoint={shlex.quote(endpoint)}; answer=$(mktemp); {each}; rm -f "$answer"'

    @staticmethod
    def default() -> tuple[Answer, ...]:
        return ()

    def process(self, output: list[str]) -> tuple[Answer, ...]:
        return parse_answers(output)


def parse_answers(output: Iterable[str]) -> tuple[Answer, ...]:
    """The answers of `Asked`: two lines each."""
    lines = list(output)
    return tuple(
        Answer(status.strip() or "000", base64.b64decode(body).decode(errors="replace"))
        for status, body in zip(lines[::2], lines[1::2], strict=True)
    )
