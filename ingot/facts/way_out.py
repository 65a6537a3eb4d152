"""What comes of asking for one address through the site's proxy."""

from __future__ import annotations

import shlex

from pyinfra.api.facts import FactBase


class WayOut(FactBase[str]):
    """Why apt could not fetch an address, in its words; "" where it could. Shell text that sets its environment comes
    by standard input.

    apt asks, because every host has it: a bare one has no curl yet.

    Returns: "407  Proxy Authentication Required [IP: 10.0.0.9 3128]"
    """

    def command(self, address: str) -> str:
        quoted = shlex.quote(address)
        return (
            'eval "$(cat)"; file=$(mktemp); LC_ALL=C timeout 40 /usr/lib/apt/apt-helper -o Acquire::Retries=0 '
            f'-o Acquire::http::Timeout=9 -o Acquire::https::Timeout=9 download-file {quoted} "$file" 2>&1 '
            '</dev/null; [ $? -ne 124 ] || echo "E: Failed to fetch ? no answer within 40 s"; rm -f "$file"'
        )

    def process(self, output: list[str]) -> str:
        return parse_way_out("\n".join(output))


def parse_way_out(said: str) -> str:
    """The reason in `E: Failed to fetch ADDRESS REASON`; "" where there is no such line."""
    for line in said.splitlines():
        if line.startswith("E: Failed to fetch "):
            return line.split(None, 5)[-1]
    return ""
