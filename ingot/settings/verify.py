"""Section "verify": what `ingot verify` takes for granted."""

from __future__ import annotations

from typing import Annotated

from ingot.settings.kinds import Expected, Many, Port, Section


class Verify(Section):
    """What may be open on a host besides the gateway."""

    verify_ports: Annotated[Many[Port], Expected("a list of TCP ports such as [9100]")]
