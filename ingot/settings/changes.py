"""Section "changes": how runs that change a host get along, and what a host keeps to go back to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingot.settings.kinds import Expected, Section, Switch


class Changes(Section):
    """Looks that are shared, waiting for another run, and states to roll back to."""

    fresh: Switch
    lock_wait_s: Annotated[int, Field(ge=0, le=86400), Expected("seconds from 0 to 86400")]
    rollback_keep: Annotated[int, Field(ge=1, le=20), Expected("a number of states from 1 to 20")]
