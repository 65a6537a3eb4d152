"""The table of a rollout from looks at the hosts alone, before a deploy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pyinfra.api.host import Host

from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.inventory.fleet import Selected, asked
from ingot.operations.gateway import fronting
from ingot.operations.serving import engine
from ingot.operations.serving.outlook import Outlook, lines, rows
from ingot.settings.read import HOST_FILE_ERROR
from ingot.sizing import SizingError


class Row(NamedTuple):
    """One line of the table."""

    order: str
    host: str
    replica: str
    change: str
    outage: str


@dataclass(frozen=True, slots=True)
class Table:
    """What would be replaced, and a sentence for each host that nothing is known of."""

    rows: list[Row]
    errors: list[str]

    def lines(self) -> list[str]:
        """The table as text; empty where nothing would be replaced."""
        return lines(self.rows) if self.rows else []


def table(chosen: Selected) -> Table:
    """Look at all chosen hosts at once; nothing is changed."""

    def look(host: Host) -> Outlook | None:
        if fronting.has_no_engine(host):
            return None
        if refused := host.data.get(HOST_FILE_ERROR):
            raise IngotError(str(refused))
        try:
            found = engine.look()
        except (IngotError, SizingError, ParseError) as error:
            sentence = str(error)
            raise IngotError(sentence if sentence.startswith(f"{host.name}:") else f"{host.name}: {sentence}") from None
        if found is None:
            raise IngotError(f"{host.name}: Docker does not answer, so nothing is known of its replicas; deploy it.")
        return found

    answers = asked(chosen, look)
    outlooks = sorted((one for one in answers if isinstance(one, Outlook)), key=lambda one: one.host)
    errors = [line for one in answers if isinstance(one, IngotError) for line in str(one).splitlines()]
    return Table([Row(*row) for row in rows(outlooks)], errors)
