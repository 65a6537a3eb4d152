"""Teams: what each may ask of a gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: A team is a word in logs, in nginx' maps and in its keys.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
#: A size of bytes as nginx writes it, such as 32m.
SIZE = re.compile(r"[1-9][0-9]*[kKmMgG]?")
_UNIT_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class Team:
    """What one team may do on one host.

    `requests_per_minute` may be started, `burst` of them at once; `concurrency` may run, a stream counts until it
    ends. `max_body_bytes` is the largest request body. `models` are those it may use, None: all. `tokens_per_minute`,
    `tokens_per_day` and `tokens_per_month` (UTC) None: no limit. `redact` are names of rules whose matches are taken
    out of answers, ("all",): every rule. `check_requests` is what happens to a request that matches, None: nothing.
    """

    name: str
    requests_per_minute: int
    burst: int
    concurrency: int
    max_body_bytes: int
    models: tuple[str, ...] | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    redact: tuple[str, ...] = ()
    check_requests: Literal["refuse", "redact"] | None = None

    @property
    def filtered(self) -> bool:
        """Whether its requests go through the filter; everybody else's bypass it."""
        return bool(self.counts_tokens or self.redact or self.check_requests)

    @property
    def counts_tokens(self) -> bool:
        """Whether its tokens are limited."""
        return bool(self.tokens_per_minute or self.keeps_counts)

    @property
    def keeps_counts(self) -> bool:
        """Whether its tokens are limited over a time that outlives the filter's process."""
        return bool(self.tokens_per_day or self.tokens_per_month)

    def may_use(self, model: str) -> bool:
        """Whether a model is among those that it may use."""
        return self.models is None or model in self.models


def size_bytes(text: str) -> int:
    """A SIZE in bytes."""
    count = text.rstrip("kKmMgG")
    return int(count) * _UNIT_BYTES[text.removeprefix(count).lower()]
