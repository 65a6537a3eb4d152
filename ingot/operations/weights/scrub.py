"""The timer by which a host reads its models again, and finds what has rotted on its disk."""

from __future__ import annotations

from collections.abc import Generator
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.facts.engine import STATE
from ingot.facts.models import DAMAGE
from ingot.operations import tree, units
from ingot.operations.operation import operation
from ingot.operations.render import template
from ingot.settings import of_host
from ingot.settings.cache import Cache

DIRECTORY = f"{STATE}/scrub"
PROGRAM = f"{DIRECTORY}/scrub.py"
SERVICE = "/etc/systemd/system/ingot-scrub.service"
TIMER = "/etc/systemd/system/ingot-scrub.timer"
#: How fast it reads at most, MB/s, and for how long, seconds: 2.9 TB a run. What is left comes first in the next one.
MB_PER_S = 200
LIMIT_S = 4 * 3600
#: When the timer is switched off, its file still needs a time.
NEVER_USED = "weekly"


def entries(values: Cache) -> list[tree.Entry]:
    """Program and units."""
    words = (PROGRAM, values.cache_root, f"{DIRECTORY}/checked.json", DAMAGE, MB_PER_S, LIMIT_S)
    command = " ".join(["/usr/bin/python3 -I", *map(str, words)])
    return [
        tree.Dir(STATE),
        tree.Dir(DIRECTORY),
        tree.File(PROGRAM, (files(__package__) / "scrub_on_host.py").read_text(encoding="utf-8")),
        tree.File(SERVICE, template("cache/ingot-scrub.service", command=command, limit_s=LIMIT_S + 600)),
        tree.File(TIMER, template("cache/ingot-scrub.timer", calendar=values.cache_scrub or NEVER_USED)),
    ]


@operation()
def scheduled() -> Generator[PyinfraCommand, None, None]:
    """Have the host read its models again at the times of `cache_scrub`, or never where that is None."""
    values = of_host(host)
    wanted = values.cache_scrub is not None
    yield from tree.tree._inner(entries=entries(values), validate=units.verified(SERVICE, TIMER))
    yield from units.units._inner(units.Unit("ingot-scrub.timer", enabled=wanted, running=wanted, restart_on=(TIMER,)))
