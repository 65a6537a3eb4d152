"""How fast a replica may be, from peak figures and what engines reach of them.

An estimate and nothing else; a benchmark of the served model outranks it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

# What is assumed of requests where nobody says it: sequences end at half of their context, three quarters of it prompt.
FILLED, PROMPT_SHARE = 0.5, 0.75


class Paced(Protocol):
    """Times of one replica's steps, in seconds: on GPUs (`ingot.sizing.pace`) or on a processor."""

    def decode_s(self, sequences: float, context: float) -> float: ...
    def prefill_s(self, prompt: float) -> float: ...
    def bound(self, sequences: float, context: float) -> str: ...


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of one replica.

    `prompt` and `answer` are tokens of one request, `sequences` are at work at once. `requests` that all come at the
    start end with fewer and fewer at work where their lengths are `varied`; without `requests` a new one follows each.
    """

    prompt: float
    answer: float
    sequences: float
    requests: float | None = None
    varied: bool = False


@dataclass(frozen=True, slots=True)
class Throughput:
    """Estimated rates of one replica at its share of the `sequences` that the host shall serve.

    `decode_tokens_per_s` is of answers while no prompt is read, `prefill_tokens_per_s` of prompts alone,
    `output_tokens_per_s` of answers where prompts of three times their length are read in between.
    """

    decode_tokens_per_s: float
    prefill_tokens_per_s: float
    first_token_s: float
    bound: str
    basis: str = "estimate: from peak figures and what engines reach of them"
    output_tokens_per_s: float = 0.0
    token_s: float = 0.0
    sequences: int = 0


def output_rate(pace: Paced, load: Load) -> float:
    """Output tokens/s of one replica under a load: decoding and reading prompts take turns on the same GPUs."""
    sequences = max(load.sequences, 1)
    context = load.prompt + load.answer / 2
    step, reading = pace.decode_s(sequences, context), pace.prefill_s(load.prompt)
    if load.requests is None:
        return sequences * load.answer / (load.answer * step + sequences * reading)
    rounds = max(load.requests / sequences, 1)
    spent = load.requests * reading + rounds * load.answer * step
    if load.varied:
        # The longest of so many answers of exponential lengths; its last tokens come alone, one a step.
        spent += load.answer * max(math.log(max(sequences, 1)) - 1, 0) * pace.decode_s(1, context)
    return load.requests * load.answer / spent


def typical(context: int, sequences: float) -> Load:
    """The load that is assumed of sequences of up to `context` tokens where nobody says more."""
    held = max(context * FILLED, 1)
    return Load(held * PROMPT_SHARE, held * (1 - PROMPT_SHARE), sequences)


def estimate(pace: Paced, *, context: int, sequences: int) -> Throughput:
    """Rates of one replica that is planned for `sequences` of `context` tokens at once."""
    held = context * FILLED
    step = pace.decode_s(sequences, held)
    reading = pace.prefill_s(context)
    return Throughput(
        decode_tokens_per_s=round(sequences / step, 1),
        prefill_tokens_per_s=round(context / reading, 1),
        first_token_s=round(reading, 2),
        bound=pace.bound(sequences, held),
        output_tokens_per_s=round(output_rate(pace, typical(context, sequences)), 1),
        token_s=round(step, 5),
        sequences=sequences,
    )
