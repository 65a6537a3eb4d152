"""Asking an engine from its host, in shell: the answers are HTTP statuses, 000 when none came in time."""

from __future__ import annotations

from collections.abc import Mapping

from ingot.facts import sections

#: A request whose HTTP status is printed; the address follows.
CURL = "curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}'"


def ask(seconds: int) -> str:
    """A completion of one token from $model at $endpoint: prints the HTTP status, 000 when none came in time."""
    return (
        f"{CURL} --max-time {seconds} --header 'Content-Type: application/json' "
        '--data "{\\"model\\":\\"$model\\",\\"prompt\\":\\"1\\",\\"max_tokens\\":1,\\"temperature\\":0}" '
        '"http://$endpoint/v1/completions"'
    )


def lines_of(found: Mapping[str, sections.Section], name: str) -> list[str]:
    """The lines of one answer; none when the question was not asked."""
    return found[name].output.splitlines() if name in found else []
