"""How fast a replica answered one request, by what it says of that itself. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from ingot.engines.proof import Question
from ingot.engines.service import Service

#: Characters of the prompt, and tokens of the answer; a token is a character at the least.
PROMPT_CHARACTERS, ANSWER_TOKENS = 512, 16


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens/s of one request that came alone: of its prompt, and of its answer."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float


def question(service: Service, context: int) -> Question:
    """A request that is long enough to tell rates, and fits the context."""
    words = " ".join(map(str, range(1000, 1000 + PROMPT_CHARACTERS)))
    prompt = words[: min(PROMPT_CHARACTERS, context // 2)]
    body = {"model": service.model, "prompt": prompt, "max_tokens": min(ANSWER_TOKENS, max(context // 4, 1))}
    # An answer that ends at once tells nothing.
    return Question("its speed", "/v1/completions", {**body, "temperature": 0, "ignore_eos": True})


def of_timings(text: str) -> Rates | None:
    """The rates in llama.cpp's `timings` of an answer; None where it has none that can be used."""
    try:
        timings = json.loads(text)["timings"]
        found = Rates(float(timings["prompt_per_second"]), float(timings["predicted_per_second"]))
    except (ValueError, KeyError, TypeError):
        return None
    known = all(0 < one < math.inf for one in (found.prefill_tokens_per_s, found.decode_tokens_per_s))
    return found if known else None
