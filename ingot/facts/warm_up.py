"""A new replica answers a prompt as long as the longest that its callers sent, before it gets requests."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pyinfra.api.facts import FactBase


@dataclass(frozen=True, slots=True)
class Warmed:
    """How many tokens the prompt had (0: no caller sent any yet), and the status of the answer."""

    tokens: int = 0
    status: str = ""


class WarmUp(FactBase[Warmed | None]):
    """Send one prompt to a replica, as long as the longest prompt of the model in the accounts, `most` tokens at most.

    It is made of one token again and again, on the host: no caller's text is kept. Returns: Warmed(30720, "200").
    """

    def command(self, endpoint: str, model: str, accounts: str, most: int, seconds: int) -> str:
        asked = shlex.quote(f'"model": "{model}"')
        longest = (
            'match($0, /"prompt_tokens": [0-9]+/) { n = substr($0, RSTART + 17, RLENGTH - 17) + 0; '
            "if (n > most) most = n } END { print most + 0 }"
        )
        body = (
            'BEGIN { printf "{\\"model\\": \\"%s\\", \\"max_tokens\\": 1, \\"prompt\\": [", model; '
            'for (i = 1; i <= n; i++) printf "%s100", (i > 1 ? "," : ""); print "]}" }'
        )
        return (
            f"n=$(cat {shlex.quote(accounts)}/*.jsonl 2>/dev/null | grep -F {asked} | awk {shlex.quote(longest)}); "
            f'[ "$n" -le {most} ] || n={most}; status=; '
            f'[ "$n" -eq 0 ] || status=$(awk -v n="$n" -v model={shlex.quote(model)} {shlex.quote(body)} '
            f'| curl --silent --noproxy "*" --output /dev/null --write-out "%{{http_code}}" --max-time {seconds} '
            f'--header "Content-Type: application/json" --data-binary @- http://{endpoint}/v1/completions); '
            'echo "$n ${status:--}"'
        )

    @staticmethod
    def default() -> Warmed | None:
        return None

    def process(self, output: list[str]) -> Warmed | None:
        tokens, status = output[-1].split()
        return Warmed(int(tokens), "" if status == "-" else status)
